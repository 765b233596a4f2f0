"""Rooms that crash, where nothing but their own walls keeps the kernel from writing their memory to the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.broker import Broker, eventually
from tests.running import PYTHON, Daemon, config
from tests.sandbox.test_live import CAMERA

UNLIMITED = ("prlimit", "--core=unlimited", "--")


def cores(folder: Path) -> list[str]:
    """Files that the kernel wrote there, whatever number it gave them."""
    return [path.name for path in folder.iterdir() if path.name == "core" or path.name.startswith("core.")]


@pytest.fixture
def leaves_cores(tmp_path: Path) -> None:
    """A process without walls that crashes here leaves its memory."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern != "core":
        pytest.skip(f"this system writes no core files into the working directory ({pattern})")
    folder = tmp_path / "control"
    folder.mkdir()
    subprocess.run([*UNLIMITED, sys.executable, "-c", "import os; os.abort()"], cwd=folder, check=False)
    if not cores(folder):
        pytest.skip("this system writes no core files: the limit cannot be raised here")


@pytest.mark.usefixtures("leaves_cores")
def test_no_room_leaves_its_memory_behind(tmp_path: Path) -> None:
    """Each room, and the supervisor at last, dies of what a crash of native code sends it."""
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "camera.py").write_text(CAMERA)
    camera = f"{{kind: exec, command: [{PYTHON}, {folder}/camera.py], size: 64x48, format: rgb24}}"
    with Broker(tmp_path) as broker:
        daemon = Daemon(folder, config(broker.port, camera), before=UNLIMITED)
        daemon.start()
        try:
            for number in (signal.SIGSEGV, signal.SIGBUS):  # the processes ignore the watchdog's SIGABRT
                eventually(lambda: len(daemon.pids()) == 3, "three rooms", 60.0)
                before = daemon.pids()
                assert {Path(f"/proc/{pid}/cwd").readlink() for pid in before.values()} == {folder}
                for pid in before.values():
                    os.kill(pid, number)
                eventually(partial(_gone, before), "end of all three", 30.0)
            daemon.signal(signal.SIGABRT)
            assert daemon.wait(30.0) == -signal.SIGABRT
        finally:
            if daemon.pids():
                daemon.signal(signal.SIGKILL)
        assert cores(folder) == []
        assert [path for path in folder.rglob("*") if path.name.startswith("core")] == []


def _gone(pids: dict[str, int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
