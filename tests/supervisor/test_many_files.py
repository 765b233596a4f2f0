"""A daemon whose descriptors are all beyond those of select(2), as users can bring about who leave files open in it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.running import PYTHON, Daemon, config
from tests.supervisor.test_floods import CAMERA

HIGH = 1500
FILLED = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
null = os.open("/dev/null", os.O_RDONLY)
while os.dup(null) < {HIGH}:
    pass
for file in range(3, {HIGH} + 1):
    os.set_inheritable(file, True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("rooms", ["separate", "merged"])
def test_a_daemon_with_many_open_files_works(broker: Broker, box: Path, rooms: str) -> None:
    (box / "camera.py").write_text(CAMERA)
    camera = f"{{kind: exec, command: [{PYTHON}, {box / 'camera.py'}], size: 64x48, format: rgb24}}"
    text = f"rooms: {rooms}\n{config(broker.port, camera)}"
    before = (sys.executable, "-c", FILLED)
    with Subscriber(broker.port) as heard, Daemon(box, text, before=before) as daemon:
        eventually(lambda: heard.on("edge-infer/box/faces/result"), lambda: daemon.log.read_text()[-2000:], 60)
        eventually(daemon.status, "an answer", 30)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
