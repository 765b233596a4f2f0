"""What others wrote cannot steer the terminal of who reads it, nor forge a line."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli import main
from edge_infer.cli.output import as_json
from edge_infer.contract.codec import encode, replace
from edge_infer.contract.messages import ConfigStatus, SourceHealth
from edge_infer.supervisor.control.answers import CheckAnswer, LevelAnswer
from edge_infer.supervisor.control.peer import identify
from edge_infer.supervisor.control.server import ControlSocket, Request
from edge_infer.supervisor.processes.supervisor import LastFailure
from edge_infer.supervisor.status import BrokerStatus
from tests.cli.test_top import STATUS

HOSTILE = "HTTP 200 \x1b[2J\x1b]0;title\x07\nsource    door: ok\r\u202eevil"
NOBODY = 1_000_000_000


@contextmanager
def daemon(folder: Path, answer: Any) -> Iterator[Path]:
    """The configuration of a daemon that answers everything with ``answer``."""
    config = folder / "config.yaml"
    config.write_text(f"device: {{id: box, state_dir: {folder}}}\n")
    stop = threading.Event()

    def handle(request: Request) -> None:
        request.answer(answer)

    with ControlSocket(folder / "control.sock", handle, partial(identify, daemon=NOBODY)) as control:

        def serve() -> None:
            while not stop.is_set():
                for fd in select.select(control.files(), [], [], 0.05)[0]:
                    control.serve(fd)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield config
        finally:
            stop.set()
            thread.join(10)


HOSTILE_STATUS = replace(
    STATUS,
    sources={"cam": SourceHealth("lost", 0.0, HOSTILE, 3)},
    broker=BrokerStatus(connected=False, text=HOSTILE),
    last_error=LastFailure("2026-11-25T08:45:12.345Z", HOSTILE),
)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status"], encode(HOSTILE_STATUS)),
        (["why"], {"lines": [HOSTILE], "notes": [HOSTILE]}),
        (["why"], {"error": HOSTILE}),
        (["reload"], encode(ConfigStatus("rejected", 64 * "0", "2026-11-25T08:45:12.345Z", (HOSTILE,)))),
        (["log"], encode(LevelAnswer(HOSTILE, HOSTILE, 5.0))),
        (["log"], {"error": HOSTILE}),
        (["check"], encode(CheckAnswer((HOSTILE,), (HOSTILE,), {HOSTILE: 3}))),
        (["models", "retry", "faces"], {"done": HOSTILE}),
    ],
    ids=[
        *("status", "why", "an error", "reload", "log", "an error of log", "check", "models"),
    ],
)
def test_an_answer_is_lines_of_text(
    words: list[str], answer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with daemon(tmp_path, answer) as config:
        main([*words, "-c", str(config)])
    told = "".join(capsys.readouterr())
    assert "HTTP 200" in told
    assert [letter for letter in told if not letter.isprintable() and letter != "\n"] == []
    if words != ["why"] or "error" not in answer:
        assert not any(line.startswith("source    door") for line in told.splitlines())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["log"], b"[]"),
        (["log"], b"null"),
        (["log"], b"[" * 100_000),
        (["log"], b"\xff"),
        (["log"], b'{"level": 5}'),
        (["reload"], b'{"state": "applied"}'),
        (["check"], b"null"),
        (["check"], b'{"problems": 7}'),
        (["status"], b"[]"),
        (["pause", "faces"], b"[]"),
        (["pause", "faces"], b"{}"),
        (["models", "history"], b"{}"),
        (["metrics"], b'{"metrics": 3}'),
    ],
)
def test_an_answer_of_another_shape_is_an_error_in_a_line(
    words: list[str], line: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"device: {{id: box, state_dir: {tmp_path}}}\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(line + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        code = main([*words, "-c", str(config)])
        thread.join(10)
    told = "".join(capsys.readouterr())
    assert "answer" in told.lower()
    if words != ["check"]:  # that reads the file without the daemon
        assert (code, told.count("\n")) == (1, 1)


def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys() -> None:
    value = {"é": HOSTILE, "list": [1.5, None, "日本"]}
    text = as_json(value, indent=2)
    assert json.loads(text) == value
    assert [letter for letter in text if not letter.isprintable() and letter != "\n"] == []
    assert "日本" in text
