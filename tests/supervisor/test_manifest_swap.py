"""A new manifest over the same bytes: another model, which is tried, told and taken back, and no way to an old one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.broker import Broker, Heard
from tests.moody import write_model
from tests.running import Daemon
from tests.supervisor.test_use import CONFIG, package
from tests.swapping import P, Swapping, short, swapping


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = write_model(tmp_path / "light.tflite")
    with path.with_suffix(".yaml").open("a") as manifest:
        manifest.write("threshold: 0.01\n")
    return path


@pytest.fixture
def running(tmp_path: Path, model: Path) -> Iterator[Swapping]:
    with swapping(tmp_path / "box", model) as found:
        yield found


def relabel(model: Path, version: str) -> list[str]:
    """Turns the labels of a manifest round, which stays beside the same file; the labels before."""
    place = model.with_suffix(".yaml")
    text = place.read_text()
    before = text.partition("labels: [")[2].partition("]")[0]
    labels = before.split(", ")
    turned = text.replace(before, ", ".join(reversed(labels))).replace("version: 1.0.0", f"version: {version}")
    assert turned != text
    place.write_text(turned)
    return labels


def told(running: Swapping) -> list[str]:
    """What happened to models, by the words of the history."""
    return [line.split()[2] for line in running.daemon.command("models", "history").stdout.splitlines()]


def best(running: Swapping, model: Path, moment: float = 0.0) -> str:
    """What the first result after a moment says."""
    label: str = running.result(short(model), moment).value["classes"][0]["label"]
    return label


def test_labels_the_other_way_round_are_tried_told_and_taken_back(running: Swapping, model: Path) -> None:
    labels = relabel(model, "1.0.1")
    assert best(running, model) == labels[0]
    assert running.daemon.command("reload").returncode == 0
    running.model(state="probation", version="1.0.1")
    running.model(state="active", version="1.0.1")
    assert best(running, model, time.monotonic()) == labels[-1]
    assert told(running) == ["first", "tried", "committed"]
    history = running.daemon.command("models", "history").stdout.splitlines()
    assert ": the same file with another manifest and other labels; file " in history[1]
    rollback = running.daemon.command("models", "rollback", "light")
    assert rollback.returncode == 0, rollback.stderr
    running.model(state="rolled_back", version="1.0.0")
    assert best(running, model, time.monotonic()) == labels[0]
    assert told(running)[-1] == "rolled-back"
    assert running.daemon.command("models", "wait", "light", "--timeout", "20s").returncode == 1


def since(moment: float, state: str, heard: Heard) -> bool:
    return bool(heard.at > moment and heard.value["state"] == state)


@pytest.mark.parametrize("where", ["configuration", "manifest"])
def test_other_words_in_a_label_file_are_tried_told_and_taken_back(running: Swapping, model: Path, where: str) -> None:
    """Neither the bytes of the model change, nor its manifest, nor the configuration."""
    words = model.with_name("words.txt")
    words.write_text("dark\nmedium\nbright\n")
    if where == "configuration":
        running.daemon.config.write_text(running.text(model).replace(str(model), f"{model}, labels: {words}"))
    else:
        place = model.with_suffix(".yaml")
        place.write_text(place.read_text().replace("[dark, medium, bright]", "words.txt"))
    assert running.daemon.command("reload").returncode == 0
    assert running.daemon.command("models", "wait", "light", "--timeout", "60s").returncode == 0
    before, label = len(told(running)), best(running, model, time.monotonic())
    words.write_text("bright\nmedium\ndark\n")
    moment = time.monotonic()
    assert running.daemon.command("reload").returncode == 0
    running.subscriber.wait(f"{P}/model/light", partial(since, moment, "active"))
    other = best(running, model, time.monotonic())
    assert {label, other} == {"dark", "bright"}
    assert told(running)[before:] == ["tried", "committed"]
    history = running.daemon.command("models", "history").stdout.splitlines()
    assert ": the same file with other labels; file " in history[before]
    moment = time.monotonic()
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    running.subscriber.wait(f"{P}/model/light", partial(since, moment, "rolled_back"))
    assert best(running, model, time.monotonic()) == label


def test_a_comment_makes_no_other_model(running: Swapping, model: Path) -> None:
    place = model.with_suffix(".yaml")
    place.write_text(f"# reviewed\n{place.read_text()}")
    assert running.daemon.command("reload").returncode == 0
    running.model(state="active", version="1.0.0")
    assert told(running) == ["first"]


def went_back(candidate: str, heard: Heard) -> bool:
    return bool(heard.value["state"] == "rolled_back" and heard.value["candidate"] == candidate)


def test_it_is_rolled_back_once_the_model_before_serves(running: Swapping, model: Path, tmp_path: Path) -> None:
    """Neither a crash nor a fault on probation is told before: no message says that nothing serves, or the bad one."""
    for name, mood in (("dies", "crash"), ("wild", "nan")):
        bad = write_model(tmp_path / f"{name}.tflite", mood)  # type: ignore[arg-type]
        running.edit(bad)
        running.subscriber.wait(f"{P}/model/light", partial(went_back, short(bad)), deadline=60)
        running.result(short(model), time.monotonic(), deadline=30)
    heard = [each.value for each in running.subscriber.on(f"{P}/model/light")]
    back = [(each["sha"], each["version"]) for each in heard if each["state"] == "rolled_back"]
    assert len(back) >= 2
    assert set(back) == {(short(model), "1.0.0")}


def test_a_step_back_is_one_whatever_bytes_it_has(tmp_path: Path, broker: Broker) -> None:
    """Also after a restart; but not where somebody has gone back by hand."""
    store = tmp_path / "state/models"
    same = package(store, "1.0.0", 1.0)
    assert package(store, "1.1.0", 1.0) == same
    with Daemon(tmp_path, CONFIG.format(port=broker.port, sha=same)) as daemon:
        daemon.wait_serving()
        assert daemon.command("models", "use", "light", "light@1.1.0").returncode == 0
        assert daemon.command("models", "wait", "light").returncode == 0
        for restart in (False, True):
            if restart:
                daemon.signal(signal.SIGTERM)
                daemon.wait(20)
                daemon.start()
                daemon.wait_serving()
            back = daemon.command("models", "use", "light", "light@1.0.0")
            assert back.returncode == 2, back.stdout
            assert "light 1.0.0 is older than 1.1.0, which has served here" in back.stderr
        assert daemon.command("models", "rollback", "light").returncode == 0
        assert "1.0.0" in daemon.command("models", "wait", "light").stderr
        assert daemon.command("models", "use", "light", "light@1.0.0").returncode == 0
