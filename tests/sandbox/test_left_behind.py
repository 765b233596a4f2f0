"""What a process leaves behind: nothing in open files that others use, in attributes of files, or where others look."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.ipc.activity_table import active_pipelines, new_activity_table, reset_activity
from edge_infer.sandbox.fence import Fence
from edge_infer.supervisor.processes.child import pair, restore
from tests.sandbox.locked import ATTEMPT, run

FENCED = ["engine", "probe", "publisher", "reader"]
ALL_ROOMS = [*FENCED, "config"]
SETXATTRAT = 463
"""Of Linux 6.13, on every processor."""
SHARED = (
    ATTEMPT
    + """
attempt(lambda: fcntl.fcntl(memory, fcntl.F_SETFL, os.O_APPEND))
attempt(lambda: fcntl.fcntl(memory, fcntl.F_SETFL, os.O_ASYNC))
attempt(lambda: fcntl.ioctl(ours, 0x5452, struct.pack("i", 1)))
attempt(lambda: ours.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(program))))
attempt(lambda: ours.setsockopt(socket.SOL_SOCKET, 44, 1))
attempt(lambda: ours.setsockopt(socket.SOL_SOCKET, 16, 1))
"""
)
BEFORE_SHARED = """
import ctypes, fcntl, os, socket, struct
memory = os.memfd_create("shared")
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
"""
SHOWN = (
    ATTEMPT
    + """
import ctypes
from edge_infer.sandbox import kernel
attempt(lambda: kernel.prctl(15, ctypes.addressof(ctypes.create_string_buffer(b"a frame"))))
attempt(lambda: kernel.prctl(35, 15, ctypes.addressof(SIZE)))
attempt(lambda: kernel.prctl(4, 1))
"""
)
BEFORE_SHOWN = "import ctypes; SIZE = ctypes.c_uint(0)"


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_changes_no_open_file_of_others(room: str) -> None:
    assert run("", SHARED, before=BEFORE_SHARED).split() == ["allowed"] * 6
    assert run(room, SHARED, before=BEFORE_SHARED).split() == ["EPERM"] * 6


@pytest.mark.parametrize("fence", [Fence(anywhere=True, unix="programs"), Fence(unix="sound")])
def test_programs_may_filter_and_not_lock_the_filter(fence: Fence) -> None:
    found = run("reader", SHARED, before=BEFORE_SHARED, fence=fence).split()
    assert found == ["EPERM", "EPERM", "EPERM", "allowed", "EPERM", "allowed"]


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_shows_nothing_as_its_name_or_command_line(room: str) -> None:
    """``PR_SET_MM_MAP_SIZE`` stands for its kind: it sets nothing."""
    assert run("", SHOWN, before=BEFORE_SHOWN).split() == ["allowed"] * 3
    assert run(room, SHOWN, before=BEFORE_SHOWN).split() == ["EPERM"] * 3


LOOKS = (
    ATTEMPT
    + """
from pathlib import Path
for name in ("cmdline", "comm", "stat", "status"):
    attempt(lambda: Path(f"/proc/{STRANGER}/{name}").read_bytes())
for name in ("self/stat", "self/task", "cpuinfo", "meminfo", "sys/kernel/random/boot_id"):
    attempt(lambda: os.close(os.open(f"/proc/{name}", os.O_RDONLY)))
"""
)


@pytest.fixture
def stranger() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield f"import os; STRANGER = {process.pid}"
        process.kill()


@pytest.mark.parametrize("room", FENCED)
def test_it_sees_nothing_of_other_processes(room: str, stranger: str) -> None:
    assert run("", LOOKS, before=stranger).split() == ["allowed"] * 9
    assert run(room, LOOKS, before=stranger).split() == ["EACCES"] * 4 + ["allowed"] * 5


NEWER = (
    ATTEMPT
    + f"""
from edge_infer.sandbox import kernel
place, name, value = map(ctypes.addressof, (PLACE, NAME, VALUE))
attempt(lambda: kernel.call({SETXATTRAT}, -100, place, 0, name, value, 16))
attempt(lambda: fcntl.ioctl(FILE, {0x80086601}, array.array("l", [0])))
"""
)


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the size of FS_IOC_GETFLAGS differs")
@pytest.mark.parametrize("room", ALL_ROOMS)
def test_calls_of_newer_kernels_and_requests_about_attributes_are_refused(room: str) -> None:
    path = f"/var/tmp/edge-infer-attributes-{os.getpid()}-{room}"
    before = f"""
import array, ctypes, fcntl, os, struct
FILE = os.open({path!r}, os.O_RDWR | os.O_CREAT, 0o600)
PLACE, NAME = ctypes.create_string_buffer({path.encode()!r}), ctypes.create_string_buffer(b"user.edge")
CONTENT = ctypes.create_string_buffer(b"x")
VALUE = ctypes.create_string_buffer(struct.pack("QII", ctypes.addressof(CONTENT), 1, 0))
"""
    try:
        control = run("", NEWER, before=before).split()
        found = run(room, NEWER, before=before).split()
    finally:
        Path(path).unlink()
    assert control[0] in ("allowed", "ENOSYS")  # before Linux 6.13
    assert control[1] == "allowed"
    assert found == ["ENOSYS", "EPERM"]


def test_what_was_set_in_a_channel_is_undone_for_the_next_one() -> None:
    ours, theirs = pair()
    plain = _options(ours)
    with socket.socket(fileno=os.dup(ours)) as spoilt:
        spoilt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        spoilt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 1))
        fcntl.fcntl(spoilt, fcntl.F_SETFL, os.O_ASYNC)
    assert _options(ours) != plain
    restore(ours)
    assert _options(ours) == plain
    os.set_blocking(ours, False)
    assert os.write(ours, bytes(60_000)) == 60_000
    os.close(ours)
    os.close(theirs)


def _options(file: int) -> tuple[int, bytes, int]:
    with socket.socket(fileno=os.dup(file)) as shared:
        size = shared.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return size, shared.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16), fcntl.fcntl(file, 3) & os.O_ASYNC


def test_lights_go_out_however_the_last_engine_left_the_file() -> None:
    fd = new_activity_table()
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    reset_activity(fd)
    assert active_pipelines(fd) == frozenset()
    os.close(fd)
