"""``edge-infer check`` from outside."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.config.compile.compile import compile_config
from edge_infer.config.schema.file import Config
from edge_infer.contract.codec import decode, encode
from edge_infer.plan.records import Compiled
from edge_infer.readers.sources import SOURCES

MODEL = Path(__file__).parents[2] / "models/face-detect/1.0.0/face_full_range_int8.tflite"


def without_root(err: str) -> list[str]:
    """The lines but the warning that only root gets, who reads a file otherwise than a service does."""
    return [line for line in err.splitlines() if not line.startswith("warning: no daemon uses this file")]


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("sources:\n  a: {kind: synthetic}\n")
    assert main(["check", "-c", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert without_root(err) == [
        f"warning: {path}:2: sources.a: no pipeline uses this source; the daemon opens it anyway",
        f"{path}: valid (1 source, 0 models, 0 pipelines)",
    ]


def test_a_model_that_only_looks_on_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"models: {{m: {{file: {MODEL}}}, n: {{file: {MODEL}, labels: [head]}}}}\nsources: {{s: {{kind: synthetic}}}}\n"
        "pipelines: {p: {source: s, model: m, shadow: {model: n}}}\n"
    )
    assert main(["check", "-c", str(path)]) == 0
    assert f"{path}: valid (1 source, 2 models, 1 pipeline)" in capsys.readouterr().err


def test_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("sources:\n  a: {kind: synthetik}\nmqtt: {qos: 3}\n")
    assert main(["check", "-c", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f'{path}:2: sources.a.kind: expected a kind of source, not "synthetik"; did you mean "synthetic"?',
        f"{path}:3: mqtt.qos: expected one of 0, 1, not 3",
    ]
    assert err == f"{path}: 2 problems\n"


def test_a_warning_is_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mqtt: {username: a, password_file: secret}\n")
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o644)
    assert main(["check", "-c", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    group = grp.getgrgid(os.getegid()).gr_name
    command = f"chgrp {group} {tmp_path}/secret && chmod 640 {tmp_path}/secret"
    readable = f"every user of this machine can read this file; {command}"
    assert without_root(err) == [
        f"warning: {path}:1: mqtt.password_file: {readable}",
        f"{path}: valid (0 sources, 0 models, 0 pipelines)",
    ]


def test_a_password_file_with_more_than_the_password_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mqtt:\n  username: a\n  password_file: secret\n")
    (tmp_path / "secret").write_text("user\nhunter2\n")
    (tmp_path / "secret").chmod(0o600)
    assert main(["check", "-c", str(path)]) == 2
    out = capsys.readouterr().out
    assert out == f"{path}:3: mqtt.password_file: this file has several lines; expected only the password\n"
    (tmp_path / "secret").write_text("x" * 4096)
    assert main(["check", "-c", str(path)]) == 0
    (tmp_path / "secret").write_text("x" * 4097)
    assert main(["check", "-c", str(path)]) == 2
    told = "this file is longer than 4096 bytes; expected only the password"
    assert f"{path}:3: mqtt.password_file: {told}\n" in capsys.readouterr().out


def test_no_text_of_a_file_breaks_a_line_or_steers_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        '"a\\nb\\e[31m": 1\n'
        'mqtt: {host: "a\\nb"}\n'
        'sources: {"c\\rd": {kind: synthetic}, s: {kind: "\\e[2J"}}\n'
        "pipelines: {p: {source: x, model: m}}\n"
    )
    assert main(["check", "-c", str(path)]) == 2
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    name = "a name of letters, digits, _ and - (at most 64, the first a letter or digit)"
    assert out.splitlines() == [
        f"{path}:1: a\\nb\\x1b[31m: is not known here; known: {', '.join(Config.model_fields)}",
        f'{path}:2: mqtt.host: expected a host name or address, not "a\\nb"',
        f'{path}:3: sources.c\\rd: expected {name}, not "c\\rd"',
        f'{path}:3: sources.s.kind: expected a kind of source, not "\\x1b[2J"; known: {", ".join(SOURCES)}, crops',
        f'{path}:4: pipelines.p.source: there is no "x" under sources; known: c\\rd, s',
        f'{path}:4: pipelines.p.model: there is no "m" under models; there is none',
    ]


def test_what_is_followed_has_to_fit_the_model_and_the_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    zone, line = "polygon: [[0, 0], [1, 0], [1, 1]]", "from: [0, 0], to: [1, 1]"
    path.write_text(
        f"models: {{faces: {{file: {MODEL}}}}}\n"
        "sources: {s: {kind: synthetic}}\n"
        "pipelines:\n"
        f"  a: {{source: s, model: faces, track: true, zones: {{z: {{{zone}, labels: [fase]}}}}}}\n"
        f"  b: {{source: s, model: faces, track: true, lines: {{l: {{{line}, labels: [car]}}}}}}\n"
        f"  c: {{source: s, model: faces, zones: {{z: {{{zone}}}}}}}\n"
        "  d: {source: s, model: faces, events: {most: 1/min}}\n"
    )
    assert main(["check", "-c", str(path)]) == 2
    assert capsys.readouterr().out.splitlines() == [
        f'{path}:4: pipelines.a.zones.z.labels[0]: the model has no label "fase"; did you mean "face"?',
        f'{path}:5: pipelines.b.lines.l.labels[0]: the model has no label "car"; known: face',
        f"{path}:6: pipelines.c.zones: needs track: true, because only tracked objects can enter and leave",
        f"{path}:7: pipelines.d.events: needs track: true; this pipeline has no events",
    ]


def test_what_an_environment_variable_holds_is_shown_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    path = tmp_path / "config.yaml"
    path.write_text(
        f"models: {{faces: {{file: {MODEL}}}}}\n"
        "sources: {s: {kind: synthetic}}\n"
        "pipelines:\n"
        '  a: {source: "${SECRET}", model: "${SECRET}"}\n'
        '  b: {source: s, model: faces, labels: [face, "${SECRET}"]}\n'
    )
    assert main(["check", "-c", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{path}:4: pipelines.a.source: there is no ${{SECRET}} under sources; known: s",
        f"{path}:4: pipelines.a.model: there is no ${{SECRET}} under models; known: faces",
        f"{path}:5: pipelines.b.labels[1]: the model has no label ${{SECRET}}; known: face",
    ]
    assert err == f"{path}: 3 problems\n"


def test_what_is_wrong_always_fits_through_the_door_to_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f'? "{"k" * 3000}"\n: 1\n')
    compiled = compile_config(path)
    assert decode(Compiled, encode(compiled)) == compiled
    assert str(compiled.problems[0]).endswith("…: is not known here; known: " + ", ".join(Config.model_fields))


def test_a_process_that_can_start_no_thread_is_not_the_fault_of_the_model(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can choose a user without other processes")
    model = Path(__file__).parents[2] / "models/face-detect/1.0.0"
    path = tmp_path / "config.yaml"
    path.write_text(
        f"device: {{state_dir: {tmp_path}/state}}\nmodels: {{faces: {{file: {model}}}}}\n"
        "sources: {s: {kind: synthetic}}\npipelines: {p: {source: s, model: faces}}\n"
    )
    words = ["prlimit", "--nproc=3:3", sys.executable, "-m", "edge_infer", "check", "-c", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "crashed" not in done.stdout + done.stderr
    assert (
        "cannot start threads, because its user or service has too many; raise TasksMax=" in done.stdout + done.stderr
    )
