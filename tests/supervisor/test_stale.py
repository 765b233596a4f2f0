"""No state outlives what it was made from: a camera that freezes; the other causes are tested where they happen."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Broker, Subscriber
from tests.running import PYTHON, Daemon, config

CAMERA = """\
import os, sys, time
for number in range(10**9):
    frame = os.urandom(64 * 48 * 3) if number < 40 else bytes([99]) * (64 * 48 * 3)
    sys.stdout.buffer.write(frame)
    time.sleep(0.05)
"""


def test_a_camera_that_freezes_leaves_no_state(broker: Broker, tmp_path: Path) -> None:
    script = tmp_path / "camera.py"
    script.write_text(CAMERA)
    source = f"{{kind: exec, command: [{PYTHON}, {script}], size: 64x48}}"
    with Subscriber(broker.port) as heard, Daemon(tmp_path, config(broker.port, source)):
        state = "edge-infer/box/faces/state"
        heard.wait(state, lambda one: one.value["counts"] is not None, 40.0)
        frozen = heard.wait(state, lambda one: one.value.get("reason") == "source_frozen", 40.0)
        assert frozen.value["counts"] is None
        assert frozen.retain is False
    last = heard.last(state)
    assert last
    assert (last.value["counts"], last.value["reason"]) == (None, "stopped")
