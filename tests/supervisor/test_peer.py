"""Who is let in at the control socket: real processes connect, of every kind of descent, user and age."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.supervisor.control.peer import (
    EndedError,
    Peer,
    Pidfd,
    RefusedError,
    TooYoungError,
    birth,
    descends,
    identify,
    peer_pidfd,
    ticks,
)
from tests.running import ROOT

CONNECT = """
import os, socket, sys
def connect():
    way = socket.socket(socket.AF_UNIX)
    way.connect(sys.argv[1])
    way.recv(1)
"""
DAEMON = f"""
{CONNECT}
import subprocess
from edge_infer.supervisor.processes.orphans import Orphans
with Orphans():
    print("ready", flush=True)
    kind = input()
    if kind == "itself":
        connect()
    elif kind == "copy":
        if os.fork() == 0:
            connect()
    elif kind == "hidden":  # as a room is that has locked itself
        if os.fork() == 0:
            from edge_infer.sandbox import privileges
            privileges.forbid_dumping()
            connect()
    elif kind == "grandchild":
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
        subprocess.run([sys.executable, "-c", code, {CONNECT + "connect()"!r}, sys.argv[1]])
    elif kind == "orphan":
        if (child := os.fork()) == 0:
            os.setsid()
            if os.fork() == 0:
                while os.getppid() == os.getsid(0):
                    pass
                connect()
            os._exit(0)
        os.waitpid(child, 0)
    input()
"""
KINDS = ("itself", "copy", "hidden", "grandchild", "orphan")


def no_pidfd(_: socket.socket) -> None:
    """As on a kernel before 6.5."""


WAYS = pytest.mark.parametrize("pidfd", [peer_pidfd, no_pidfd])


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.settimeout(30)
        yield listening


@contextmanager
def daemon(path: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is the reaper of its orphans, and starts one of the `KINDS` when it is told to."""
    command = [sys.executable, "-c", DAEMON, path]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def tell(running: subprocess.Popen[str], kind: str) -> None:
    assert running.stdin is not None
    running.stdin.write(f"{kind}\n")
    running.stdin.flush()


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_the_daemon_and_what_it_started_are_refused(listener: socket.socket, kind: str, pidfd: Pidfd) -> None:
    with daemon(listener.getsockname()) as running:
        tell(running, kind)
        with listener.accept()[0] as way:
            peer = identify(way, ticks() + 1, daemon=os.getppid() + 1_000_000_000, pidfd=pidfd)  # nobody's daemon
            assert (peer.pid == running.pid) == (kind == "itself")
            with pytest.raises(RefusedError, match="does not answer processes that it started"):
                identify(way, ticks() + 1, daemon=running.pid, pidfd=pidfd)
            if kind in ("itself", "copy", "hidden", "grandchild"):
                os.kill(peer.pid, signal.SIGKILL)


@WAYS
def test_the_process_that_started_the_daemon_and_its_other_children_are_let_in(
    listener: socket.socket, pidfd: Pidfd
) -> None:
    with daemon(listener.getsockname()) as running, socket.socket(socket.AF_UNIX) as own:
        own.connect(listener.getsockname())
        with listener.accept()[0] as way:
            peer = identify(way, ticks(), daemon=running.pid, pidfd=pidfd)
        assert peer == Peer(os.getpid(), os.getuid(), frozenset({os.getgid(), *os.getgroups()}))
        command = [sys.executable, "-c", f"{CONNECT}connect()", listener.getsockname()]
        with subprocess.Popen(command) as sibling:
            with listener.accept()[0] as way:
                assert identify(way, ticks() + 1, daemon=running.pid, pidfd=pidfd).pid == sibling.pid
            sibling.wait(30)


@WAYS
def test_a_process_that_has_ended_is_refused(listener: socket.socket, pidfd: Pidfd) -> None:
    """A copy of it holds the connection, and would read the answer."""
    code = f"{CONNECT}way = socket.socket(socket.AF_UNIX)\nway.connect(sys.argv[1])\nif os.fork() == 0: way.recv(1)"
    command = [sys.executable, "-c", code, listener.getsockname()]
    subprocess.run(command, timeout=30, check=True)
    with listener.accept()[0] as way, pytest.raises(EndedError, match="cannot identify process"):
        identify(way, ticks() + 1, daemon=os.getpid(), pidfd=pidfd)


def start_as(pid: int) -> None:
    """Start a process with this number, which waits to be killed."""

    class Arguments(ctypes.Structure):  # struct clone_args
        _fields_ = tuple((name, ctypes.c_uint64) for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid", "size",
        ))  # fmt: skip

    numbers = (ctypes.c_int * 1)(pid)
    wanted = Arguments(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(numbers), size=1)
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(435, ctypes.byref(wanted), ctypes.sizeof(wanted))
    if got == 0:
        while True:
            signal.pause()
    if got < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        pytest.skip("only root may choose the number of a process, since Linux 5.5")
    assert got == pid, os.strerror(ctypes.get_errno())


@WAYS
def test_a_number_that_was_given_anew_is_nobody(listener: socket.socket, pidfd: Pidfd) -> None:
    """The daemon's process connects, leaves the connection to its copy and ends; a person's program has its number."""
    code = f"{CONNECT}way = socket.socket(socket.AF_UNIX)\nway.connect(sys.argv[1])\nif os.fork() == 0: way.recv(1)"
    quiet = ticks()
    with subprocess.Popen([sys.executable, "-c", code, listener.getsockname()]) as ended:
        ended.wait(30)
    start_as(ended.pid)
    try:
        with listener.accept()[0] as way:
            with pytest.raises(RefusedError):
                identify(way, quiet, daemon=os.getppid(), pidfd=pidfd)
            if pidfd is no_pidfd:
                with pytest.raises(TooYoungError):
                    identify(way, quiet, daemon=1_000_000_000, pidfd=pidfd)
                unchecked = identify(way, ticks() + 1_000, daemon=1_000_000_000, pidfd=pidfd)
                assert unchecked.pid == ended.pid, "without a look at its age it would be let in"
    finally:
        os.kill(ended.pid, signal.SIGKILL)
        os.waitpid(ended.pid, 0)


def test_a_parent_is_older_than_its_child() -> None:
    assert descends(os.getpid(), os.getppid())
    assert descends(os.getpid(), os.getpid())
    assert not descends(os.getppid(), os.getpid())
    assert birth(os.getpid()).parent == os.getppid()
    assert birth(os.getpid()).started <= ticks()
    with pytest.raises(FileNotFoundError):
        descends(2**22 + 1, os.getpid())


def test_what_a_daemon_left_behind_that_was_killed_is_refused(listener: socket.socket) -> None:
    """It is below nobody's daemon then, and may have fewer filters than a new daemon in its unit.

    The mark that it keeps cannot be removed, also not in a user namespace of its own.
    """
    code = (
        f"import ctypes, resource\nfrom edge_infer.sandbox import Fence, lock\n{CONNECT}"
        "lock('reader', fence=Fence(anywhere=True, unix='programs'))\n"
        "print(ctypes.CDLL(None).unshare(0x10000000), flush=True)\n"
        "for limit in (819_200, resource.RLIM_INFINITY):\n    try:\n"
        "        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (limit, limit))\n"
        "    except (OSError, ValueError):\n        print('refused', flush=True)\nconnect()"
    )
    command = [sys.executable, "-c", code, listener.getsockname()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as left:
        with listener.accept()[0] as way, pytest.raises(RefusedError, match="may have no message queue"):
            identify(way, ticks() + 1, daemon=1_000_000_000)
        namespace, *limits = left.communicate(timeout=30)[0].split()
        assert limits == ["refused"] * 2
        assert namespace == "0" or Path("/proc/sys/user/max_user_namespaces").read_text() == "0\n"


def test_a_person_with_a_filter_of_system_calls_is_let_in(listener: socket.socket) -> None:
    """As in a shell that `systemd-run` has started with a `SystemCallFilter=`."""
    code = (
        f"from edge_infer.sandbox import seccomp\nfrom edge_infer.sandbox.rules import Rules\n"
        f"from edge_infer.sandbox.syscall_numbers import every_call\n{CONNECT}"
        "seccomp.install(Rules(every_call(), ('io_uring_setup',)))\nconnect()"
    )
    with subprocess.Popen([sys.executable, "-c", code, listener.getsockname()], cwd=ROOT) as person:
        with listener.accept()[0] as way:
            assert identify(way, ticks() + 1, daemon=1_000_000_000).pid == person.pid
        person.wait(30)


HIDDEN = f"""
import json, os, socket, subprocess, sys, threading
from edge_infer.sandbox import privileges
from edge_infer.supervisor.control.peer import ticks
from edge_infer.supervisor.control.peer import RefusedError, identify
from edge_infer.supervisor.processes.orphans import Orphans
privileges.forbid_dumping()
privileges.forbid_new_privileges()
def outcome(way):
    try:
        return identify(way, ticks() + 1).uid
    except RefusedError as error:
        return f"{{type(error).__name__}}: {{error}}"
with Orphans(), socket.socket(socket.AF_UNIX) as listener:
    listener.bind("socket")
    listener.listen()
    os.chmod("socket", 0o777)
    print(flush=True)
    hide = "from edge_infer.sandbox import privileges; privileges.forbid_dumping()\\n"
    for code in (hide + {CONNECT!r} + "connect()", {CONNECT!r} + "connect()"):
        with subprocess.Popen([sys.executable, "-c", code, "socket"]):
            with listener.accept()[0] as way:
                print(outcome(way), flush=True)
    for _ in range(2):
        with listener.accept()[0] as way:
            print(outcome(way), flush=True)
"""


@pytest.mark.parametrize("hidepid", ["0", "2"])
def test_what_proc_hides_is_refused_and_other_users_are_people(hidepid: str) -> None:
    """As in the unit: ``/proc`` shows the daemon neither its rooms nor other users."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a /proc and become other users")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        (Path(folder) / "edge_infer").symlink_to(ROOT / "edge_infer")
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "/usr/bin/python3", "-c")
        enter = f'mount -t proc -o hidepid={hidepid} none /proc && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", enter, "sh", *user, HIDDEN]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "\n"
            hidden, shown = running.stdout.readline(), running.stdout.readline()
            code = f"{CONNECT}connect()"
            subprocess.run([sys.executable, "-c", code, f"{folder}/socket"], timeout=30, check=True)
            root = running.stdout.readline()
            subprocess.run([*user, code, f"{folder}/socket"], timeout=30, check=True)
            mine = running.stdout.readline()
    assert root == "0\n"
    assert "processes that it started" in shown
    assert ("processes that it started" if hidepid == "0" else "RefusedError: the daemon cannot identify") in hidden
    assert mine == "65534\n" if hidepid == "0" else "run the command as root, with sudo" in mine


def test_a_process_of_another_container_is_refused(tmp_path: Path) -> None:
    """It has no number here; it cannot be below the daemon, but nobody can say whose it is."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a process namespace")
    code = (
        "import os, socket\nfrom edge_infer.supervisor.control.peer import RefusedError, identify\n"
        "with socket.socket(socket.AF_UNIX) as listener:\n"
        f"    listener.bind({str(tmp_path / 'socket')!r})\n    listener.listen()\n    print(flush=True)\n"
        "    way = listener.accept()[0]\n"
        "    try:\n        identify(way, 2**40)\n    except RefusedError as error:\n        print(error, flush=True)\n"
    )
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", code]
    with subprocess.Popen(inside, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "\n"
        with socket.socket(socket.AF_UNIX) as outside:
            outside.connect(str(tmp_path / "socket"))
            assert "run the command in its container" in running.stdout.readline()
