"""Sources of samples and text in a configuration: what they become, and what does not go together."""

from __future__ import annotations

import os
import re
import shutil
import wave
from pathlib import Path

import jsonschema
import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.config.schema.file import Config
from tests.broker import Certificates

SOURCES = """\
sources:
  mic: {kind: audio, device: 1, rate: 16000}
  clip: {kind: audio, file: clip.wav, loop: true, fps: 2}
  port: {kind: serial, device: /dev/ttyUSB0, baud: 9600, format: struct, layout: <hhh, header: aa55, columns: [x, y, z]}
  shaft: {kind: iio, device: adxl345, channels: [x, y, 3], rate: 100}
  hall: {kind: mqtt, topic: hall/accel, host: broker.lan, tls: {ca_file: ca.pem}, username: me, password_file: pass}
  table: {kind: csv, file: table.csv, rate: 2, columns: [b], realtime: false}
  piped: {kind: csv, file: pipe, rate: 2}
  words: {kind: lines, file: "-"}
  board: {kind: system, columns: [memory, cpu], rate: 5}
  pi: {kind: picamera2, camera: 1, size: 320x240, fps: 5, rotate: 180}
"""
MODELS = """\
models:
  faces: {file: models/face-detect/1.0.0/face_full_range_int8.tflite}
  sine: {file: sine.tflite}
"""
SHIPPED = Path(__file__).parents[2] / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "models")  # models are not opened through links
    with wave.open(str(tmp_path / "clip.wav"), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(8000)
        clip.writeframes(b"\1\2" * 800)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert Certificates(tmp_path).ca == tmp_path / "ca.pem"
    (tmp_path / "pass").write_text("hunter2\n")
    (tmp_path / "pass").chmod(0o600)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(text)
    compiled = compile_config(path)
    assert not [
        warning for warning in compiled.warnings if not re.search("no pipeline uses|need the extra", warning.text)
    ]
    return [f"{problem.path}: {problem.text}" for problem in compiled.problems]


def test_they_become_plans(folder: Path) -> None:
    assert problems(folder, SOURCES) == []
    plan = compile_config(folder / "config.yaml").plan
    assert plan is not None
    found = {source.name: source for source in plan.sources}
    assert {name: (source.gives, source.live, source.network) for name, source in found.items()} == {
        "mic": ("samples", True, False),
        "clip": ("samples", False, False),
        "port": ("samples", True, False),
        "shaft": ("samples", True, False),
        "hall": ("samples", True, True),
        "table": ("samples", False, False),
        "piped": ("samples", True, False),
        "words": ("text", True, False),
        "board": ("samples", False, False),
        "pi": ("image", True, False),
    }
    assert [name for name, source in found.items() if source.noisy] == ["mic", "pi"]
    assert [name for name, source in found.items() if source.stdin] == ["words"]
    assert found["mic"].options["device"] == "1"
    assert found["clip"].options["file"] == str(folder / "clip.wav")
    assert found["shaft"].options["channels"] == ["x", "y", "3"]
    assert found["shaft"].options["root"] == "/sys/bus/iio/devices"
    assert found["hall"].options["tls"] == {"ca_file": str(folder / "ca.pem"), "cert_file": None, "key_file": None}
    assert found["hall"].options["password_file"] == str(folder / "pass")
    assert (found["pi"].options["fps"], found["pi"].rotate) == (5, 180)


def test_the_schema_knows_them(folder: Path) -> None:
    schema = Config.model_json_schema()
    value = {"sources": {"hall": {"kind": "mqtt", "topic": "a", "tls": {"ca_file": "x"}, "columns": ["x"]}}}
    jsonschema.validate(value, schema)
    value["sources"]["hall"]["tls"] = {"ca": "x"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_a_recording_that_was_cut_off_is_a_warning_with_its_line(folder: Path) -> None:
    clip = folder / "clip.wav"
    clip.write_bytes(clip.read_bytes()[:-100])
    (folder / "config.yaml").write_text("sources:\n  s: {kind: audio, file: clip.wav}\n")
    compiled = compile_config(folder / "config.yaml")
    assert compiled.problems == ()
    found = [str(each) for each in compiled.warnings if "truncated" in str(each)]
    assert len(found) == 1
    told = f"{folder}/config.yaml:2: sources.s.file: {clip} is truncated: it contains only "
    assert found[0].startswith(told)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "{kind: audio}",
            "s: needs either device (a microphone such as default) or file (a .wav file), and not both",
        ),
        (
            "{kind: audio, device: default, realtime: true}",
            "s.realtime: belongs to files; a device sets its own pace and has no end",
        ),
        (
            "{kind: audio, file: none.wav}",
            "s.file: {folder}/none.wav does not exist",
        ),
        (
            "{kind: audio, file: table.csv}",
            "s.file: {folder}/table.csv is not a WAV file: it begins with b'a,b\\n'",
        ),
        (
            "{kind: audio, file: clip.wav, rate: 16000}",
            "s.file: {folder}/clip.wav has 8000 Hz, but `rate` is 16000; remove rate",
        ),
        (
            "{kind: serial, device: ttyUSB0}",
            's.device: expected the path of a port such as /dev/ttyUSB0, not "ttyUSB0"',
        ),
        (
            "{kind: serial, device: /dev/ttyUSB0, baud: 9601}",
            (
                "s: this system does not support baud 9601; it supports 1200, 1800, 2400, 4800, 9600, 19200, 38400, "
                "57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, "
                "2500000, 3000000, 3500000, 4000000"
            ),
        ),
        (
            "{kind: serial, device: /dev/ttyUSB0, format: struct}",
            (
                "s: format: struct needs both layout and header: layout lists the numbers of a frame (such as "
                "<hhh), header the bytes at its start (such as aa55), which mark the next frame after a disturbance"
            ),
        ),
        (
            "{kind: serial, device: /dev/ttyUSB0, layout: <hhh}",
            (
                "s: layout belongs to format: struct, but the format is csv; set format: struct for binary frames, or "
                "remove layout"
            ),
        ),
        (
            "{kind: serial, device: /dev/ttyUSB0, format: struct, header: aa, layout: <Hf, columns: [t]}",
            (
                "s: layout <Hf has 2 values, columns names 1; to skip a value, write `x` for each of its bytes in "
                "`layout`, such as <2xf"
            ),
        ),
        (
            "{kind: iio, device: imu, channels: x, rate: 9}",
            's.channels: expected a list of 1 to 256 names such as [x, y, z], not "x"',
        ),
        (
            "{kind: iio, device: imu, channels: [x, x], rate: 9}",
            "s.channels[1]: x is already in this list; name each column once",
        ),
        (
            "{kind: iio, device: imu, channels: [x]}",
            "s.rate: is missing; for example rate: 100",
        ),
        (
            "{kind: mqtt, topic: a/+/b}",
            's.topic: expected one topic, without + and #, not "a/+/b"',
        ),
        (
            "{kind: mqtt, topic: a, password_file: pass}",
            "s.password_file: needs username, the user that this password belongs to",
        ),
        (
            "{kind: mqtt, topic: a, host: 'b:1883'}",
            "s.host: expected only a host name or address; set the port with port: and encryption with tls:",
        ),
        (
            "{kind: csv, file: table.csv}",
            "s.rate: is missing; for example rate: 100",
        ),
        (
            "{kind: csv, file: table.csv, rate: 1, columns: [c]}",
            "s.file: {folder}/table.csv: no column c in the header 'a, b'",
        ),
        (
            "{kind: csv, file: clip.wav, rate: 1}",
            "s.file: {folder}/clip.wav has no usable row of numbers: no numbers in "
            "'RIFFd\\x06\\x00\\x00WAVEfmt, \\x10\\x00\\x00\\x00\\x01\\x00\\x01\\x00@, "
            "\\x00\\x00\\ufffd>\\x00\\x00\\x02\\x00\\x10\\x00data@\\x06\\x00\\x00" + r"\x01\x02" * 7 + "...'",
        ),
        (
            "{kind: csv, file: '-', rate: 1, loop: true}",
            "s: loop is for files only; a pipe cannot start again",
        ),
        (
            "{kind: lines, file: none}",
            "s.file: {folder}/none does not exist; to create a named pipe, run: mkfifo {folder}/none",
        ),
        (
            "{kind: lines, file: models}",
            "s.file: {folder}/models is not a regular file",
        ),
        (
            "{kind: lines, file: '-', flip: vertical}",
            "s.flip: belongs to sources of pictures; this one gives text; remove this key",
        ),
        (
            "{kind: system, columns: [cpus]}",
            's.columns[0]: expected one of cpu, memory, temperature, not "cpus"; did you mean "cpu"?',
        ),
        (
            "{kind: system, rate: 0}",
            "s.rate: expected a number between 0.0001 and 50, not 0",
        ),
        (
            "{kind: picamera2, camera: front}",
            's.camera: expected a whole number between 0 and 15, not "front"',
        ),
    ],
)
def test_what_is_wrong_with_one_is_told_once(folder: Path, source: str, told: str) -> None:
    (found,) = problems(folder, f"sources:\n  s: {source}\n")
    assert found == "sources." + told.replace("{folder}", str(folder))


def test_standard_input_can_be_read_once(folder: Path) -> None:
    text = "sources:\n  a: {kind: lines, file: '-'}\n  b: {kind: csv, file: '-', rate: 1}\n"
    assert problems(folder, text) == [
        'sources.b.file: standard input can be read only once, and source "a" reads it; use a named pipe'
    ]


def test_a_pipe_and_a_port_can_be_read_once(folder: Path) -> None:
    os.mkfifo(folder / "rows")
    text = (
        "sources:\n  a: {kind: lines, file: rows}\n  b: {kind: csv, file: rows, rate: 1}\n"
        "  c: {kind: serial, device: /dev/ttyS77}\n  d: {kind: serial, device: /dev/ttyS77}\n"
        "  e: {kind: serial, device: /dev/ttyS78}\n"
    )
    assert problems(folder, text) == [
        f'sources.b.file: {folder}/rows can be read only once, and source "a" reads it',
        'sources.d.device: /dev/ttyS77 can be read only once, and source "c" reads it',
    ]


def test_a_source_gives_what_the_model_takes(folder: Path, assets: Path) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", folder / "sine.tflite")
    (folder / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    pipelines = (
        "pipelines:\n"
        "  a: {source: pi, model: sine}\n"
        "  b: {source: board, model: faces}\n"
        "  c: {source: words, model: faces}\n"
        "  d: {source: table, model: sine, mask: [[[0, 0], [1, 0], [1, 1]]]}\n"
        "  e: {source: table, model: sine, preprocess: {resize: stretch}}\n"
        "  f: {source: pi, model: faces}\n"
        "  i: {source: table, model: sine, motion: true}\n"
        "  g: {source: clip, model: sine, fps: 5}\n"
        "  h: {source: table, model: sine, fps: 5}\n"
    )
    samples, pictures = 'samples here, such as "mic", "clip", "port"', 'pictures here, such as "pi"'
    signal = "this pipeline needs every part of the signal; remove this key"
    assert problems(folder, SOURCES + MODELS + pipelines) == [
        f'pipelines.a.source: picamera2 gives pictures, but model "sine" takes samples; name a source of {samples}',
        f'pipelines.b.source: system gives samples, but model "faces" takes pictures; name a source of {pictures}',
        f'pipelines.c.source: lines gives text, but model "faces" takes pictures; name a source of {pictures}',
        "pipelines.d.mask: the model takes samples, and a mask works on pictures only; remove this key",
        "pipelines.e.preprocess: the model takes no pictures, so there is nothing to resize or colour; remove this key",
        f"pipelines.i.motion: belongs to pipelines of pictures; {signal}",
    ]
    dropped = ("a:", "b:", "c:", "d:", "e:", "i:")
    sound = "\n".join(line for line in (SOURCES + MODELS + pipelines).splitlines() if line[2:4] not in dropped)
    path = folder / "config.yaml"
    path.write_text(sound + "\n")
    plan = compile_config(path).plan
    assert plan is not None
    assert {pipeline.name: pipeline.fps for pipeline in plan.pipelines} == {"f": None, "g": 2, "h": 5}


def test_lines_that_fps_leaves_out_are_a_warning(folder: Path, assets: Path) -> None:
    shutil.copy(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", folder / "mood.tflite")
    path = folder / "config.yaml"
    path.write_text(
        "models: {mood: {file: mood.tflite}}\n"
        "sources: {a: {kind: lines, file: '-'}, b: {kind: lines, file: pipe, fps: 2}}\n"
        "pipelines:\n  a: {source: a, model: mood, fps: 5}\n  b: {source: b, model: mood}\n"
        "  c: {source: a, model: mood}\n"
    )
    compiled = compile_config(path)
    assert compiled.problems == ()
    left = "are skipped and not counted; remove fps to process all"
    assert [(warning.path, warning.text) for warning in compiled.warnings if "fps" in warning.text] == [
        ("pipelines.a", f"lines that arrive faster than fps: 5 {left}"),
        ("pipelines.b", f"lines that arrive faster than fps: 2 {left}"),
    ]


def test_a_source_of_two_values_does_not_fit_a_model_of_one(folder: Path, assets: Path) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", folder / "sine.tflite")
    (folder / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    text = (
        "models: {sine: {file: sine.tflite}}\n"
        "sources:\n"
        "  two: {kind: system, columns: [cpu, memory]}\n"
        "  one: {kind: system, columns: [cpu]}\n"
        "pipelines:\n"
        "  a: {source: two, model: sine}\n"
        "  b: {source: one, model: sine}\n"
    )
    told = 'source "two" gives 2 values at a time and model "sine" takes 1; choose them with the source\'s `columns` or'
    assert problems(folder, text) == [f"pipelines.a.source: {told} `channels`"]


@pytest.mark.parametrize("columns", ["", ", columns: [a, b]"])
def test_a_frame_of_two_values_does_not_fit_a_model_of_one(folder: Path, assets: Path, columns: str) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", folder / "sine.tflite")
    (folder / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    frames = "kind: serial, format: struct, header: aa"
    text = (
        "models: {sine: {file: sine.tflite}}\n"
        "sources:\n"
        f"  two: {{{frames}, device: /dev/ttyS77, layout: <Hf{columns}}}\n"
        f"  one: {{{frames}, device: /dev/ttyS78, layout: <2xf}}\n"
        "pipelines:\n"
        "  a: {source: two, model: sine}\n"
        "  b: {source: one, model: sine}\n"
    )
    remedy = "to skip a value, write `x` for each of its bytes in the source's `layout`, such as <2xf"
    told = 'source "two" gives 2 values at a time and model "sine" takes 1'
    assert problems(folder, text) == [f"pipelines.a.source: {told}; {remedy}"]


def test_a_file_of_two_values_does_not_fit_a_model_of_one(folder: Path, assets: Path) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", folder / "sine.tflite")
    (folder / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    (folder / "one.csv").write_text("b\n2\n")
    with wave.open(str(folder / "stereo.wav"), "wb") as clip:
        clip.setparams((2, 2, 8000, 0, "NONE", ""))
        clip.writeframes(b"\1\2" * 800)
    text = (
        "models: {sine: {file: sine.tflite}}\n"
        "sources:\n"
        "  two: {kind: csv, file: table.csv, rate: 1}\n"
        "  stereo: {kind: audio, file: stereo.wav}\n"
        "  chosen: {kind: csv, file: table.csv, rate: 1, columns: [b]}\n"
        "  one: {kind: csv, file: one.csv, rate: 1}\n"
        "  mono: {kind: audio, file: clip.wav}\n"
        "  made: {kind: audio, file: stereo.wav, channels: 1}\n"
        "  unknown: {kind: csv, file: pipe, rate: 1}\n"
        "pipelines:\n"
    ) + "".join(
        f"  {name}: {{source: {name}, model: sine}}\n"
        for name in ("two", "stereo", "chosen", "one", "mono", "made", "unknown")
    )
    rest = 'gives 2 values at a time and model "sine" takes 1; choose them with the source\'s `columns` or `channels`'
    assert problems(folder, text) == [
        f'pipelines.two.source: source "two" {rest}',
        f'pipelines.stereo.source: source "stereo" {rest}',
    ]


MICROPHONE = """\
mqtt: {host: 127.0.0.1}
models: {faces: {file: models/face-detect/1.0.0/face_full_range_int8.tflite}}
sources:
  mic: {kind: audio, device: 1}
  scene: {kind: synthetic}
pipelines: {faces: {source: scene, model: faces}}
"""


@pytest.mark.parametrize("found", [True, False])
def test_a_microphone_without_its_extra_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    monkeypatch.setattr("edge_infer.config.compile.checks.find_spec", lambda name: found)
    monkeypatch.setattr("sys.prefix", "/opt/my box")
    path = folder / "config.yaml"
    path.write_text(MICROPHONE)
    compiled = compile_config(path)
    assert compiled.plan is not None
    warnings = [f"{each.path}: {each.text}" for each in compiled.warnings if "extra" in each.text]
    remedy = "sudo '/opt/my box/bin/pip' install 'edge-infer[audio]'"
    expected = f"sources.mic.device: microphones need the extra audio; install it: {remedy}"
    assert warnings == ([] if found else [expected])


def test_a_camera_names_its_certificate(folder: Path) -> None:
    text = "sources:\n  s: {kind: rtsp, url: 'rtsps://camera.lan/a', tls: {ca_file: ca.pem}}\n"
    (folder / "config.yaml").write_text(text)
    assert compile_config(folder / "config.yaml").problems == ()
    (folder / "config.yaml").write_text(text.replace("rtsps", "rtsp"))
    (found,) = compile_config(folder / "config.yaml").problems
    assert str(found).endswith(":2: sources.s.tls: belongs to an encrypted address, which begins with rtsps:")
    (folder / "config.yaml").write_text(text.replace("ca.pem", "none.pem"))
    (found,) = compile_config(folder / "config.yaml").problems
    assert "none.pem does not exist" in found.text
