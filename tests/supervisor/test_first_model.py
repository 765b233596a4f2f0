"""A model that takes nobody's place and brings the engine down: held back, told of, and no trouble to the others."""

from __future__ import annotations

import os
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

HANGS = '''
"""Loads in a trial, and never in the engine."""

import sys
import time

from edge_infer.engine.decoders.classification import Classification


class Hangs(Classification):
    def __init__(self, layout):
        while "edge_infer.engine.process" in sys.modules:
            time.sleep(1)
        super().__init__(layout)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''
NAPS = '''
"""At work nearly all the time."""

import time

from edge_infer.engine.decoders.classification import Classification


class Naps(Classification):
    def __call__(self, *args, **settings):
        time.sleep(0.3)
        return super().__call__(*args, **settings)

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''
IMPATIENT = """
import sys
from edge_infer.cli import main
from edge_infer.supervisor.rollout import probation
probation.LOADS, probation.SLOWER = 3.0, 0
sys.exit(main())
"""
"""The program with less patience for a model that is being loaded."""


def install_decoder(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[edge_infer.decoders]\n{name} = {name}:{name.title()}\n")
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")


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


def test_a_first_model_that_hangs_while_it_loads_is_held_back(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, ears = broker_and_ears
    install_decoder(tmp_path, "hangs", HANGS, monkeypatch)
    box = tmp_path / "box"
    box.mkdir()
    write_model(box / "calm.tflite")
    manifest = write_model(box / "wild.tflite", gain=0.9).with_suffix(".yaml")
    manifest.write_text(manifest.read_text().replace("kind: classification", "kind: hangs") + "task: classification\n")
    with Daemon(box, CONFIG.format(port=broker.port), program=("-c", IMPATIENT)) as daemon:
        eventually(
            lambda: daemon.status().get("models", {}).get("wild", {}).get("state") == "rejected",
            lambda: f"{daemon.status().get('models')}\n{daemon.log.read_text()[-3000:]}",
            60,
        )
        reason = daemon.status()["models"]["wild"]["reason"]
        assert "engine has been loading the model of door for" in reason
        boot = eventually(lambda: daemon.status()["boot"], "the next engine", 60)
        ears.wait(f"{P}/yard/result", lambda heard: heard.value["boot"] == boot, 60)
        eventually(lambda: daemon.status()["models"]["calm"]["state"] == "active", "the other model", 60)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the model file crashes x86 processors only")
def test_a_model_that_is_always_at_work_is_not_rolled_back_for_the_crashes_of_another_one(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, ears = broker_and_ears
    install_decoder(tmp_path, "naps", NAPS, monkeypatch)
    box = tmp_path / "box"
    for name, gain in (("calm", 1.0), ("newer", 0.9)):
        manifest = write_model(box / f"{name}.tflite", gain=gain).with_suffix(".yaml")
        manifest.write_text(
            manifest.read_text().replace("kind: classification", "kind: naps") + "task: classification\n"
        )
    wild = write_model(box / "wild.tflite", "crash", since=100)
    text = CONFIG.format(port=broker.port).replace("source: slow", "source: cam")
    with Daemon(box, text) as daemon:
        for pipeline in ("yard", "door"):
            ears.wait(f"{P}/{pipeline}/result", bool, 60)
        assert daemon.command("pause", "door").returncode == 0
        daemon.config.write_text(text.replace("calm.tflite", "newer.tflite"))
        assert daemon.reload()["state"] == "applied"
        newer = short(box / "newer.tflite")
        serving = ("active", newer)

        def calm() -> tuple[str, str]:
            said = daemon.status().get("models", {}).get("calm", {})
            return said.get("state"), said.get("sha")

        eventually(lambda: calm() == serving, lambda: str(daemon.status().get("models")), 120)
        assert daemon.command("resume", "door").returncode == 0
        eventually(
            lambda: daemon.status().get("models", {}).get("wild", {}).get("state") == "rejected",
            lambda: daemon.log.read_text()[-3000:],
            180,
        )
        daemon.command("models", "retry", "calm")
        eventually(lambda: calm() == serving, lambda: str(daemon.status().get("models")), 60)
        moment = time.monotonic()
        ears.wait(f"{P}/yard/result", lambda heard: heard.at > moment and heard.value["sha"] == newer, 60)
        history = daemon.command("models", "history").stdout
        assert "rolled-back" not in history
        assert daemon.status()["models"]["wild"]["candidate"] == short(wild)
