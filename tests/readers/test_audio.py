"""Sound: WAV files of all kinds and states, and what a recording does, with a stand-in for PortAudio."""

from __future__ import annotations

import struct
import threading
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples, Signal
from edge_infer.plan.records import SignalPlan
from edge_infer.readers.sources.audio import AudioOptions, AudioSource, open_stream
from edge_infer.readers.sources.wav import read_header

RATE = 8000
TONE = (0.5 * np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE)).astype(np.float32)


def wav(
    data: bytes,
    *,
    tag: int = 1,
    bits: int = 16,
    channels: int = 1,
    rate: int = RATE,
    size: int | None = None,
    frame: int | None = None,
) -> bytes:
    frame = channels * bits // 8 if frame is None else frame
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if tag == 0xFFFE:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # a chunk of odd length is padded
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def bits24(values: Signal) -> bytes:
    whole = np.round(values.astype(np.float64) * (2**23 - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


ENCODINGS = {
    "8 bits": wav(np.round(TONE * 127 + 128).astype(np.uint8).tobytes(), bits=8),
    "16 bits": wav(np.round(TONE * 32767).astype("<i2").tobytes()),
    "24 bits": wav(bits24(TONE), bits=24),
    "32 bits": wav(np.round(TONE.astype(np.float64) * (2**31 - 1)).astype("<i4").tobytes(), bits=32),
    "floats": wav(TONE.astype("<f4").tobytes(), tag=3, bits=32),
    "doubles": wav(TONE.astype("<f8").tobytes(), tag=3, bits=64),
    "extensible": wav(np.round(TONE * 32767).astype("<i2").tobytes(), tag=0xFFFE),
    "streamed": wav(np.round(TONE * 32767).astype("<i2").tobytes(), size=0xFFFFFFFF),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sound.wav"


def source(file: Path, **options: object) -> AudioSource:
    return AudioSource(AudioOptions(file=str(file), **{"realtime": False, **options}))  # type: ignore[arg-type]


def sound(opened: AudioSource) -> Signal:
    with opened:
        return np.concatenate([block.values for block in iter(opened.read, None)])


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_sound(file: Path, name: str) -> None:
    file.write_bytes(ENCODINGS[name])
    opened = source(file)
    assert (opened.live, opened.noisy, opened.lossless) == (False, False, True)
    found = sound(opened)
    assert found.shape == (RATE, 1)
    assert np.abs(found[:, 0] - TONE).max() < (0.01 if name == "8 bits" else 1e-4)


def test_the_standard_library_reads_the_same(assets: Path) -> None:
    path = assets / "audio" / "speech.wav"
    with wave.open(str(path)) as theirs:
        expected = np.frombuffer(theirs.readframes(theirs.getnframes()), "<i2").astype(np.float32) / 32768
        rate = theirs.getframerate()
    opened = source(path)
    with opened:
        blocks = list(iter(opened.read, None))
    assert {block.rate for block in blocks} == {float(rate)}
    assert np.array_equal(np.concatenate([block.values for block in blocks])[:, 0], expected)
    assert len(blocks[0].values) == rate // 10


def test_several_channels_and_one_made_of_them(file: Path) -> None:
    both = np.stack([TONE, -TONE / 2], axis=1).astype("<f4")
    file.write_bytes(wav(both.tobytes(), tag=3, bits=32, channels=2))
    assert np.array_equal(sound(source(file)), both)
    assert np.allclose(sound(source(file, channels=1))[:, 0], TONE / 4)


def test_a_file_that_was_cut_off_gives_what_it_has(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(ENCODINGS["16 bits"][: -RATE - 1])
    assert len(sound(source(file))) == RATE // 2 - 1
    assert "is truncated: it contains only 0.5 s of sound" in caplog.text
    caplog.clear()
    checked = source(file)
    checked.check()
    assert (checked.odd, caplog.text) == (f"{file} is truncated: it contains only 0.5 s of sound", "")


def test_a_loop_begins_again_with_a_gap(file: Path) -> None:
    file.write_bytes(ENCODINGS["16 bits"])
    with source(file, loop=True) as opened:
        blocks = [block for _ in range(21) if (block := opened.read()) is not None]
    assert [index for index, block in enumerate(blocks) if block.gap] == [0, 10, 20]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_file_that_was_streamed_is_complete(file: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(wav(np.round(TONE * 32767).astype("<i2").tobytes(), size=size))
    assert len(sound(source(file))) == RATE
    assert not caplog.records


def test_ten_hours_of_silence_take_no_memory(file: Path) -> None:
    with file.open("wb") as out:
        out.write(wav(b"", size=36_000 * 16_000 * 2, rate=16_000))
        out.truncate(out.tell() + 36_000 * 16_000 * 2)  # a hole: it takes no disk either
    with source(file) as opened:
        block = opened.read()
        assert block is not None
        assert not block.values.any()
        assert opened._left == 36_000 * 16_000 - 1600


def raw_windows(opened: AudioSource) -> list[float]:
    """The first value of each window of 100 samples that a pipeline gathers."""
    plan = SignalPlan(features="raw", rate=RATE, stride=100 / RATE)
    process = SignalPreprocess(plan, Tensor("input", 0, (1, 100, 1), "float32"))
    with opened:
        blocks = list(iter(opened.read, None))
    taken = (Samples(each.values, each.rate, 0.0, 0.0, number, each.gap) for number, each in enumerate(blocks, 1))
    return [float(window.values[0, 0]) for block in taken for window in process.frames(block)]


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_none_are_left_out_with_a_gap(file: Path) -> None:
    count_up = np.arange(1000, dtype="<f4")
    count_up[250:253] = np.nan, np.inf, -np.inf
    file.write_bytes(wav(count_up.tobytes(), tag=3, bits=32))
    opened = source(file)
    assert raw_windows(opened) == [0, 100, 253, 353, 453, 553, 653, 753, 853]
    assert opened.faults.count == 3


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_none_stay_so_when_channels_are_mixed(file: Path) -> None:
    pairs = np.array([[0.5, 0.25], [np.inf, -np.inf], [np.nan, 0.5], [0.25, 0.75]], "<f4")
    file.write_bytes(wav(pairs.tobytes(), tag=3, bits=32, channels=2))
    opened = source(file, channels=1)
    assert np.array_equal(sound(opened)[:, 0], [0.375, np.nan, np.nan, 0.5], equal_nan=True)
    assert opened.faults.count == 2


@pytest.mark.filterwarnings("error")
def test_a_number_beyond_a_float_is_left_out_too(file: Path) -> None:
    file.write_bytes(wav(np.array([0.5, 1e39, -0.5]).tobytes(), tag=3, bits=64))
    opened = source(file)
    assert sound(opened)[:, 0].tolist() == [0.5, np.inf, -0.5]
    assert opened.faults.count == 1


HEADS = {
    "M4A": "0000001c667479704d344120",
    "WMA": "3026b2758e66cf11a6d900aa",
    "WebM": "1a45dfa39f4286810142f781",
    "AU": "2e736e640000002000002274",
    "FLAC": "664c61430000002212001200",
    "Ogg": "4f6767530002000000000000",
    "MP3": "494433040000000000225453",
    "AAC": "fff15040213ffcde02004c61",
    "AIFF": "464f524d000022a241494646",
    "CAF": "636166660001000064657363",
    "W64": "726966662e91cf11a5d628db",
    "WavPack": "7776706b0a08000010040000",
    "AC-3": "0b771ef84c402f842be1877b",
}
"""The first bytes of files that FFmpeg wrote."""


@pytest.mark.parametrize("kind", HEADS)
def test_another_kind_of_sound_is_refused_with_the_command_that_converts_it(file: Path, kind: str) -> None:
    file.write_bytes(bytes.fromhex(HEADS[kind]) + bytes(100))
    with pytest.raises(SourceError, match=r"is not a WAV file: .*; convert it to a WAV file: ffmpeg -i "):
        source(file).check()


@pytest.mark.parametrize(
    ("data", "options", "word"),
    [
        (b"", {}, "is not a WAV file"),
        (
            b"ID3\x03 and an MP3",
            {},
            "is not a WAV file: it begins with b'ID3.*; convert it to a WAV file: ffmpeg -i",
        ),
        (b"RF64" + wav(b"\0\0")[4:], {}, r"is RF64, which is not supported; convert it to a WAV file .*: ffmpeg -i"),
        (wav(b"", size=0xFFFFFFFF), {}, "is empty: it contains no sample"),
        (wav(b"") + b"LIST\3\0\0\0abc\0", {}, "is empty: it contains no sample"),
        (wav(b"")[:36], {}, "without samples"),
        (wav(b""), {}, "is empty: it contains no sample"),
        (wav(b"\0"), {}, "is empty: it contains no sample"),
        (wav(b"\0" * 8, tag=0x55), {}, r"contains MP3; convert it to plain samples: ffmpeg -i"),
        (wav(b"\0" * 8, bits=12), {}, "contains 12-bit numbers"),
        (
            wav(b"\0" * 8, bits=24, channels=2, frame=8),
            {},
            r"contains 24-bit numbers in 32 bits each; convert .*: ffmpeg -i",
        ),
        (wav(b"\0" * 8, channels=0), {}, "claims 0 channels"),
        (wav(b"\0" * 8, rate=0), {}, "at 0 Hz"),
        (b"RIFF\0\0\0\0WAVEdata\x08\0\0\0" + b"\0" * 8, {}, "no complete format before its samples"),
        (ENCODINGS["16 bits"], {"rate": 16000}, "has 8000 Hz, but `rate` is 16000"),
        (ENCODINGS["16 bits"], {"channels": 2}, "has 1 channels, but `channels` is 2"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_before_it_is_started_with(
    file: Path, data: bytes, options: dict[str, object], word: str
) -> None:
    file.write_bytes(data)
    with pytest.raises(SourceError, match=word):
        source(file, **options).check()


def test_a_file_at_its_pace_lets_go_at_once(file: Path) -> None:
    file.write_bytes(wav(b"\0" * 2000, rate=1))
    with source(file, realtime=True) as opened:
        threading.Timer(0.1, opened.interrupt).start()
        assert opened.read() is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "needs either device .* or file"),
        ({"device": "default", "file": "a.wav"}, ", not both"),
        ({"device": "default", "loop": True}, "loop is for files only"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        AudioOptions(**options)  # type: ignore[arg-type]


class Recording:
    """Stands in for a stream of PortAudio: ``script`` says for each read whether sound was lost, or what is raised."""

    samplerate = 16000.0

    def __init__(self, *script: bool | Exception) -> None:
        self.closed = 0
        self._script: Iterator[bool | Exception] = iter(script)

    def start(self) -> None:
        pass

    def read(self, frames: int) -> tuple[Signal, bool]:
        step = next(self._script)
        if isinstance(step, Exception):
            raise step
        return np.full((frames, 2), 0.25, np.float32), step

    def close(self) -> None:
        self.closed += 1


def test_a_device_overruns_are_counted_and_gaps() -> None:
    asked: list[object] = []
    recording = Recording(False, True, False, RuntimeError("Device unavailable"))

    def factory(*arguments: object) -> Recording:
        asked.append(arguments)
        return recording

    opened = AudioSource(AudioOptions(device="usb", rate=16000, channels=2), factory)
    assert (opened.live, opened.noisy, opened.lossless) == (True, True, False)
    with opened:
        blocks = [block for _ in range(3) if (block := opened.read()) is not None]
        with pytest.raises(SourceError, match="cannot record sound from usb: Device unavailable"):
            opened.read()
    assert asked == [("usb", 16000, 2)]
    assert [(block.values.shape, block.rate, block.gap) for block in blocks] == [
        ((1600, 2), 16000.0, True),
        ((1600, 2), 16000.0, True),
        ((1600, 2), 16000.0, False),
    ]
    assert opened.faults.count == 1
    opened.close()
    assert recording.closed == 1


def test_a_device_that_does_not_start_is_let_go() -> None:
    recording = Recording()
    recording.start = lambda: (_ for _ in ()).throw(RuntimeError("busy"))  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="default does not start to record: busy"):
        AudioSource(AudioOptions(device="default"), lambda *_: recording).__enter__()
    assert recording.closed == 1


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(SourceError, match=r"pip install 'edge-infer\[audio\]'"):
        open_stream("default", None, 1)


def test_a_file_of_empty_chunks_is_refused_at_once(file: Path) -> None:
    with file.open("wb") as written:  # sparse: it takes no place on the disk
        written.write(b"RIFF\xff\xff\xff\x7fWAVE")
        written.truncate(1 << 30)
    with file.open("rb") as opened, pytest.raises(SourceError, match="no samples among its first 1000 chunks; convert"):
        read_header(opened, str(file))
    chunks = b"junk\0\0\0\0" * 900
    file.write_bytes(ENCODINGS["16 bits"][:12] + chunks + ENCODINGS["16 bits"][12:])
    assert len(sound(source(file))) == RATE
