"""Shadows on a running daemon: compared, told of, ended when they fail, and promoted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Broker, Subscriber, eventually
from tests.moody import Mood, write_model
from tests.running import Daemon
from tests.swapping import short

P = "edge-infer/box"
CONFIG = """\
# what the box in the hall does
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  light: {{file: light.tflite}}
  next: {{file: next.tflite}}
sources:
  cam: {{kind: synthetic, size: 64x64, seed: 1, fps: 25}}
pipelines:
  hall:
    source: cam
    model: light  # since spring
    publish: every
    threshold: 0.1
    shadow:
      model: next
      share: 0.5  # half of what it sees
"""


@pytest.fixture
def broker_and_ears(tmp_path: Path) -> Iterator[tuple[Broker, Subscriber]]:
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        yield broker, subscriber


def box(folder: Path, broker: Broker, mood: Mood = "good") -> Daemon:
    write_model(folder / "light.tflite")
    write_model(folder / "next.tflite", mood, gain=0.9)
    return Daemon(folder, CONFIG.format(port=broker.port))


def shadow(daemon: Daemon, **wanted: Any) -> dict[str, Any]:
    """What is said of it once it says this."""

    def fits() -> dict[str, Any] | None:
        said: dict[str, Any] = daemon.status().get("models", {}).get("light", {}).get("shadow", {}).get("hall", {})
        return said if said and all(said.get(key) == value for key, value in wanted.items()) else None

    found: dict[str, Any] = eventually(fits, lambda: f"{wanted}: {daemon.status().get('models')}", 30)
    return found


def test_a_shadow_is_compared_and_promoted(tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]) -> None:
    broker, ears = broker_and_ears
    with box(tmp_path, broker) as daemon:
        daemon.wait_serving()
        eventually(lambda: shadow(daemon, state="running")["frames"] >= 10, "ten frames", 30)
        told = ears.wait(
            f"{P}/model/light", lambda heard: heard.value.get("shadow", {}).get("hall", {}).get("frames", 0) > 0, 30
        ).value
        figures = told["shadow"]["hall"]
        assert told["state"] == "active"
        assert (figures["model"], figures["sha"]) == ("next", short(tmp_path / "next.tflite"))
        assert figures["agreement"] == 1.0
        assert figures["difference"] > 0.0
        assert {heard.value["sha"] for heard in ears.on(f"{P}/hall/result")} == {short(tmp_path / "light.tflite")}
        shown = daemon.command("models", "show", "next").stdout
        assert "shadow of light in hall: next" in shown
        assert "100.0% of" in shown
        daemon.config.chmod(0o604)
        done = daemon.command("models", "promote", "next")
        assert done.returncode == 0, done.stderr
        assert "it agreed on 100.0% of" in done.stdout
        expected = CONFIG.format(port=broker.port).replace("model: light  #", "model: next  #")
        assert daemon.config.read_text() == expected[: expected.index("    shadow:")]
        assert daemon.config.stat().st_mode & 0o777 == 0o604
        eventually(
            lambda: daemon.status()["models"].get("next", {}).get("state") == "active",
            lambda: str(daemon.status()["models"]),
            30,
        )
        assert "committed" in daemon.command("models", "history", "next").stdout


def test_a_shadow_that_fails_is_off_and_the_pipeline_goes_on(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]
) -> None:
    broker, ears = broker_and_ears
    with box(tmp_path, broker, "hang") as daemon:
        daemon.wait_serving()
        engine = daemon.pids()["engine"]
        off = shadow(daemon, state="off")
        moment = time.monotonic()
        assert "was not finished within" in off["reason"]
        ears.wait(f"{P}/hall/result", lambda heard: heard.at > moment)
        assert daemon.pids()["engine"] == engine
        history = daemon.command("models", "history").stdout
        assert "next  shadow off" in history


def test_a_shadow_whose_output_is_not_finite_is_off(tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]) -> None:
    broker, ears = broker_and_ears
    with box(tmp_path, broker, "nan") as daemon:
        daemon.wait_serving()
        assert "not finite" in shadow(daemon, state="off")["reason"]
        told = ears.wait(
            f"{P}/model/light", lambda heard: heard.value.get("shadow", {}).get("hall", {}).get("state") == "off"
        ).value
        assert told["shadow"]["hall"]["reason"] == "an output has values that are not finite"
        done = daemon.command("models", "promote", "next")
        assert (done.returncode, "; the shadow was off: «" in done.stdout) == (0, True), done.stdout


def test_a_death_of_the_engine_counts_against_the_shadow_and_can_be_forgiven(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]
) -> None:
    broker, ears = broker_and_ears
    with box(tmp_path, broker) as daemon:
        daemon.wait_serving()
        shadow(daemon, state="running")
        os.kill(daemon.pids()["engine"], signal.SIGKILL)
        assert "while it was a shadow" in shadow(daemon, state="off")["reason"]
        moment = time.monotonic()
        ears.wait(f"{P}/hall/result", lambda heard: heard.at > moment, 30)
        told = ears.wait(f"{P}/model/light", lambda heard: "shadow" in heard.value and heard.at > moment - 5).value
        assert told["shadow"]["hall"]["state"] in {"off", "running", "starting"}
        done = daemon.command("models", "retry", "next")
        assert "the shadow of next runs again" in done.stdout
        shadow(daemon, state="running")


def test_a_promotion_that_does_not_come_about_leaves_the_file_as_it_was(
    tmp_path: Path, broker_and_ears: tuple[Broker, Subscriber]
) -> None:
    with box(tmp_path, broker_and_ears[0]) as daemon:
        daemon.wait_serving()
        text = daemon.config.read_text()
        (tmp_path / "next.tflite").unlink()
        done = daemon.command("models", "promote", "next")
        assert done.returncode == 2
        assert "next.tflite" in done.stderr
        assert "the file is unchanged" in done.stderr
        assert daemon.config.read_text() == text
    done = daemon.command("models", "promote", "next")
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr
    assert daemon.config.read_text() == text
