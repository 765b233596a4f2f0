"""Who starts no process cannot leave one behind that keeps its channels."""

from __future__ import annotations

import pytest

from edge_infer.sandbox.fence import Fence
from tests.sandbox.locked import ATTEMPT, run

FORKS = (
    ATTEMPT
    + """
import ctypes, os, struct, subprocess, threading
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
def ends(pid):
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
def clone3():
    wanted = ctypes.create_string_buffer(struct.pack("=8Q", 0, 0, 0, 0, 17, 0, 0, 0))
    ends(kernel.call(number["clone3"], ctypes.addressof(wanted), 64))
attempt(lambda: ends(os.fork()))
attempt(lambda: ends(kernel.call(number["clone"], 17, 0, 0, 0, 0)))
attempt(clone3)
attempt(lambda: subprocess.run(["true"]))
attempt(lambda: ends(os.posix_spawn("/bin/true", ["true"], {})))
attempt(lambda: threading.Thread(target=print).start())
"""
)
ALL = ["allowed"] * 6


@pytest.mark.parametrize("room", ["engine", "probe", "publisher", "reader"])
def test_it_starts_threads_and_no_process(room: str) -> None:
    assert run("", FORKS).split() == ALL
    assert run(room, FORKS).split() == ["EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM", "allowed"]


@pytest.mark.parametrize("fence", [Fence(anywhere=True, unix="programs"), Fence(unix="sound")])
def test_readers_of_programs_and_sound_services_start_them(fence: Fence) -> None:
    """Programs that no fence of files keeps from starting, and what a library of the sound service starts."""
    clone3 = "ENOSYS" if fence.unix == "sound" else "allowed"  # its flags, which could make a namespace, are hidden
    assert run("reader", FORKS, fence=fence).split()[:3] == ["allowed", "allowed", clone3]
