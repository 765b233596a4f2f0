"""A page's process that runs somebody else's code: the command that started it passes on what the page may ask for."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli.page import MAX_WRITERS, _to_writer
from edge_infer.drawing.edit_limit import EditLimit
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control.page_relay import MAX_AT_ONCE, relayed
from edge_infer.supervisor.control.server import MAX_REQUEST_BYTES
from tests.broker import eventually
from tests.page.attacking import HOOK
from tests.page.browser import Page
from tests.running import ROOT

ATTACK = """
def ask(peers, **body):
    import json
    with peers.daemon() as way:
        way.settimeout(30)
        way.sendall(json.dumps(body).encode() + b"\\n")
        told = b""
        while part := way.recv(65536):
            told += part
    line, _, picture = told.partition(b"\\n")
    answer = json.loads(line)
    return [{name: answer[name] for name in answer if name == "error"}, len(picture)]
def attack():
    import json, os
    from edge_infer.page.upstream import GivenPeers
    peers = next(each for each in gc.get_objects() if isinstance(each, GivenPeers))
    found = {}
    for body in BODIES:
        found[body["do"]] = ask(peers, **body)
    writers = []
    try:
        while len(writers) < 20:
            writers.append(peers.writer())
    except OSError:
        pass
    said = {"bodies": found, "writers": len(writers), "groups": os.getgroups()}
    print("FOUND", json.dumps(said), file=sys.stderr, flush=True)
"""
BODIES = (
    {"do": "grab", "source": "cam"},
    {"do": "pause", "pipeline": "yard"},
    {"do": "log", "level": "debug"},
    {"do": "check"},
    {"do": "reload"},
    {"do": "status"},
    {"do": "models", "action": "retry", "name": "faces"},
    {"do": "overview"},
    {"do": "look", "source": "cam"},
)


def test_a_page_that_was_taken_over_asks_for_no_more_than_a_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"BODIES = {BODIES!r}\n{ATTACK}\n{HOOK}")
    tmp_path.chmod(0o755)
    words = [sys.executable, "-m", "edge_infer", "page", "--port", "0", "-c", str(page.daemon.config)]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(words, env=environment, stdout=log, stderr=log) as own:
        said = eventually(lambda: _found(tmp_path / "log"), (tmp_path / "log").read_text, 60.0)
        own.send_signal(signal.SIGINT)
        own.wait(20)
    told = said["bodies"]
    may = {body["do"] for body, (answer, _) in zip(BODIES, told.values(), strict=True) if "error" not in answer}
    assert may == {"overview", "look"}
    assert all("the page may not ask for" in told[name][0]["error"] for name in told.keys() - may)
    assert [name for name, (_, size) in told.items() if size] == ["look"]
    assert page.daemon.status()["inactive"] == {}
    assert said["writers"] == MAX_WRITERS
    assert said["groups"] == ([] if os.geteuid() == 0 else os.getgroups())


def _found(log: Path) -> dict[str, Any] | None:
    lines = [line for line in log.read_text().splitlines(keepends=True) if "FOUND" in line and line.endswith("\n")]
    return json.loads(lines[0].partition("FOUND")[2]) if lines else None


class Control:
    """A control socket that keeps what it is asked, and answers when ``go_on`` is set."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "control.sock"
        self.heard: list[tuple[dict[str, Any], int]] = []
        self.go_on = threading.Event()
        self.answer = b'{"ok": true}\n'
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                way, _ = self._socket.accept()
            except OSError:
                return
            with way:
                data, files, _, _ = socket.recv_fds(way, 65536, 4)
                self.go_on.wait(20)
                self.heard.append((json.loads(data), len(files)))
                for file in files:
                    os.close(file)
                way.sendall(self.answer)

    def close(self) -> None:
        self.go_on.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    found = Control(tmp_path)
    found.go_on.set()
    yield found
    found.close()


def told(way: socket.socket, data: bytes, files: int = 0) -> bytes:
    """What the command answers."""
    with way:
        way.settimeout(30)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * files))] if files else []
        way.sendmsg([data], rights)
        return way.recv(65536)


def test_no_file_of_the_page_is_passed_on(control: Control) -> None:
    assert told(relayed(lambda: control.path), b'{"do": "look", "source": "cam"}\n', 3) == b'{"ok":true}\n'
    assert control.heard == [({"do": "look", "source": "cam"}, 0)]


def test_a_picture_is_passed_on(control: Control) -> None:
    control.answer = b'{"ok":true,"bytes":4}\nab\nc'
    assert told(relayed(lambda: control.path), b'{"do": "look", "source": "cam"}\n') == control.answer


@pytest.mark.parametrize(
    "data", [b"no json\n", b"[]\n", b'{"do": NaN}\n', b"[" * 9999 + b"\n", b'{"do":"look"}' + b" " * MAX_REQUEST_BYTES]
)
def test_what_is_no_request_goes_nowhere(control: Control, data: bytes) -> None:
    assert b"ok" not in told(relayed(lambda: control.path), data)
    assert control.heard == []


def test_a_daemon_that_is_away_is_no_answer() -> None:
    def nowhere() -> Path:
        raise EdgeInferError("there is none")

    assert told(relayed(nowhere), b'{"do": "look"}\n') == b""


def test_a_page_has_few_requests_under_way(control: Control) -> None:
    control.go_on.clear()
    ways = [relayed(lambda: control.path) for _ in range(MAX_AT_ONCE)]
    with pytest.raises(OSError, match="too many"):
        relayed(lambda: control.path)
    control.go_on.set()
    assert {told(way, b'{"do": "scene"}\n') for way in ways} == {b'{"ok":true}\n'}
    eventually(lambda: told(relayed(lambda: control.path), b'{"do": "scene"}\n'), "another one", 10.0)


def test_the_page_has_few_writers_at_once(tmp_path: Path) -> None:
    ways = [_to_writer(tmp_path / "config.yaml", EditLimit()) for _ in range(MAX_WRITERS)]
    with pytest.raises(OSError, match="too many"):
        _to_writer(tmp_path / "config.yaml", EditLimit())
    assert all(b"expected the name of a pipeline in pipeline" in told(way, b"{}\n") for way in ways)
    eventually(lambda: told(_to_writer(tmp_path / "config.yaml", EditLimit()), b"{}\n"), "another one", 10.0)
