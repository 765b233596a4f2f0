"""The control socket against clients that are polite, slow, rude or gone."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_infer.config.places import DEFAULT_CONFIG
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control import LONGEST, ControlSocket, NotRunningError, Request, ask, find_socket


@contextmanager
def serving(path: Path) -> Iterator[list[dict[str, Any]]]:
    """A daemon that answers every request with what it was asked, and writes into a file that came along."""
    seen: list[dict[str, Any]] = []

    def handle(request: Request) -> None:
        seen.append(dict(request.body))
        for file in request.files:
            os.write(file, b"written")
        request.answer({"asked": request.body.get("do")})

    stop = threading.Event()

    def loop(control: ControlSocket) -> None:
        while not stop.is_set():
            for fd in select.select(control.files(), [], [], 0.05)[0]:
                control.serve(fd)

    with ControlSocket(path, handle) as control:
        thread = threading.Thread(target=loop, args=(control,))
        thread.start()
        try:
            yield seen
        finally:
            stop.set()
            thread.join(10)


def test_a_request_is_answered_and_the_socket_is_for_the_group_only(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask(path, {"do": "status"}) == {"asked": "status"}
    assert not path.exists()


def test_a_folder_of_a_long_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    with serving(folder / "control.sock"):
        assert ask(folder / "control.sock", {"do": "status"}) == {"asked": "status"}
    assert list(folder.iterdir()) == []
    with pytest.raises(NotRunningError, match="no daemon answers"):
        ask(folder / "control.sock", {"do": "status"})


def test_a_slip_in_the_path_of_the_configuration_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with pytest.raises(NotRunningError, match=r"there is no \S+/confg\.yaml"):
        find_socket(tmp_path / "confg.yaml")
    with serving(tmp_path / "control.sock"):
        assert find_socket(tmp_path / "confg.yaml") == tmp_path / "control.sock"


def test_a_file_travels_with_a_request(tmp_path: Path) -> None:
    target = tmp_path / "picture"
    with serving(tmp_path / "control.sock"), target.open("wb") as file:
        ask(tmp_path / "control.sock", {"do": "grab"}, (file.fileno(),))
    assert target.read_bytes() == b"written"


def test_clients_that_say_nothing_nonsense_or_too_much_disturb_nobody(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path) as seen:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for client in idle:
            client.connect(str(path))
            client.send(b'{"do":')
        rude = socket.socket(socket.AF_UNIX)
        rude.connect(str(path))
        rude.sendall(b"\xff\0 not json\n")
        assert json.loads(rude.recv(1000)) == {"asked": None}
        endless = socket.socket(socket.AF_UNIX)
        endless.connect(str(path))
        endless.settimeout(10)
        with pytest.raises(OSError, match=r"(?i)broken pipe|reset"):
            endless.sendall(b"x" * (LONGEST + 1_000_000))
        assert ask(path, {"do": "status"}, timeout=10) == {"asked": "status"}
        for client in (*idle, rude, endless):
            client.close()
        assert seen[-1] == {"do": "status"}


def test_what_could_not_be_said_on_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path):
        for body in (b'{"do":"models","action":"retry","name":"\\ud800"}\n', b'{"do":NaN}\n'):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(body)
                assert json.loads(client.recv(1000)) == {"asked": None}


def test_a_left_over_socket_is_replaced_and_a_missing_daemon_is_named(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunningError, match=r"control\.sock.*edge-infer run"):
        ask(path, {"do": "status"})
    with serving(path):
        assert ask(path, {"do": "status"}) == {"asked": "status"}


def test_a_daemon_that_hangs_up_is_told(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def hang_up() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    with pytest.raises(EdgeInferError, match=r"hung up|did not answer"):
        ask(tmp_path / "control.sock", {"do": "status"}, timeout=10)
    thread.join(10)
    listener.close()


def test_a_user_who_may_not_ask_is_told_who_may(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(closed))
    path = find_socket(DEFAULT_CONFIG)
    assert path == closed / "control.sock"
    with pytest.raises(NotRunningError, match=r"may not ask the daemon on .*closed/control\.sock; ask as root"):
        ask(path, {"do": "status"})


def test_a_socket_that_is_there_goes_before_a_folder_that_is_closed(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory of the service is root's to enter, and the socket lies where everybody may look."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("edge_infer.supervisor.control.SYSTEM_SOCKET", Path(folder, "control.sock"))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(closed))
        assert find_socket(DEFAULT_CONFIG) == closed / "control.sock"
        Path(folder, "control.sock").touch()
        assert find_socket(DEFAULT_CONFIG) == Path(folder, "control.sock")


def test_a_room_and_what_it_starts_are_not_answered(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    question = f"""
from pathlib import Path
from edge_infer.supervisor.control import ask
ask(Path({str(path)!r}), {{"do": "status"}}, timeout=20)
"""
    lock = "from edge_infer.sandbox import Fence, lock; lock('publisher', fence=Fence(anywhere=True))\n"
    fork = "import os\nif child := os.fork():\n    raise SystemExit(os.waitpid(child, 0)[1] != 0)\n"
    start = f"import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-c', {question!r}]).returncode)"
    codes = {
        "nobody's": question,
        "a room's": lock + question,
        "its copy's": lock + fork + question,
        "its program's": lock + start,
    }
    with serving(path):
        answered = [
            name
            for name, code in codes.items()
            if subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode
            == 0
        ]
    assert answered == ["nobody's"]
