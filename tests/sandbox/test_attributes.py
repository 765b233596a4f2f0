"""No process opens to others what it may not read, keeps a file from being taken, or leaves frames where no file is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_infer.sandbox.fence import Fence
from tests.sandbox.locked import ATTEMPT, run

CHANGES = (
    ATTEMPT
    + """
import os
attempt(lambda: os.chmod(PLACE, 0o666))
attempt(lambda: os.chmod(FOLDER, 0o666))
attempt(lambda: os.fchmod(FILE, 0o666))
attempt(lambda: os.chown(PLACE, os.getuid(), os.getgid()))
attempt(lambda: os.fchown(FILE, os.getuid(), os.getgid()))
attempt(lambda: os.utime(PLACE))
attempt(lambda: os.setxattr(PLACE, "user.edge", b"x"))
attempt(lambda: os.setxattr(FILE, "user.edge", b"x"))
attempt(lambda: os.removexattr(FILE, "user.edge"))
"""
)
SHARES = (
    ATTEMPT
    + """
import ctypes
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
def made(get, control, *words):
    kernel.call(number[control], kernel.call(number[get], *words), *((0, 0) if control == "semctl" else (0,)))
attempt(lambda: made("shmget", "shmctl", 0, 4096, 0o1600))
attempt(lambda: made("semget", "semctl", 0, 1, 0o1600))
attempt(lambda: made("msgget", "msgctl", 0, 0o1600))
attempt(lambda: kernel.call(number["shmat"], SHARED, 0, 0))
"""
)
KEYS = (
    ATTEMPT
    + """
import ctypes
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
attempt(lambda: kernel.call(number["keyctl"], 0, -1, 0))  # the number of the thread's own keyring, which is made
"""
)
SHUTS = (
    ATTEMPT
    + """
import socket
attempt(lambda: ours.shutdown(socket.SHUT_RDWR))
"""
)
ALL_ROOMS = ["engine", "probe", "publisher", "reader", "config"]
READERS = [Fence(anywhere=True, unix="programs"), Fence(unix="sound")]


@pytest.fixture
def before(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("x")
    return f"import os; PLACE, FOLDER = {str(file)!r}, {str(tmp_path / 'folder')!r}; FILE = os.open(PLACE, os.O_RDWR)"


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_changes_no_mode_owner_time_or_attribute(room: str, before: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    assert run("", CHANGES, before=before).split() == ["allowed"] * 9
    Path(tmp_path / "secret").chmod(0o600)
    assert run(room, CHANGES, before=before).split() == ["EPERM"] * 9
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fence", READERS)
def test_nor_do_programs_of_the_operators(fence: Fence, before: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    assert run("reader", CHANGES, before=before, fence=fence).split() == ["EPERM"] * 9


@pytest.fixture
def shared() -> str:
    """A memory segment that somebody has made; it goes with the process that made it."""
    return (
        "from edge_infer.sandbox import kernel\n"
        "SHARED = kernel.call(kernel.machine().numbers['shmget'], 0, 4096, 0o1600)\n"
        "kernel.call(kernel.machine().numbers['shmat'], SHARED, 0, 0)\n"  # it goes when nobody has it any more
        "kernel.call(kernel.machine().numbers['shmctl'], SHARED, 0, 0)\n"
    )


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_has_no_memory_without_a_file(room: str, shared: str) -> None:
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("numbers of control calls differ")
    assert run("", SHARES, before=shared).split() == ["allowed"] * 4
    assert run(room, SHARES, before=shared).split() == ["EPERM"] * 4


def test_readers_of_sound_may_share_as_alsa_mixes(shared: str) -> None:
    assert run("reader", SHARES, before=shared, fence=Fence(unix="sound")).split() == ["allowed"] * 4


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_keeps_no_keys(room: str) -> None:
    assert run("", KEYS) in ("allowed", "ENOKEY")
    assert run(room, KEYS) == "EPERM"


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_shuts_down_no_channel(room: str) -> None:
    pair = "import socket; ours, theirs = socket.socketpair()"
    assert run("", SHUTS, before=pair) == "allowed"
    assert run(room, SHUTS, before=pair) == "EPERM"


@pytest.mark.parametrize("room", ALL_ROOMS)
def test_it_has_few_files_and_gets_no_more(room: str) -> None:
    code = """
import resource
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
except ValueError:
    print("refused")
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    allowed = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))"
    assert run("", code, before=allowed) == "(2000, 2000)"
    most = 1024 if room == "config" else 512
    assert run(room, code, before=allowed) == f"refused\n({most}, {most})"


@pytest.mark.parametrize("room", ["publisher", "reader"])
def test_it_leaves_few_files_on_their_way(room: str) -> None:
    """The kernel counts them by user against the limit of whoever sends next: that has to be the supervisor's."""
    before = "import resource, socket; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096)); sent = 0\n"
    before += "ours, theirs = zip(*(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(40)))"
    code = """
import errno, os
from edge_infer.sandbox import privileges
privileges.drop_all_capabilities()  # with some the kernel does not count
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
file = os.open("/dev/null", os.O_RDONLY)
try:
    for way in ours:
        for _ in range(5):
            socket.send_fds(way, [b"x"], [file] * 50)
            sent += 50
except OSError as error:
    print(errno.errorcode[error.errno])
print(sent)
"""
    told, sent = run("", code, before=before).split()
    assert (told, int(sent) > 2048) == ("ETOOMANYREFS", True)
    told, sent = run(room, code, before=before).split()
    assert (told, int(sent) < 1024) == ("ETOOMANYREFS", True)
