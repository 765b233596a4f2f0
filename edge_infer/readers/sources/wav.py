"""Read WAV files with integers of 8, 16, 24 and 32 bits and floats, including truncated and streamed files.

The format is that of the RIFF specification (Microsoft and IBM, 1991) with WAVE_FORMAT_EXTENSIBLE. The module of the
standard library does not support floats, nor extensible headers before Python 3.12.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Signal

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES: Final = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "ADPCM", 0x55: "MP3", 0xFF: "AAC"}
_TYPES: Final = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "u1",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}
_OTHER_SOUND: Final = (
    *(b"fLaC", b"OggS", b"ID3", b"\xff", b"RIFX", b"FORM", b"caff", b"riff", b"0&\xb2u", b"\x1aE\xdf\xa3", b"#!AMR"),
    *(b".snd", b"MAC ", b"wvpk", b"\x0bw"),
)
"""The beginnings of FLAC, Ogg, MP3 and AAC, of WAV with the other byte order, AIFF, CAF, Wave64, WMA (ASF), WebM and
Matroska, AMR, AU, Monkey's Audio, WavPack and AC-3."""
MAX_CHUNKS: Final = 1000
"""Maximum number of chunks before the samples; programs write fewer than ten. A sparse file of 4 GiB may hold millions
of empty ones."""
_UNSAID: Final = (0, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF)
"""Sizes that programs write when they cannot know the size, because the file is a pipe or is still being written."""


@dataclass(frozen=True, slots=True)
class WavFormat:
    """The content of a header: sample format and channels, and the position and size of the samples in bytes."""

    tag: int
    bits: int
    channels: int
    rate: int
    start: int
    size: int
    truncated: bool

    @property
    def frame(self) -> int:
        """Return the bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def samples(self) -> int:
        """Return the number of samples."""
        return self.size // self.frame


def read_header(file: BinaryIO, name: str) -> WavFormat:
    """Return the format, and leave the file position at the first sample.

    Raises `SourceError`, which names the fault.
    """
    head = file.read(12)
    if head[:4] in (b"RF64", b"BW64") and head[8:] == b"WAVE":
        raise SourceError(
            f"{name} is {head[:4].decode()}, which is not supported; convert it to a WAV file of less than 4 GB: "
            f"ffmpeg -i {name} -c:a pcm_s16le NEW.wav"
        )
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        other = head.startswith(_OTHER_SOUND) or head[4:8] == b"ftyp"  # M4A and MP4 begin with a size
        remedy = f"; convert it to a WAV file: ffmpeg -i {name} -c:a pcm_s16le NEW.wav" if other else ""
        raise SourceError(f"{name} is not a WAV file: it begins with {head[:4]!r}{remedy}")
    form = b""
    for _ in range(MAX_CHUNKS):
        if len(chunk := file.read(8)) < 8:
            raise SourceError(f"{name} is a truncated WAV file without samples")
        kind, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if kind == b"data":
            return _format(form, file, size, name)
        if kind == b"fmt ":
            form = file.read(min(size, 64))
            file.seek(max(0, size - 64), os.SEEK_CUR)
        else:
            file.seek(size, os.SEEK_CUR)
        file.seek(size % 2, os.SEEK_CUR)
    raise SourceError(
        f"{name} is a broken WAV file: there are no samples among its first {MAX_CHUNKS} chunks; "
        f"convert it to plain samples: ffmpeg -i {name} -c:a pcm_s16le NEW.wav"
    )


def decode_samples(data: bytes, form: WavFormat) -> Signal:
    """Return samples ``[n, channels]`` with full scale 1; bytes after the last complete sample are ignored."""
    data = data[: len(data) // form.frame * form.frame]
    raw = np.frombuffer(data, _TYPES[form.tag, form.bits])
    if form.tag == _FLOAT:
        with np.errstate(over="ignore"):  # 64-bit floats beyond the range become infinite
            values: Signal = raw.astype(np.float32)
    elif form.bits == 8:
        values = (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    elif form.bits == 24:
        parts = raw.reshape(-1, 3).astype(np.int32)
        joined = (parts[:, 0] | parts[:, 1] << 8 | parts[:, 2] << 16) << 8 >> 8  # the sign is that of bit 23
        values = joined.astype(np.float32) / np.float32(2**23)
    else:
        values = (raw.astype(np.float64) / 2 ** (form.bits - 1)).astype(np.float32)
    return values.reshape(-1, form.channels)


def _format(form: bytes, file: BinaryIO, size: int, name: str) -> WavFormat:
    if len(form) < 16:
        raise SourceError(f"{name} is a broken WAV file: there is no complete format before its samples")
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    if (tag, bits) not in _TYPES:
        kind = f"{bits}-bit numbers" if tag in (_PCM, _FLOAT) else _NAMES.get(tag, f"format {tag}")
        raise SourceError(
            f"{name} contains {kind}; convert it to plain samples: ffmpeg -i {name} -c:a pcm_s16le NEW.wav"
        )
    if not 1 <= channels <= 64 or not 1 <= rate <= 768_000:
        raise SourceError(f"{name} is a broken WAV file: it claims {channels} channels at {rate} Hz")
    if frame > channels * bits // 8 and frame % channels == 0:
        raise SourceError(
            f"{name} contains {bits}-bit numbers in {8 * frame // channels} bits each; convert it to plain "
            f"samples: ffmpeg -i {name} -c:a pcm_s16le NEW.wav"
        )
    start = file.tell()
    there = max(0, file.seek(0, os.SEEK_END) - start)
    file.seek(start)
    if size in _UNSAID and not (size == 0 and _is_chunk(file.read(8), there)):
        size = there
    file.seek(start)
    whole = WavFormat(tag, bits, channels, rate, start, min(size, there), truncated=size > there)
    if not whole.samples:
        raise SourceError(f"{name} is empty: it contains no sample")
    return whole


def _is_chunk(head: bytes, there: int) -> bool:
    """Return whether these bytes begin a chunk that fits into the rest of the file, so that they are not samples."""
    return head[:4].isascii() and head[:4].decode().isprintable() and int.from_bytes(head[4:], "little") + 8 <= there
