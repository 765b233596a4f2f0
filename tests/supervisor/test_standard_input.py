"""What a reader of the daemon's standard input gets: it can read all that arrives there, and write nothing."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import ROOT

PROGRAM = """
import os, subprocess, sys
from edge_infer.supervisor.processes.standard_input import only_readable
reader = '''
import fcntl, os, stat, sys
mode, flags = os.fstat(0).st_mode, fcntl.fcntl(0, fcntl.F_GETFL)
print(os.isatty(0), stat.S_ISSOCK(mode), flags & os.O_ACCMODE == os.O_RDONLY, flush=True)
sys.stdout.buffer.write(os.read(0, 6) if len(sys.argv) > 1 else sys.stdin.buffer.read())
'''
subprocess.run([sys.executable, "-c", reader, "first"], stdin=only_readable())
subprocess.run([sys.executable, "-c", reader], stdin=only_readable())
"""
"""A daemon whose reader starts again."""
READABLE = b"False False True\n"
GIVEN = b"words\nmore\nof them\n"


def run(file: int | None, before: str = "", preexec_fn: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """The daemon with this standard input."""
    return subprocess.Popen(
        [sys.executable, "-c", before + PROGRAM], stdin=file, stdout=-1, cwd=ROOT,
        preexec_fn=preexec_fn,  # noqa: PLW1509 - no thread runs here
    )  # fmt: skip


def put(file: int) -> None:
    """Writes the input and its end."""
    with open(file, "wb") as stream:
        stream.write(GIVEN)


def by_pipe() -> tuple[int, Callable[[], None]]:
    reading, writing = os.pipe()
    return reading, lambda: put(writing)


def by_socket() -> tuple[int, Callable[[], None]]:
    """As ``ssh`` without a terminal gives, and systemd for ``Accept=yes``."""
    ours, theirs = socket.socketpair()
    return theirs.detach(), lambda: put(ours.detach())


@pytest.mark.parametrize("made", [by_pipe, by_socket])
def test_a_reader_reads_all_of_it_and_cannot_write(made: Callable[[], tuple[int, Callable[[], None]]]) -> None:
    theirs, fill = made()
    with run(theirs) as daemon:
        os.close(theirs)
        fill()
        assert daemon.stdout is not None
        assert daemon.stdout.read() == READABLE + b"words\n" + READABLE + b"more\nof them\n"


def test_a_terminal_is_typed_on_but_not_handed_over() -> None:
    ours, theirs = pty.openpty()
    with run(theirs) as daemon:
        os.close(theirs)
        os.write(ours, GIVEN + b"\x04")  # Ctrl-D
        assert daemon.stdout is not None
        assert daemon.stdout.read() == READABLE + b"words\n" + READABLE + b"more\nof them\n"
    os.close(ours)


def test_a_file_goes_on_where_it_was_read(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(b"head\n" + GIVEN)
    for flags in (os.O_RDONLY, os.O_RDWR):
        file = os.open(tmp_path / "words", flags)
        assert os.read(file, 5) == b"head\n"
        with run(file) as daemon:
            assert daemon.stdout is not None
            assert daemon.stdout.read() == READABLE + b"words\n" + READABLE + b"more\nof them\n"
        os.close(file)


def test_more_than_a_pipe_holds_waits() -> None:
    ours, theirs = socket.socketpair()
    block = b"x" * 1_000_000
    with run(theirs.fileno()) as daemon, ours:
        theirs.close()
        filling = threading.Thread(target=lambda: (ours.sendall(block), ours.shutdown(socket.SHUT_WR)))
        filling.start()
        assert daemon.stdout is not None
        assert len(daemon.stdout.read()) == 2 * len(READABLE) + len(block)
        filling.join()


def test_without_standard_input_a_file_of_the_daemon_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(GIVEN)
    opens = f"import os\nassert os.open({str(tmp_path / 'own')!r}, os.O_RDONLY) == 0\n"
    with run(None, opens, preexec_fn=lambda: os.close(0)) as daemon:
        assert daemon.stdout is not None
        assert not set(daemon.stdout.read().splitlines()) & set(GIVEN.splitlines())


def test_a_daemon_in_the_background_of_its_terminal_is_not_stopped() -> None:
    """It reads nothing that is typed for the shell."""
    ours, theirs = pty.openpty()
    code = (
        "import fcntl, os, signal, subprocess, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"daemon = subprocess.Popen([sys.executable, '-c', {PROGRAM!r}], preexec_fn=lambda: os.setpgid(0, 0))\n"
        "os.write(2, b'started\\n')\n"
        "os._exit(daemon.wait())\n"
    )
    shell = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=-1, stderr=-1, cwd=ROOT, start_new_session=True
    )
    os.close(theirs)
    with shell:
        assert shell.stderr is not None
        assert shell.stdout is not None
        assert shell.stderr.readline() == b"started\n"
        os.write(ours, b"typed for the shell\n")
        assert shell.stdout.read() == READABLE * 2
        assert shell.wait(20) == 0
    os.close(ours)
