"""A model that takes nobody's place and brings the engine down: held back, told of, and no trouble to the others."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.moody import write_model
from tests.running import Daemon
from tests.swapping import P, short

CONFIG = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  calm: {{file: calm.tflite}}
  wild: {{file: wild.tflite}}
sources:
  cam: {{kind: synthetic, size: 64x64, seed: 1, fps: 25}}
  slow: {{kind: synthetic, size: 64x64, seed: 1, fps: 1}}
pipelines:
  yard: {{source: slow, model: calm, publish: every}}
  door: {{source: cam, model: wild, publish: every}}
"""


@pytest.fixture
def broker_and_ears(tmp_path: Path) -> Iterator[tuple[Broker, Subscriber]]:
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        yield broker, subscriber


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the model file crashes x86 processors only")
def test_a_first_model_that_crashes_the_engine_is_held_back_and_the_others_serve(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]
) -> None:
    broker, ears = broker_and_ears
    write_model(tmp_path / "calm.tflite")
    wild = write_model(tmp_path / "wild.tflite", "crash", since=60)
    with Daemon(tmp_path, CONFIG.format(port=broker.port)) as daemon:
        eventually(
            lambda: daemon.status().get("models", {}).get("wild", {}).get("state") == "rejected",
            lambda: str(daemon.status().get("models")),
            120,
        )
        said = daemon.status()["models"]["wild"]
        assert said["sha"] is None
        assert said["candidate"] == short(wild)
        assert "engine was killed by SIGFPE, 3 times within 60 s, while door was at work" in said["reason"]
        assert "it is tried again at" in said["reason"]
        boot = eventually(lambda: daemon.status()["boot"], "the next engine", 60)
        ears.wait(f"{P}/yard/result", lambda heard: heard.value["boot"] == boot, 60)
        told = ears.wait(f"{P}/door/state", lambda heard: heard.value["boot"] == boot, 60).value
        assert (told["class"], told["reason"]) == (None, "engine_failed")
        ears.wait(f"{P}/model/wild", lambda heard: heard.value["state"] == "rejected", 60)
        assert "held back" in daemon.status()["pipelines"]["door"]["error"]
        eventually(lambda: daemon.status()["models"]["calm"]["state"] == "active", "the other model", 60)
        assert daemon.command("models", "history", "wild").stdout.splitlines()[-1].split()[2] == "held-back"
        moment = time.monotonic()
        write_model(wild, gain=0.9)  # somebody brings a better one
        assert daemon.reload()["state"] == "applied"
        ears.wait(f"{P}/door/result", lambda heard: heard.at > moment and heard.value["sha"] == short(wild), 60)
        assert daemon.status()["boot"] == boot
