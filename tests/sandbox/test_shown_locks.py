"""Whether a locked process can show what it knows in the list of file locks, which every user of the box can read."""

from __future__ import annotations

import pytest

from edge_infer.sandbox import Fence
from tests.sandbox.locked import run

LOCKS = """
import errno, fcntl, os, struct
SECRET = int.from_bytes(b"picture")
FILE = os.memfd_create("held")
os.truncate(FILE, 1)
"""
SHOW = """
record = lambda kind: struct.pack("hhqqi4x", kind, 0, SECRET, 1, 0)
ways = {
    "flock": lambda: fcntl.flock(FILE, fcntl.LOCK_EX),
    "of the process": lambda: fcntl.fcntl(FILE, fcntl.F_SETLK, record(fcntl.F_WRLCK)),
    "of the open file": lambda: fcntl.fcntl(FILE, 37, record(fcntl.F_RDLCK)),
}
for name, way in ways.items():
    try:
        way()
    except OSError as error:
        print(name, errno.errorcode[error.errno], sep=": ")
    else:
        print(name, "locked", sep=": ")
"""
READ = """
print(sum(f" {SECRET} " in line for line in open("/proc/locks")))
"""


def shown(room: str, fence: Fence | None = None, *, network: bool = False) -> list[str]:
    return run(room, SHOW, before=LOCKS, fence=fence, network=network).splitlines()


def test_a_process_without_restrictions_shows_a_number_of_its_choice() -> None:
    code = SHOW.replace('"of the open file": lambda: fcntl.fcntl(FILE, 37, record(fcntl.F_RDLCK)),', "")
    assert run("", code + READ, before=LOCKS).splitlines() == ["flock: locked", "of the process: locked", "1"]
    code = SHOW.replace('"of the process": lambda: fcntl.fcntl(FILE, fcntl.F_SETLK, record(fcntl.F_WRLCK)),', "")
    assert run("", code + READ, before=LOCKS).splitlines() == ["flock: locked", "of the open file: locked", "1"]


@pytest.mark.parametrize("room", ["engine", "probe", "reader", "config", "page", "resolver"])
def test_a_process_that_may_have_frames_sets_no_lock(room: str) -> None:
    assert shown(room) == ["flock: EPERM", "of the process: EPERM", "of the open file: EPERM"]


def test_the_reader_of_a_network_camera_sets_no_lock() -> None:
    assert shown("reader", Fence(ports=(554,)), network=True) == [
        "flock: EPERM", "of the process: EPERM", "of the open file: EPERM",
    ]  # fmt: skip


def test_the_publisher_which_has_no_frames_locks_its_outbox_alone() -> None:
    assert shown("publisher", Fence(ports=(1,))) == [
        "flock: EPERM", "of the process: locked", "of the open file: EPERM",
    ]  # fmt: skip
