"""No call on another process: each one that could be made, on the parent and on a stranger of the same user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_infer.plan.records import MqttPlan, Plan, SourcePlan
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.needs import config_fence, engine_fence, publisher_fence, reader_fence
from tests.broker import Broker, eventually
from tests.running import Daemon, config
from tests.sandbox.locked import ROOT, run

NEWER_KERNEL = ("ENOSYS", "ENODEV", "EINVAL", "ENOENT", "EOPNOTSUPP")
"""How a kernel answers that was built without a call."""
BEFORE = """
import array, ctypes, errno, fcntl, json, os, resource, signal, socket, struct, sys, threading, time
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
libc = ctypes.CDLL(None, use_errno=True)
def raw(name, *arguments):
    kernel.call(number[name], *(ctypes.addressof(each) if hasattr(each, "raw") else each for each in arguments))
def bytes_of(data):
    return ctypes.create_string_buffer(data, len(data))
IOPRIO_GET = {0xC000003E: 252, 0xC00000B7: 31, 0x40000028: 315}[kernel.machine().audit]
SCHED_OTHER = bytes_of(struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, 0, 0, 0))
QUEUED = bytes_of(struct.pack("=iii", 0, 0, -1).ljust(128, b"\\0"))
SOFTWARE = bytes_of(struct.pack("=IIQ", 1, 128, 0).ljust(128, b"\\0"))
PLACE = bytes_of(bytes(16))
NODE = bytes_of(struct.pack("=Q", 1))
PAIR = socket.socketpair()
victims = dict(zip(("parent", "stranger"), (os.getppid(), int(sys.argv[1]) if len(sys.argv) > 1 else STRANGER)))
files = {pid: os.pidfd_open(pid) for pid in (*victims.values(), os.getpid())}
found = {}
def tried(name, what):
    try:
        what()
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
    else:
        found[name] = "allowed"
LIMITS = {
    "limit": lambda pid: resource.prlimit(pid, resource.RLIMIT_CORE),
    "set a limit": lambda pid: resource.prlimit(pid, resource.RLIMIT_MSGQUEUE, limits[pid]),
    "priority": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)),
    "cpus": lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(pid)),
    "policy": lambda pid: os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0)),
    "parameters": lambda pid: os.sched_setparam(pid, os.sched_param(0)),
    "attributes": lambda pid: raw("sched_setattr", pid, SCHED_OTHER, 0),
    "order of input": lambda pid: raw("ioprio_set", 1, pid, kernel.call(IOPRIO_GET, 1, pid)),
    "locks": lambda pid: raw("get_robust_list", pid, PLACE, PLACE),
    "nodes": lambda pid: raw("migrate_pages", pid, 2, NODE, NODE),
    "pages": lambda pid: raw("move_pages", pid, 0, 0, 0, 0, 0),
    "a core": lambda pid: raw("prctl", 62, 1, pid, 0, 0),
}
WHOLLY = {
    "compare": lambda pid: raw("kcmp", pid, pid, 0, 0, 0),
    "count": lambda pid: raw("perf_event_open", SOFTWARE, pid, -1, -1, 0),
    "advise": lambda pid: raw("process_madvise", files[pid], 0, 0, 20, 0),
    "release": lambda pid: raw("process_mrelease", files[pid], 0),
}
GROUPS = {
    "priority of a group": lambda pid: os.setpriority(1, os.getpgid(pid), os.getpriority(0, pid)),
    "order of a group": lambda pid: raw("ioprio_set", 2, os.getpgid(pid), kernel.call(IOPRIO_GET, 1, pid)),
}
SIGNALS = {
    "kill": lambda pid: os.kill(pid, 0),
    "kill a group": lambda pid: os.killpg(os.getpgid(pid), 0),
    "kill the own group": lambda pid: os.kill(0, 0),
    "kill everybody": lambda pid: os.kill(-1, 0),
    "tkill": lambda pid: raw("tkill", pid, 0),
    "tgkill": lambda pid: raw("tgkill", pid, pid, 0),
    "queue": lambda pid: raw("rt_sigqueueinfo", pid, 0, QUEUED),
    "queue to a thread": lambda pid: raw("rt_tgsigqueueinfo", pid, pid, 0, QUEUED),
    "open": lambda pid: os.close(os.pidfd_open(pid)),
    "by an open file": lambda pid: signal.pidfd_send_signal(files[pid], 0),
    "as it owns a file": lambda pid: fcntl.fcntl(PAIR[0], fcntl.F_SETOWN, pid),
    "as it owns a socket": lambda pid: fcntl.ioctl(PAIR[0], 0x8901, struct.pack("i", pid)),
}
try:
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_MSGQUEUE) for pid in (*victims.values(), os.getpid())}
except OSError:
    limits = {pid: (0, 0) for pid in (*victims.values(), os.getpid())}
"""
ATTACK = """
for who, pid in victims.items():
    for name, what in {**LIMITS, **WHOLLY, **GROUPS, **SIGNALS}.items():
        tried(f"{name} of {who}", lambda: what(pid))
print(json.dumps(found))
"""
ITSELF = """
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append("signal"))
for name, what in LIMITS.items():
    tried(name, lambda: what(0) if name != "set a limit" else resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
tried("nice", lambda: os.nice(1))
tried("raise", lambda: signal.raise_signal(signal.SIGUSR1))
tried("kill", lambda: os.kill(os.getpid(), signal.SIGUSR1))
tried("queue", lambda: raw("rt_sigqueueinfo", os.getpid(), 0, QUEUED))
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
tried("thread", lambda: signal.pthread_kill(thread.ident, 0))
end.set()
thread.join()
tried("a flag of a file", lambda: fcntl.fcntl(PAIR[0], fcntl.F_SETFL, os.O_NONBLOCK))
tried("an ioctl", lambda: fcntl.ioctl(PAIR[0], 0x541B, array.array("i", [0])))
print(json.dumps([found, heard]))
"""


@dataclass(frozen=True, slots=True)
class Process:
    """One kind of locked process; ``room`` is empty for the unlocked control."""

    room: str
    fence: Fence | None = None
    network: bool = False

    def run(self, code: str, before: str) -> str:
        return run(self.room, code, network=self.network, before=before, fence=self.fence)


def source(kind: str, options: Mapping[str, object], *, network: bool = False) -> Process:
    """The reader of a source."""
    plan = SourcePlan("cam", kind, "", True, network, dict(options))
    return Process("reader", reader_fence(plan), network)


PLAN = Plan("0" * 64, "box", "/var/lib/nowhere", MqttPlan("127.0.0.1", 1883, None, "me", None, "a/b", 1, "c"), (), ())
CONTROL = Process("")
REACH_ITSELF = {
    *("kill a group", "kill the own group", "kill everybody", "open", "as it owns a file", "as it owns a socket"),
}
"""Signals that Landlock lets through as far as the caller is among those who get them, and ways to ask for some."""
SHOWN = ("policy", "parameters", "attributes", "order of input")
STRICT = {
    "engine": Process("engine", engine_fence(PLAN)),
    "probe": Process("probe", Fence(anywhere=True)),
    "reader of a device": source("v4l2", {"device": "/dev/video0"}),
    "reader of a network camera": source("rtsp", {"url": "rtsp://192.0.2.1/a"}, network=True),
    "reader of a network camera with a name": source("http", {"url": "http://cam.local/a"}, network=True),
    "reader of a microphone": source("audio", {"device": "default"}),
    "publisher": Process("publisher", publisher_fence(PLAN)),
    "who reads a configuration": Process("config", config_fence(PLAN.state_dir)),
}
STARTS_PROGRAMS = {
    "reader of a program": source("exec", {"command": ["rpicam-vid"]}),
    "reader of a program with a network": source("exec", {"command": ["ffmpeg"]}, network=True),
    "reader of a plug-in": source("picamera2", {}),
}
LOCKED = STRICT | STARTS_PROGRAMS


@pytest.fixture
def stranger() -> Iterator[str]:
    """Code that names a process of the same user that the attacker has not started."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield f"STRANGER = {process.pid}\n"
        process.kill()


def attacked(process: Process, stranger: str) -> dict[str, str]:
    """How the kernel answered to each call on another process."""
    found: dict[str, str] = json.loads(process.run(ATTACK, stranger + BEFORE))
    return found


@pytest.mark.parametrize("name", LOCKED)
def test_no_process_makes_a_call_on_another(name: str, stranger: str) -> None:
    """Those that start programs can signal what they have started, which Landlock tells from others."""
    found = attacked(LOCKED[name], stranger)
    if name in STARTS_PROGRAMS:
        found = {key: text for key, text in found.items() if key.rpartition(" of ")[0] not in REACH_ITSELF}
    assert {key: text for key, text in found.items() if text != "EPERM"} == {}
    assert len(found) >= 2 * (12 + 4 + 2 + 6)


def test_the_same_calls_succeed_in_a_process_that_is_not_locked(stranger: str) -> None:
    found = attacked(CONTROL, stranger)
    assert {text for text in found.values() if text != "allowed"} <= set(NEWER_KERNEL)
    may_be_unknown = ("nodes", "pages", "a core", "compare", "count", "advise", "release")
    refused = {key for key, text in found.items() if text != "allowed" and not key.startswith(may_be_unknown)}
    assert refused == set()


@pytest.mark.parametrize("name", LOCKED)
def test_every_process_still_sets_its_own(name: str) -> None:
    found, heard = json.loads(LOCKED[name].run(ITSELF, f"STRANGER = {os.getpid()}\n" + BEFORE))
    if name not in (*STARTS_PROGRAMS, "reader of a microphone"):  # every user could read these numbers
        assert {found.pop(each) for each in SHOWN} == {"EPERM"}
    of_the_kernel = {name: text for name, text in found.items() if name in ("nodes", "pages", "a core")}
    assert of_the_kernel.pop("a core") == "EPERM"
    assert set(of_the_kernel.values()) <= {"allowed", "ENOSYS"}
    others = {name: text for name, text in found.items() if name not in ("nodes", "pages", "a core")}
    assert set(others.values()) == {"allowed"}, others
    assert heard == ["signal", "signal"]


@pytest.mark.parametrize("name", LOCKED)
def test_abort_still_ends_it(name: str) -> None:
    process = LOCKED[name]
    code = f"lock({process.room!r}, network={process.network}, fence={process.fence!r})"
    script = f"import os\nfrom edge_infer.sandbox import Fence, lock\n{code}\nos.abort()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60, capture_output=True)
    assert done.returncode == -6


PARENT = """
import os, resource, subprocess, sys, time
done = subprocess.run([sys.executable, "-c", sys.argv[1]])
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
print("alive", resource.getrlimit(resource.RLIMIT_CPU) == (resource.RLIM_INFINITY,) * 2)
"""


def parent_of(process: Process) -> tuple[int, str]:
    """What became of a process whose child takes its processor time away: its exit code and its last words."""
    lock = f"lock({process.room!r}, network={process.network}, fence={process.fence!r})" if process.room else ""
    attack = (
        f"import os, resource\nfrom edge_infer.sandbox import Fence, lock\n{lock}\n"
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", PARENT, attack], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("name", LOCKED)
def test_no_process_ends_its_parent_by_a_limit(name: str) -> None:
    assert parent_of(LOCKED[name]) == (0, "alive True")


def test_a_process_that_is_not_locked_does(stranger: str) -> None:
    assert parent_of(CONTROL) == (-9, "")


@dataclass(slots=True)
class Answers:
    """What the attackers in a daemon's processes have written into its log, by process and call."""

    daemon: Daemon
    wanted: set[str] = field(default_factory=lambda: {"engine", "reader", "publisher"})

    def found(self) -> dict[str, dict[str, str]]:
        lines = [line.partition("attacker ")[2] for line in self.daemon.log.read_text(errors="replace").splitlines()]
        answers: dict[str, dict[str, str]] = {}
        for words in (line.split() for line in lines if line):
            answers.setdefault(words[0], {})[words[1]] = words[2]
        return answers

    def complete(self) -> bool:
        return self.wanted <= {name for name, calls in self.found().items() if "end" in calls}


ATTACKER = """
import os, resource, sys, threading
WANTED = {"edge_infer.engine": "numpy", "edge_infer.readers": "cv2", "edge_infer.publisher": "paho",
          "edge_infer.models.trials.probe_main": "numpy"}
module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
def attack():
    import errno
    parent = os.getppid()
    tries = {
        "limit": lambda: resource.prlimit(parent, resource.RLIMIT_CPU, (0, 0)),
        "files": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0)),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
        "cpus": lambda: os.sched_setaffinity(parent, {max(os.sched_getaffinity(0))}),
        "policy": lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0)),
        "kill": lambda: os.kill(parent, 9),
    }
    for name, what in tries.items():
        try:
            what()
        except OSError as error:
            answer = errno.errorcode[error.errno]
        else:
            answer = "allowed"
        os.write(2, f"attacker {module.rpartition('.')[2].replace('readers', 'reader')} {name} {answer}\\n".encode())
    os.write(2, f"attacker {module.rpartition('.')[2].replace('readers', 'reader')} end .\\n".encode())
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == WANTED[module]:
            sys.meta_path.remove(self)
            threading.Thread(target=attack).start()
        return None
if module in WANTED:
    sys.meta_path.insert(0, Hook())
"""


def open_files(pid: int | str) -> str:
    """How many a process may have."""
    return next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line)


def test_a_daemon_outlives_the_attackers_in_each_of_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are threads that start when the process has locked itself; what one in the model's trial answers is lost."""
    folder = tmp_path
    code = folder / "code"
    code.mkdir()
    (code / "sitecustomize.py").write_text(ATTACKER)
    monkeypatch.setenv("PYTHONPATH", str(code))
    (folder / "camera.py").write_text(
        "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes(64 * 48 * 3))\n sys.stdout.buffer.flush()\n"
        " time.sleep(0.05)\n"
    )
    camera = f"{{kind: exec, command: [{sys.executable}, {folder}/camera.py], size: 64x48, format: rgb24}}"
    with Broker(folder) as broker, Daemon(folder, config(broker.port, camera)) as daemon:
        daemon.wait_serving()
        answers = Answers(daemon)
        eventually(answers.complete, lambda: str(answers.found()), 60.0)
        found = answers.found()
        refused = dict.fromkeys(("limit", "files", "priority", "cpus", "policy", "kill"), "EPERM")
        assert found == {name: {**refused, "end": "."} for name in answers.wanted}
        assert open_files(daemon.pid) == open_files("self")
        assert os.getpriority(os.PRIO_PROCESS, daemon.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        eventually(lambda: daemon.status()["pipelines"]["faces"]["produced"] > 0, "results", 60.0)
