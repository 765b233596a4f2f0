"""A daemon in a control group with little memory, of which one pipeline takes too much: the kernel kills the engine."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.platform.memory import lines as lines_of
from edge_infer.readers.environment import most_pixels
from tests.broker import Broker, Subscriber, eventually
from tests.moody import write_model
from tests.running import PYTHON, Daemon, config
from tests.supervisor.test_first_model import install_decoder
from tests.swapping import P, short

MB = 1 << 20
LIMIT = 900 * MB
CONFIG = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  calm: {{file: {calm}}}
  wild: {{file: wild.tflite}}
sources:
  cam: {{kind: synthetic, size: 64x64, seed: 1, fps: 25}}
pipelines:
  yard: {{source: cam, model: calm, publish: every}}
"""
GREEDY = '''
"""Takes more memory than there is, but not in a trial."""

import sys

from edge_infer.engine.decoders.classification import Classification


class Greedy(Classification):
    frames = 0

    def __call__(self, *args, **settings):
        self.frames += 1
        if self.frames > 10 and "edge_infer.engine.process" in sys.modules:
            len(b"x" * (4 << 30))
        return super().__call__(*args, **settings)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''
FRAGILE = '''
"""The kernel kills a trial, as when another program takes the memory."""

import os
import signal
import sys

from edge_infer.engine.decoders.classification import Classification


class Fragile(Classification):
    def __init__(self, layout):
        if "edge_infer.engine.process" not in sys.modules:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(layout)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''

HOARDER = """
import os, sys, time

if os.fork() == 0:  # survives the end of its reader
    os.setsid()
    os.close(1)
    time.sleep(2.0)
    file = os.memfd_create("hoard")
    for _ in range(2000):
        os.write(file, bytes(1 << 20))
while True:
    os.write(1, bytes(64 * 48 * 3))
    time.sleep(0.05)
"""
"""A camera that leaves a process behind whose memory counts in nobody's size."""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that limits the memory to `LIMIT`."""
    if sys.maxsize < 1 << 32 or os.geteuid() != 0:
        pytest.skip("no control group with a limit of memory can be made here")
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    old = next((place for _, controllers, place in lines if controllers == "memory"), None)
    top = Path("/sys/fs/cgroup") if old is None else Path("/sys/fs/cgroup/memory", old.lstrip("/"))
    found = top / f"edge-infer-test-{secrets.token_hex(4)}"
    limit, swap = ("memory.max", "memory.swap.max") if old is None else ("memory.limit_in_bytes", "memory.swappiness")
    try:
        found.mkdir()
        try:
            with (found / limit).open("r+") as file:  # in a folder of another file system, there is none
                file.write(str(LIMIT))
        except OSError:
            found.rmdir()
            raise
    except OSError:
        pytest.skip("no control group with a limit of memory can be made here")
    if (found / swap).exists():  # where the kernel counts swap
        (found / swap).write_text("0")
    yield found
    eventually(lambda: not (found / "cgroup.procs").read_text(), "end of all processes in the group", 30)
    found.rmdir()


def inside(group: Path) -> tuple[str, ...]:
    """Words of a command that runs another in the group."""
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")


def test_a_pipeline_that_takes_the_memory_is_held_back_and_no_sound_model_rolled_back(
    tmp_path: Path, group: Path, broker: Broker, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_decoder(tmp_path, "greedy", GREEDY, monkeypatch)
    box = tmp_path / "box"
    box.mkdir()
    write_model(box / "first.tflite")
    second = write_model(box / "second.tflite", gain=0.9)
    manifest = write_model(box / "wild.tflite", gain=0.8).with_suffix(".yaml")
    manifest.write_text(manifest.read_text().replace("kind: classification", "kind: greedy") + "task: classification\n")
    first, then = (CONFIG.format(port=broker.port, calm=name) for name in ("first.tflite", "second.tflite"))
    with Daemon(box, first, before=inside(group)) as daemon:
        subscriber.wait(f"{P}/yard/result", lambda _: True, 60)
        daemon.config.write_text(then)
        eventually(lambda: "is committed" in daemon.log.read_text(), lambda: daemon.log.read_text()[-3000:], 60)
        daemon.config.write_text(f"{then}  door: {{source: cam, model: wild, publish: every}}\n")
        reason = eventually(
            lambda: daemon.status().get("models", {}).get("wild", {}).get("reason"),
            lambda: f"{daemon.status().get('models')}\n{daemon.log.read_text()[-3000:]}",
            90,
        )
        assert reason.startswith("the engine was killed by SIGKILL (by the kernel, for lack of memory: see journalctl")
        assert "3 times within 60 s, while door was at work; it is tried again at" in reason
        moment = time.monotonic()
        subscriber.wait(
            f"{P}/yard/result", lambda heard: heard.at > moment + 1 and heard.value["sha"] == short(second), 60
        )
        assert daemon.status()["models"]["calm"]["state"] == "active"


def test_the_kernel_kills_programs_and_readers_first_then_engine_and_publisher_and_the_supervisor_last(
    tmp_path: Path, group: Path, broker: Broker, subscriber: Subscriber
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    (box / "camera.py").write_text(HOARDER)
    camera = f"{{kind: exec, command: [{PYTHON}, {box}/camera.py], size: 64x48, format: rgb24}}"
    still = config(broker.port)
    with Daemon(box, still, before=inside(group)) as daemon:
        daemon.wait_serving()
        assert scores(daemon) == {"supervisor": 0, "engine": 400, "publisher": 200}
        others = {name: daemon.pids()[name] for name in ("engine", "publisher")}
        daemon.config.write_text(config(broker.port, camera))
        eventually(lambda: scores(daemon).get("reader cam") == 800, lambda: daemon.log.read_text()[-3000:], 60)
        eventually(lambda: kills(group) >= 4, lambda: daemon.log.read_text()[-3000:], 60)
        daemon.config.write_text(still)
        daemon.wait_serving()
        assert daemon.status()["models"]["faces"]["state"] == "active"
        assert others.items() <= daemon.pids().items(), daemon.log.read_text()[-3000:]
        moment = time.monotonic()
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment + 1, 60)


def scores(daemon: Daemon) -> dict[str, int]:
    """The preference of the kernel for each process."""
    pids = {"supervisor": daemon.pid, **daemon.pids()}
    found = {name: Path(f"/proc/{pid}/oom_score_adj") for name, pid in pids.items()}
    return {name: int(path.read_text()) for name, path in found.items() if path.exists()}


def kills(group: Path) -> int:
    """How many processes of the group the kernel has killed for lack of memory."""
    lines = [line for name in ("memory.events", "memory.oom_control") for line in lines_of(group / name)]
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def test_a_picture_may_be_as_large_as_the_memory_of_the_group_allows(group: Path) -> None:
    code = "import os; from edge_infer.readers.environment import prepare; prepare(e := {}); print(*e.values())"
    told = subprocess.run([*inside(group), sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(most_pixels(LIMIT)) in told.stdout.split()


def test_a_model_whose_trial_was_killed_is_tried_again_at_the_next_reload(
    tmp_path: Path, broker: Broker, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_decoder(tmp_path, "fragile", FRAGILE, monkeypatch)
    box = tmp_path / "box"
    write_model(box / "first.tflite")
    second = write_model(box / "second.tflite", gain=0.9)
    write_model(box / "wild.tflite", gain=0.8)
    manifest = second.with_suffix(".yaml")
    manifest.write_text(
        manifest.read_text().replace("kind: classification", "kind: fragile") + "task: classification\n"
    )
    first, then = (CONFIG.format(port=broker.port, calm=name) for name in ("first.tflite", "second.tflite"))
    with Daemon(box, first) as daemon:
        subscriber.wait(f"{P}/yard/result", lambda _: True, 60)
        daemon.config.write_text(then)
        for _ in range(2):
            outcome = daemon.reload()
            assert outcome["state"] == "rejected"
            assert "killed by SIGKILL (if nobody sent it, the kernel did for lack of memory" in str(outcome)
            assert "does not try these bytes again" not in str(outcome)
        (tmp_path / "fragile.py").write_text(FRAGILE.replace("os.kill(", "print("))
        assert daemon.reload()["state"] == "applied"
        subscriber.wait(f"{P}/yard/result", lambda heard: heard.value["sha"] == short(second), 60)
