"""An edit by a command whose daemon or folder goes away under it: what the file is now is told."""

from __future__ import annotations

import argparse
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.cli.edit import apply_edit
from edge_infer.cli.models.use import run
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control.server import socket_path


@contextmanager
def daemon(path: Path, answer: Callable[[], bytes]) -> Iterator[None]:
    """Takes one request on a control socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer())

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "config.yaml"
    file.parent.mkdir()
    file.write_bytes(b"before")
    return file


def test_the_news_come_before_the_rejection(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written))
    seen = []

    def reject() -> bytes:
        seen.append(written.getvalue())
        return b'{"state": "rejected", "errors": ["bad"]}\n'

    with daemon(tmp_path / "socket", reject):
        assert apply_edit(config, tmp_path / "socket", b"before", b"after", ["models.light: use: other"]) is None
    assert seen == [b"models.light: use: other\n"]


def test_a_daemon_that_goes_without_an_answer_leaves_the_edit_and_that_is_told(tmp_path: Path, config: Path) -> None:
    told = pytest.raises(EdgeInferError, match=r"without an answer.*config\.yaml keeps the edit")
    with daemon(tmp_path / "socket", lambda: b""), told:
        apply_edit(config, tmp_path / "socket", b"before", b"after", [])
    assert config.read_bytes() == b"after"


def test_a_file_that_cannot_be_put_back_is_told(tmp_path: Path, config: Path) -> None:
    def away() -> bytes:
        config.parent.rename(tmp_path / "gone")
        return b'{"state": "rejected", "errors": ["bad"]}\n'

    told = pytest.raises(
        EdgeInferError,
        match=r"rejects the configuration, and .*config\.yaml cannot be restored: No such "
        r"file",
    )
    with daemon(tmp_path / "socket", away), told:
        apply_edit(config, tmp_path / "socket", b"before", b"after", [])


def test_models_use_fails_with_an_error_if_the_daemon_sends_no_status(tmp_path: Path) -> None:
    config, state = tmp_path / "config.yaml", tmp_path / "state"
    state.mkdir()
    config.write_text(f"device: {{id: box, state_dir: {state}}}\nmodels: {{light: {{use: other@1.0.0}}}}\n")
    with (
        daemon(socket_path(state), lambda: b'{"error": "not now"}\n'),
        pytest.raises(EdgeInferError, match="Status"),
    ):
        run(argparse.Namespace(config=config, name="light", package="other@1.1.0"))
