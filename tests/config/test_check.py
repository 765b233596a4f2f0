"""``edge-infer check`` from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.cli import main


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("sources:\n  a: {kind: synthetic}\n")
    assert main(["check", "-c", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{path}: valid (1 source, 0 models, 0 pipelines)\n"


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
    assert err.startswith(f"warning: {path}:1: mqtt.password_file: ")
    assert "hunter2" not in err
