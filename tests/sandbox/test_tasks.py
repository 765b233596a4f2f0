"""The process that reads a configuration, and all that it starts, cannot outrun the signals that end them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.running import hidepid
from tests.sandbox.locked import ROOT

AS_A_USER = """
import os, resource, signal, subprocess, sys, time
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(60124, 60124, 60124)  # nothing is hidden from group 0
    os.setresuid(60124, 60124, 60124)  # a user without any process; no limit binds root
from edge_infer.sandbox import privileges
"""
COMET = """
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE, as every process of a reading does
signal.signal(signal.SIGINT, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
os.closerange(0, 64)
end = time.monotonic() + 90
while time.monotonic() < end:
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass
"""
ENDED = f"""
from edge_infer.supervisor.processes.orphans import Orphans, end_left_by_config
def children():
    with open(f"/proc/self/task/{{os.getpid()}}/children") as file:
        return len(file.read().split())
with Orphans():
    def mark():
        privileges.mark_descendants()
        privileges.bound_processes(30)
    subprocess.run([sys.executable, "-c", {COMET!r}], preexec_fn=mark, stdout=subprocess.PIPE, check=True)
    before, now = -1, 0
    while before != now:  # each that has ended counts until its status is collected, so it comes to its limit
        before, now = now, children()
        time.sleep(0.5)
    print(now > 20)
    end_left_by_config([])
    print(children())
"""
BOUNDED = """
busy = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(5)]
privileges.bound_processes(4)
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
print(soft == hard, 9 < soft <= 20)
for each in busy:
    each.communicate(b"\\n")
"""


def run(code: str, *before: str) -> str:
    command = [*before, sys.executable, "-c", AS_A_USER + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_forks_and_ends_again_and_again_is_ended_at_once() -> None:
    assert run(ENDED).split() == ["True", "0"]


def test_what_proc_hides_is_ended_too() -> None:
    assert run(ENDED, *hidepid(2)).split() == ["True", "0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user whose processes are known")
def test_the_limit_leaves_room_for_as_many_as_are_asked_for() -> None:
    assert run(BOUNDED) == "True True"
