"""The first process of the page's unit: the page's process reaches the journal only through it, within limits."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.page.upstream import SocketPeers
from edge_infer.platform.logs import LONGEST_LINE
from edge_infer.supervisor.page_service import MAX_WRITERS_IN_A_ROW, MIN_PAUSE, LimitedPeers
from edge_infer.supervisor.processes.output import MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE
from tests.broker import eventually
from tests.page.attacking import HOOK
from tests.page.browser import HOST
from tests.running import ROOT

PICTURE = base64.b64encode(bytes(range(256)) * 30)
FLOOD = f"""
def attack():
    try:
        socket.socket(socket.AF_UNIX).connect("/run/systemd/journal/stdout")
    except OSError as error:
        os.write(2, type(error).__name__.encode() + b"\\n")
    for _ in range(300):
        os.write(2, {PICTURE!r} + b"\\n")
"""
CRASH = """
def attack():
    os.write(2, b"x" * 400)
    os._exit(1)
"""
OVERHEAD = 2.0
"""Of the names that the lines get."""


@contextmanager
def started(folder: Path, attack: str) -> Iterator[subprocess.Popen[bytes]]:
    """What the unit starts, as systemd does, with code in the page's process; its output is in ``log``."""
    (folder / "sitecustomize.py").write_text(attack + HOOK)
    (unit,) = re.findall(
        r"^ExecStart=\S+ -I (-m .*)$", (ROOT / "systemd/edge-infer-page.service").read_text(), re.MULTILINE
    )
    words = [sys.executable, *unit.replace("%t", str(folder)).split()]
    with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("wb") as log:
        listener.bind(str(folder / "page.sock"))
        listener.listen()
        begin = 'exec 3<&$1 && shift && LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        service = subprocess.Popen(
            ["bash", "-c", begin, "bash", str(listener.fileno()), *words],
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
        )
    try:
        yield service
    finally:
        service.kill()
        service.wait()


def answers(folder: Path) -> bool:
    """Whether the page serves its start page."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(folder / "page.sock"))
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        return client.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_page_writes_no_more_into_the_journal_than_other_processes(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started(tmp_path, FLOOD) as service:
        assert answers(tmp_path)  # after the flood
        (page,) = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
        assert Path(f"/proc/{page}/oom_score_adj").read_text() == "1000\n", "want of memory ends it, not its limits"
        time.sleep(1.0)
        lines = (tmp_path / "log").read_bytes().splitlines()
    assert sum(map(len, lines)) < OVERHEAD * MAX_BURST_BYTES
    assert max(map(len, lines)) < OVERHEAD * LONGEST_LINE
    assert any(b"page: PermissionError" in line for line in lines)
    assert [line for line in lines if b"page" not in line[:40]] == [], "each names its process"


def test_a_page_that_crashes_is_told_and_starts_no_sooner_than_its_limit_is_whole(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started(tmp_path, CRASH) as service:
        log = eventually(lambda: "exit code" in (text := (tmp_path / "log").read_text()) and text, "the end", 30.0)
        begun = time.monotonic()
        assert "page: xxx" in log
        (pause,) = re.findall(r"page service: the page ended with exit code 1; .* in (\d+) s", log)
        assert int(pause) >= 400 // (MAX_BYTES_PER_MINUTE / 60)
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(MIN_PAUSE)
        assert service.wait(float(pause) + 10.0) == 1
        assert time.monotonic() > begun + float(pause) - 1.0


def test_the_writer_is_started_only_so_often(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as writer:
        writer.bind(str(tmp_path / "draw.sock"))
        writer.listen(MAX_WRITERS_IN_A_ROW)
        peers = LimitedPeers(SocketPeers(tmp_path / "none", tmp_path / "draw.sock"))
        for _ in range(MAX_WRITERS_IN_A_ROW):
            peers.writer().close()
        with pytest.raises(OSError, match="too many"):
            peers.writer()


def test_it_says_how_it_is_started() -> None:
    words = [sys.executable, "-m", "edge_infer.supervisor.page_service", "control.sock", "draw.sock"]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 2
    assert "edge-infer-page.socket" in done.stderr
