"""An attacker that makes every call from inside each locked process, and the same calls in a process without walls."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase

import pytest

from edge_infer.sandbox import Fence
from tests.sandbox.locked import run

STRANGER = "import ctypes; place = ctypes.create_string_buffer(8); print(ctypes.addressof(place), flush=True); input()"


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Code to execute before the lock and after it: files, services and processes to reach."""
    folder = tmp_path_factory.mktemp("targets")
    for name in ("file", "other", "empty-file"):
        (folder / name).write_text("secret")
    (folder / "link").symlink_to("file")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    place = ctypes.create_string_buffer(8)
    with ExitStack() as stack:
        ports = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            service = stack.enter_context(socket.socket(family))
            service.bind((address, 0))
            service.listen(50)
            ports.append(service.getsockname()[1])
        for kind, path in ((1, str(folder / "socket")), (1, f"\0{folder}"), (2, str(folder / "datagrams"))):
            local = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            local.bind(path)
            if kind == socket.SOCK_STREAM:
                local.listen(50)
        stranger = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", STRANGER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(stranger.kill)
        assert stranger.stdout is not None
        where = int(stranger.stdout.readline())
        before = (
            "import json, os\n"
            "from tests.sandbox import every_call\n"
            f"every_call.prepare({str(folder)!r})\n"
            f"victims = {{'the parent': (os.getppid(), os.pidfd_open(os.getppid()), {ctypes.addressof(place)}),"
            f" 'a stranger': ({stranger.pid}, os.pidfd_open({stranger.pid}), {where})}}\n"
        )
        yield (
            before,
            f"print(json.dumps(every_call.attempts({str(folder)!r}, {ports[0]}, {ports[1]}, victims, locked=%s)))",
        )


@pytest.fixture(scope="module")
def reachable(targets: tuple[str, str]) -> set[str]:
    """The calls that succeed without walls."""
    before, code = targets
    found = json.loads(run("", code % False, before=before))
    return {name for name, text in found.items() if text == "allowed"}


def test_at_least_two_hundred_calls_succeed_without_walls(reachable: set[str]) -> None:
    assert len(reachable) >= (200 if os.geteuid() == 0 else 120)


CONNECTIONS = "read /proc/net/tcp"
"""Landlock cannot leave out this part of a process's own folder in /proc: see docs/known-gaps.md."""
TCP = {"socket TCP", "socket TCP of IPv6"}
UDP = {"socket UDP", "socket UDP of IPv6", "send UDP", "send UDP of IPv6", "connect UDP"}
UNIX = {*(f"Unix {kind} {what}" for kind in ("stream", "datagram", "packets") for what in ("socket", "pair")),
        "connect by a path", "send by a path"}  # fmt: skip
TIGHT = {
    "engine": ("engine", False, Fence(), set()),
    "probe": ("probe", False, Fence(), set()),
    "reader": ("reader", False, Fence(), set()),
    "reader of the network": ("reader", True, Fence(ports=(1,)), TCP),
    "reader of the network by name": (
        "reader",
        True,
        Fence(ports=(1,), datagrams=True),
        TCP | UDP | {"bind a port", "bind any address", "bind a port of UDP", "bind an inherited socket"},
    ),
    "publisher": ("publisher", False, Fence(ports=(1,)), TCP | {"read how the clock is adjusted", "fcntl F_SETLK"}),
    "resolver": ("resolver", False, Fence(ports=(53,), datagrams=True), TCP | UDP),
    "resolver by a service": ("resolver", False, Fence(ports=(53,), datagrams=True, unix="names"), TCP | UDP | UNIX),
    "page": ("page", False, Fence(), set()),
}
"""Arguments of the lock, and the calls that the process needs."""


@pytest.mark.parametrize("process", TIGHT)
def test_none_of_them_reaches_what_a_locked_process_does_not_need(
    process: str, targets: tuple[str, str], reachable: set[str]
) -> None:
    room, network, fence, needed = TIGHT[process]
    before, code = targets
    found = json.loads(run(room, code % True, network=network, fence=fence, before=before))
    assert found.keys() >= reachable
    allowed = {name for name in reachable if found[name] == "allowed"}
    assert allowed - {CONNECTIONS} == needed


READS = ("read /*", "open /dev/* to read", "open to read", "open by *", "openat2", "open a pipe", "list", "memfd in *",
         "name and open again")  # fmt: skip
STARTS = ("fork", "vfork or clone", "clone with shared files", "execve", "execveat", "setsid", "setpgid", "setuid",
          "setresuid", "capset", "chdir*", "landlock_create_ruleset", "seccomp", "prctl PR_SET_PDEATHSIG")  # fmt: skip
OTHERS = "read /proc/PID/* of *"
SHARES = ("shm*", "sem*", "msg*", "close for all, shutdown", "*inherited socket", "connect without a path")
SHOWN = ("flock", "fcntl F_SETLK", "fcntl F_OFD_SETLK", "fcntl F_SET_RW_HINT", "fcntl F_NOTIFY", "sched_set* of itself",
         "ioprio_set of itself")  # fmt: skip
HARMLESS = ("cachestat", "personality", "listxattr", "lsm_list_modules", "memfd_secret", "setfsuid", "vmsplice",
            "splice", "timer_create", "read how the clock is adjusted")  # fmt: skip
WIDE = {
    "config": ("config", Fence(anywhere=True), (*READS, *STARTS, "Unix stream pair", "clone3", "unshare user")),
    "reader of a microphone": ("reader", Fence(unix="sound"), (
        OTHERS, *STARTS, *SHARES, *SHOWN, *HARMLESS, *UNIX, "read /proc/1/status", "read /proc/kallsyms",
        "read /proc/iomem", "read /proc/interrupts", "read /proc/softirqs",
    )),
    "reader of a program": ("reader", Fence(anywhere=True, unix="programs"), (
        OTHERS, *READS, *STARTS, *SHARES, *SHOWN, *HARMLESS, *UNIX, "clone3", "unshare user", "pidfd_open of *",
        "lookup *", "prctl PR_SET_NAME", "prctl PR_SET_CHILD_SUBREAPER", "fcntl F_SETOWN of *", "ioctl FIOSETOWN of *",
        "killpg of *", "inotify_add_watch", "fanotify_init", "open_tree", "statmount", "socket netlink route",
        "socket netlink uevent",
    )),
}  # fmt: skip
"""Processes that start programs, with patterns of calls. Landlock keeps their signals from processes outside: a signal
to a group reaches the process itself, and the owner of a file gets none."""


@pytest.mark.parametrize("process", WIDE)
def test_a_process_that_starts_programs_reaches_nothing_else_either(
    process: str, targets: tuple[str, str], reachable: set[str]
) -> None:
    room, fence, patterns = WIDE[process]
    before, code = targets
    found = json.loads(run(room, code % True, fence=fence, before=before))
    allowed = {name for name in reachable if found[name] == "allowed"} - {CONNECTIONS}
    assert {name for name in allowed if not any(fnmatchcase(name, each) for each in patterns)} == set()
