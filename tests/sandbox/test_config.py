"""Who reads a configuration: what a file that others wrote could make of that process ends at its walls."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_infer.contract.codec import decode, loads
from edge_infer.plan.records import Compiled
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.needs import config_fence
from edge_infer.supervisor.reload.compilation import Compilation
from tests.broker import Broker, eventually
from tests.running import MODEL, Daemon, alive, config
from tests.sandbox.locked import ATTEMPT, ROOT, run

OUTSIDE = Path("/dev/shm")
REACHES = (
    ATTEMPT
    + """
import os, resource, signal, socket
def connected(family, address):
    with socket.socket(family) as way:
        way.connect(address)
attempt(lambda: connected(socket.AF_INET, ADDRESS))
attempt(lambda: connected(socket.AF_UNIX, PATH))
attempt(lambda: os.kill(os.getppid(), 0))
attempt(lambda: os.killpg(os.getpgid(os.getppid()), 0))
attempt(lambda: os.kill(0, 0))
attempt(lambda: os.kill(-1, 0))
attempt(lambda: os.kill(STRANGER, 0))
attempt(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())))
attempt(lambda: os.close(os.open(OUTSIDE, os.O_WRONLY | os.O_CREAT)))
attempt(lambda: open(CONFIG, "a").close())
"""
)
NEEDS = (
    ATTEMPT
    + """
import os, signal, socket, subprocess, sys
def ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.kill()
    assert child.wait(10) == -9
def handed():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    socket.send_fds(ours, [b"x"], [0])
    os.close(socket.recv_fds(theirs, 1, 1)[1][0])
def kept():
    path = os.path.join(STATE, "blobs")
    os.mkdir(path)
    with open(path + "/.incoming-x", "w") as file:
        file.write("x")
    os.rename(path + "/.incoming-x", path + "/x")
attempt(ended)
attempt(handed)
attempt(kept)
attempt(lambda: open(CONFIG).read())
attempt(lambda: os.listdir("/etc"))
"""
)
TRIES_MODELS = """
import json, subprocess, sys
script = "import json\\nfrom edge_infer.sandbox import lock\\nprint(json.dumps(lock('probe')))"
print(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
"""


@pytest.fixture
def before(tmp_path: Path) -> Iterator[str]:
    """Code that names what there is to reach: two who listen, a process of the same user, files."""
    (tmp_path / "state").mkdir()
    (tmp_path / "config.yaml").write_text("mqtt: {}")
    outside, config_file = OUTSIDE / f"edge-infer-{os.getpid()}", OUTSIDE / f"edge-infer-{os.getpid()}.yaml"
    config_file.write_text("mqtt: {}")
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        subprocess.Popen(["sleep", "300"]) as stranger,
    ):
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        yield (
            f"ADDRESS, PATH, STRANGER = {tcp.getsockname()}, {str(tmp_path / 'socket')!r}, {stranger.pid}\n"
            f"OUTSIDE, CONFIG, STATE = {str(outside)!r}, {str(config_file)!r}, {str(tmp_path / 'state')!r}"
        )
        stranger.kill()
    outside.unlink(missing_ok=True)
    config_file.unlink()


def test_it_reaches_nobody_and_writes_to_its_state_alone(before: str, tmp_path: Path) -> None:
    alone = f"import os; os.setsid()\n{before}"  # everybody is spared, and the group of the tests
    control = run("", REACHES.replace("os.kill(-1, 0)", "None"), before=alone).split()
    assert control == ["allowed"] * 11
    found = run("config", REACHES, before=alone, fence=config_fence(str(tmp_path / "state"))).split()
    assert found == ["EPERM"] * 9 + ["EACCES"] * 2


def test_it_does_what_it_has_to(before: str, tmp_path: Path) -> None:
    assert run("config", NEEDS, before=before, fence=config_fence(str(tmp_path / "state"))).split() == ["allowed"] * 5


def test_without_a_state_directory_it_writes_nothing(before: str) -> None:
    state = f"STATE = {str(OUTSIDE)!r}"
    assert run("config", NEEDS, before=f"{before}\n{state}", fence=config_fence("")).split()[2] == "EACCES"


def test_what_it_starts_to_try_models_has_all_of_its_own_walls() -> None:
    walls = json.loads(run("config", TRIES_MODELS, fence=config_fence("")))
    lacking = {wall: text for wall, text in walls.items() if not text.startswith("enforced")}
    if os.geteuid() == 0:  # where it may read everything, that would end in a user namespace
        assert lacking.keys() <= {"network_namespace"}
    else:
        assert lacking == {}


def test_it_keeps_the_power_to_read_and_no_other() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to drop")
    code = "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')))"
    before = "from edge_infer.sandbox.privileges import READ_SEARCH"
    lock = "from edge_infer.sandbox import Fence, lock; lock('config', fence=Fence(anywhere=True), keep=READ_SEARCH)"
    assert {int(value, 16) & ~4 for value in run("", code, before=f"{before}\n{lock}").split()} == {0}
    assert {int(value, 16) for value in run("reader", code, fence=Fence(anywhere=True)).split()} == {0}


def test_a_file_is_read_and_its_models_are_tried_behind_the_walls(tmp_path: Path) -> None:
    """As the supervisor starts it; what it keeps lies in the state directory that it was given."""
    state, file = tmp_path / "state", tmp_path / "config.yaml"
    state.mkdir()
    file.write_text(config(1883))

    def read(*words: str) -> Compiled:
        command = [sys.executable, "-m", "edge_infer.config", str(file), *words]
        return decode(Compiled, loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False).stdout))

    compiled = read("--store", str(state))
    assert compiled.plan is not None, compiled.problems
    model = Path(compiled.plan.pipelines[0].model.path)
    assert model.parent == state / "blobs"
    assert model.read_bytes() == MODEL.read_bytes()
    assert model.stat().st_mode & 0o777 == 0o644 & ~umask()
    assert (state / "trials" / "tried.json").stat().st_mode & 0o777 == 0o640 & ~umask()
    other = read("--store", str(tmp_path))
    assert (other.plan, other.problems, other.elsewhere) == (None, (), str(state))
    assert read().plan is not None


LOOKED_UP = "SOCK_CLOEXEC"
"""A flag of the sockets with which the C library looks up names; the self-test of a sandbox makes others."""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("faulty", [False, True])
def test_neither_it_nor_a_trial_looks_up_names_behind_the_walls(tmp_path: Path, *, faulty: bool) -> None:
    """The kernel would log each such look-up as a refused call, and doctor reports those."""
    text = config(1883)
    if faulty:
        os.mkfifo(tmp_path / "pipe", 0)
        text = text.replace("sources:", f"sources:\n  other: {{kind: lines, file: {tmp_path}/pipe}}")
    (tmp_path / "config.yaml").write_text(text)
    command = ["strace", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=socket", sys.executable, "-m"]
    done = subprocess.run(
        [*command, "edge_infer.config", str(tmp_path / "config.yaml")],
        cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=False,
    )  # fmt: skip
    compiled = decode(Compiled, loads(done.stdout))
    if faulty:
        [problem] = compiled.problems
        assert re.match(r"user \S+ needs read and write access to the pipe ", problem.text)
    else:
        assert compiled.plan is not None, compiled.problems
    calls = (tmp_path / "trace").read_text().splitlines()
    assert any("EPERM" in call for call in calls), "the self-test of the sandbox"
    assert [call for call in calls if LOOKED_UP in call and "EPERM" in call] == []


def umask() -> int:
    """That of the tests."""
    found = os.umask(0o022)
    os.umask(found)
    return found


SLOW = """
import sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            import os, time
            print(f"reading as {os.getpid()}", file=sys.stderr, flush=True)
            time.sleep(300)
if "edge_infer.config" in sys.orig_argv and STUCK.exists():
    sys.meta_path.insert(0, Hook())
"""


def test_it_ends_with_the_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, stuck = tmp_path / "code", tmp_path / "stuck"
    code.mkdir()
    (code / "sitecustomize.py").write_text(f"import pathlib\nSTUCK = pathlib.Path({str(stuck)!r})\n{SLOW}")
    monkeypatch.setenv("PYTHONPATH", str(code))
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        rooms = daemon.pids()
        stuck.touch()
        daemon.config.write_text(f"{daemon.config.read_text()}# edited\n")
        found: list[str] = []

        def reads() -> bool:
            found[:] = re.findall(r"reading as (\d+)", daemon.log.read_text(errors="replace"))
            return bool(found)

        eventually(reads, daemon.log.read_text, 30.0)
        reader = int(found[0])
        status = Path(f"/proc/{reader}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        daemon.signal(signal.SIGKILL)
        daemon.wait(10)
        eventually(lambda: not alive(reader), lambda: f"end of {reader}", 10.0)
        for pid in rooms.values():
            eventually(lambda: not alive(pid), lambda: f"end of {pid}", 20.0)  # noqa: B023


@pytest.mark.parametrize("named", ["state_dir: state", '"state_dir": deep/er/state'])
def test_a_first_start_finds_a_state_directory_however_it_is_written(tmp_path: Path, named: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep").chmod(0o777)  # a daemon of root becomes another user
    with Broker(tmp_path) as broker:
        text = config(broker.port).replace("state_dir: state", named)
        daemon = Daemon(tmp_path, text)
        daemon.start()
        try:
            blobs = tmp_path / named.rpartition(" ")[2] / "blobs"
            eventually(lambda: blobs.is_dir() and any(blobs.glob("*.tflite")), daemon.log.read_text, 60.0)
        finally:
            daemon.signal(signal.SIGTERM)
            daemon.wait(20)


@pytest.mark.parametrize("place", ["a" * 5000, "a\\0b", "/proc/nowhere"])
def test_a_state_directory_that_cannot_be_is_told(tmp_path: Path, place: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(config(1883).replace("state_dir: state", f'state_dir: "{place}"'))
    with closing(Compilation(file)) as compilation:
        found: list[Compiled] = []

        def finished() -> bool:
            found.extend(filter(None, [compilation.finished()]))
            return bool(found)

        eventually(finished, "outcome", 60.0)
    assert found[0].plan is None
    assert found[0].problems
