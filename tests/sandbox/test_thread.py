"""A room in a thread of another one's process: the thread is held, the process is as it was, and nobody is misled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge_infer.sandbox import THREAD_ONLY
from tests.sandbox.locked import ATTEMPT, ROOT

SCRIPT = (
    ATTEMPT
    + """
import json, os, resource, socket, sys, threading
from edge_infer.sandbox import Fence, kernel, lock_thread, privileges
number = kernel.machine().numbers
tries = (
    lambda: open(sys.argv[1]).close(),
    lambda: open(sys.argv[2]).close(),
    lambda: os.listdir("/"),
    lambda: kernel.call(number["ioctl"], os.open(sys.argv[1], os.O_RDONLY), 0x80685600),
    lambda: kernel.call(number["io_uring_setup"], 1, 0) and None,
    lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    lambda: os.kill(os.getppid(), 0),
    lambda: socket.socketpair(),
)
def room():
    walls = lock_thread("publisher", Fence(reads=(sys.argv[1],)))
    print(json.dumps(walls))
    for each in tries:
        attempt(each)
    thread = threading.Thread(target=lambda: attempt(tries[1]))
    thread.start()
    thread.join()
privileges.forbid_core_dumps()
privileges.forbid_dumping()
for name in ("once", "once more"):  # a thread that is started later does not inherit from it
    thread = threading.Thread(target=room)
    thread.start()
    thread.join()
for which in (1, 2, 5, 6, 7):
    attempt(tries[which])
"""
)


def test_the_thread_is_held_and_the_process_is_not_and_that_is_what_is_told(tmp_path: Path) -> None:
    for name in ("allowed", "other"):
        (tmp_path / name).write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "allowed"), str(tmp_path / "other")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = done.stdout.splitlines()
    for begin in (0, 10):
        walls = json.loads(said[begin])
        assert walls["not_dumpable"] == walls["no_core_dump"] == "enforced"
        assert walls["files"] == walls["seccomp"] == walls["no_signals"] == THREAD_ONLY
        assert walls["no_calls_on_others"] == walls["no_unix_sockets"] == THREAD_ONLY
        assert said[begin + 1 : begin + 10] == ["allowed", "EACCES", "EACCES", *["EPERM"] * 5, "EACCES"]
    assert said[20:] == ["allowed"] * 5
    assert done.stderr.count("the publisher is a thread of the supervisor, so it can reach") == 2
