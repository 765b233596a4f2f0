"""Processes whose parents ended, below a process that takes them: none stays a zombie, none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import eventually, free_port
from tests.running import ROOT, Daemon, alive, config, hidepid

BEGIN = """
import os, signal, subprocess, sys, time
from edge_infer.supervisor.processes.orphans import Orphans
ORPHAN = (
    "import os, sys, time\\nif os.fork() == 0:\\n os.setsid()\\n print(os.getpid(), flush=True)\\n"
    " time.sleep(float(sys.argv[1]))"
)
def orphan(seconds):
    command = [sys.executable, "-c", ORPHAN, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
    return pid
def state(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
def wait(pid, wanted):
    while state(pid) != wanted:
        time.sleep(0.01)
"""


def run(code: str, *before: str) -> list[str]:
    """What a process of its own printed; ``before`` are words of a command that becomes it."""
    command = [*before, sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60.0, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_orphan_that_ends_is_no_zombie_and_the_ends_of_others_stay() -> None:
    code = """
if (before := os.fork()) == 0:  # by the program that this process was, which nobody waits for any more
    os._exit(0)
wait(before, "Z")
with Orphans() as orphans:
    own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    wait(own.pid, "Z")
    left = orphan(0)
    wait(left, "Z")
    print(open(f"/proc/{left}/stat").read().rpartition(")")[2].split()[1] == str(os.getpid()))
    orphans.reap([own.pid])
    print(own.wait())
    orphans.reap([])
    print(state(left), state(before))
"""
    assert run(code) == ["True", "7", "gone", "gone"]


def test_without_it_an_orphan_is_not_below_its_process() -> None:
    code = """
left = orphan(30)
wait(left, "S")
print(open(f"/proc/{left}/stat").read().rpartition(")")[2].split()[1] == str(os.getpid()))
os.kill(left, signal.SIGKILL)
"""
    assert run(code) == ["False"]


def test_at_the_end_none_is_left_but_those_that_were_there_before() -> None:
    code = """
before = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
with Orphans() as orphans:
    nested = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    left = [orphan(60), orphan(60)]
    subprocess.run([sys.executable, "-c", nested], check=True)
    orphans.reap([])
    print(*(state(pid) for pid in left))
    orphans.close()
    print(*(state(pid) for pid in left), before.poll())
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(children == [str(before.pid)])
before.kill()
"""
    assert run(code) == ["S", "S", "gone", "gone", "None", "True"]


def test_only_what_a_reading_has_left_behind_is_ended() -> None:
    """Whatever its session; the process of a reading that still runs stays, and so do other orphans."""
    code = """
from edge_infer.supervisor.processes.orphans import end_left_by_config
MARK = "from edge_infer.sandbox.privileges import mark_descendants; mark_descendants()\\n"
with Orphans() as orphans:
    others = orphan(60)
    ORPHAN = MARK + ORPHAN
    left = [orphan(60), orphan(60)]
    ORPHAN = MARK + "import os, time\\nif os.fork() == 0:\\n os.setsid()\\n"
    ORPHAN += " if os.fork() == 0: print(os.getpid(), flush=True)\\n while True: time.sleep(1)\\n"
    left.append(orphan(60))
    reading = subprocess.Popen([sys.executable, "-c", MARK + "print(flush=True); input()"], stdin=-1, stdout=-1)
    reading.stdout.readline()
    end_left_by_config([reading.pid])
    print(*(state(pid) for pid in left), state(others), reading.poll())
    reading.kill()
    reading.wait()
"""
    assert run(code) == ["gone", "gone", "gone", "S", "None"]


def test_none_is_left_that_proc_hides() -> None:
    """As in the unit, where ``/proc`` does not show processes of the same user that are protected from each other."""
    code = """
from edge_infer.supervisor.processes.orphans import end_left_by_config
HIDES = "from edge_infer.sandbox import privileges\\nprivileges.forbid_dumping()\\n"
os.setgroups([])
os.setresgid(60125, 60125, 60125)
os.setresuid(60125, 60125, 60125)
def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
with Orphans():
    ORPHAN = HIDES + ORPHAN
    other = orphan(20)
    ORPHAN = HIDES + "privileges.mark_descendants()\\n" + ORPHAN
    left = orphan(20)
    print(state(other), state(left))
    end_left_by_config([])
    print(runs(other), runs(left))
print(runs(other))
"""
    assert run(code, *hidepid(2)) == ["gone", "gone", "True", "False", "False"]


def test_no_process_of_a_reading_loses_its_mark() -> None:
    """As an ordinary user, as which a daemon runs: root could raise the limit."""
    code = """
import resource
from edge_infer.sandbox import privileges
privileges.drop_all_capabilities()
command = [sys.executable, "-c", "print(flush=True); input()"]
child = subprocess.Popen(command, stdin=-1, stdout=-1, preexec_fn=privileges.mark_descendants)
child.stdout.readline()
print(privileges.marked(child.pid), privileges.marked(os.getppid()), privileges.marked(2 ** 22))
child.kill()
privileges.mark_descendants()
try:
    resource.setrlimit(10, (1, 1))
except (OSError, ValueError):
    print("refused")
"""
    assert run(code) == ["True", "False", "False", "refused"]


@pytest.mark.parametrize("hides", [False, True])
def test_a_daemon_that_stops_leaves_no_process_of_a_source_behind(tmp_path: Path, *, hides: bool) -> None:
    script = (
        "import ctypes, os, sys, time\nctypes.CDLL(None).prctl(4, 0)\n"
        "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  os.close(1); os.close(2)\n"
        f"  open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}} ')\n  time.sleep(600)\n os._exit(0)\n"
        "while True:\n sys.stdout.buffer.write(bytes(64 * 48 * 3))\n time.sleep(0.05)\n"
    )
    (tmp_path / "camera.py").write_text(script)
    (tmp_path / "pid").touch()
    (tmp_path / "pid").chmod(0o666)  # a daemon of root becomes another user
    source = f"{{kind: exec, command: [{sys.executable}, {tmp_path / 'camera.py'}], size: 64x48, format: rgb24}}"
    before = hidepid(2) if hides else ()
    with Daemon(tmp_path, config(free_port(), source), before=before) as daemon:
        eventually(lambda: (tmp_path / "pid").read_text().endswith(" "), "orphan", 60.0)
        left = int((tmp_path / "pid").read_text())
        try:
            assert alive(left)
            daemon.signal(signal.SIGTERM)
            daemon.wait(30)
            assert not alive(left)
        finally:
            if alive(left):
                os.kill(left, signal.SIGKILL)
