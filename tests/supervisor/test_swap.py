"""A changed model as its operator meets it: taken without a frame lost, watched, and taken back when it is no good."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import psutil
import pytest

from tests.broker import eventually
from tests.moody import Mood, write_model
from tests.swapping import P, Swapping, short, swapping

LEVELS: Final = 100
DARKEST: Final = 150
GAIN: Final = 0.8


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Swapping, Path]]:
    folder = tmp_path_factory.mktemp("swap")
    old = write_model(folder / "old.tflite")
    with swapping(folder / "box", old, fps=60) as found:
        yield found, old


@pytest.fixture
def old(daemon: tuple[Swapping, Path]) -> Path:
    return daemon[1]


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A good model that nobody has seen."""
    return write_model(tmp_path / "new.tflite", gain=random.uniform(0.5, 0.9), version="1.1.0")


@pytest.fixture
def running(daemon: tuple[Swapping, Path]) -> Swapping:
    """The daemon of all these tests, serving with the old model."""
    found, old = daemon
    found.edit(old)
    found.model(state="active", sha=short(old), deadline=30)
    found.result(short(old), time.monotonic())
    found.subscriber.heard.clear()
    return found


@pytest.fixture
def numbered(tmp_path: Path) -> str:
    """A source that leaves no frame out; how bright one is tells which it is. They come round again and again."""
    for number in range(LEVELS):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), DARKEST + number, np.uint8))
    return f"cam: {{kind: images, path: {tmp_path}/*.png, loop: true, realtime: false, fps: 60}}"


def test_an_edit_changes_the_model_between_two_frames(running: Swapping, old: Path, new: Path) -> None:
    engine = running.daemon.pids()["engine"]
    moment = running.edit(new)
    running.result(short(new), moment)
    assert running.model(state="probation")["previous"] == short(old)
    assert running.model(state="active", sha=short(new))["previous"] == short(old)
    assert running.daemon.pids()["engine"] == engine
    results = running.results()
    first = results[0]["seq"]
    assert [each["seq"] for each in results] == list(range(first, first + len(results)))
    history = running.daemon.command("models", "history").stdout
    assert [line.split()[2] for line in history.splitlines()[-2:]] == ["tried", "committed"]


def test_the_state_is_unknown_until_the_new_model_has_answered(
    running: Swapping, old: Path, new: Path, tmp_path: Path
) -> None:
    """In front of a picture that stays the same: states that come too fast replace each other."""
    cv2.imwrite(str(tmp_path / "still.png"), np.full((8, 8, 3), DARKEST, np.uint8))
    still = f"cam: {{kind: images, path: {tmp_path}/still.png, loop: true, fps: 5}}"
    for model in (old, new):
        running.daemon.config.write_text(re.sub(r"cam: \{.*\}", still, running.text(model)))
        moment = time.monotonic()
        assert running.daemon.reload()["state"] == "applied"
        running.result(short(model), moment)
    changed = running.subscriber.wait(f"{P}/hall/state", lambda heard: heard.value.get("reason") == "model_changed")
    assert (changed.value["class"], changed.value["sha"]) == (None, short(new))


def test_the_history_of_a_model_that_is_not_there_is_a_slip(running: Swapping) -> None:
    found = running.daemon.command("models", "history", "ligth")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "edge-infer: there is no model 'ligth'; did you mean \"light\"?\n"


def test_a_change_leaves_no_frame_out_and_answers_none_twice(
    running: Swapping, old: Path, numbered: str, tmp_path: Path
) -> None:
    new = write_model(tmp_path / "new.tflite", gain=GAIN, version="1.1.0")
    text = re.sub(r"cam: \{.*\}", numbered, running.text(old)).replace("model: light", "model: light, threshold: 0.1")
    running.daemon.config.write_text(text)
    running.subscriber.wait(f"{P}/hall/result", lambda heard: _frame(heard.value, short(old)) == LEVELS - 1, 30)
    running.subscriber.heard.clear()
    running.daemon.config.write_text(text.replace(str(old), str(new)))
    running.model(state="active", sha=short(new), deadline=30)
    results = running.results()
    shas = [each["sha"] for each in results]
    assert set(shas) == {short(old), short(new)}
    assert shas == sorted(shas, key=[short(old), short(new)].index)
    frames = [_frame(each, short(old)) for each in results]
    assert frames == [(frames[0] + step) % LEVELS for step in range(len(frames))]


def _frame(result: dict[str, Any], old: str) -> int:
    """Which frame of the numbered ones a result is of; a number that none has for another scene."""
    gain = 1.0 if result["sha"] == old else GAIN
    return round(max((each["score"] for each in result["classes"]), default=0.0) / gain * 255) - DARKEST


@pytest.mark.parametrize(
    ("mood", "words"),
    [("nan", "not finite"), ("constant", "bit by bit"), ("slow", "a frame took|computed one frame")],  # a busy machine
)
def test_a_model_that_goes_bad_is_taken_back(
    running: Swapping, old: Path, tmp_path: Path, mood: Mood, words: str
) -> None:
    boot = running.result(short(old)).value["boot"]
    bad = write_model(tmp_path / "bad.tflite", mood)
    moment = running.edit(bad)
    running.result(short(bad), moment)
    said = running.model(state="rolled_back", sha=short(old), deadline=30)
    assert re.search(words, said["reason"])
    assert said["candidate"] == short(bad)
    back = running.result(short(old), time.monotonic())
    assert mood == "slow" or back.value["boot"] == boot
    running.subscriber.wait(f"{P}/model/light", lambda heard: heard.value["state"] == "rolled_back")


def test_what_fails_before_it_serves_is_not_tried_again_until_somebody_says_so(
    running: Swapping, old: Path, tmp_path: Path
) -> None:
    bad = write_model(tmp_path / "bad.tflite", "nan", since=1, gain=random.uniform(0.5, 0.9))
    running.edit(bad)
    said = running.model(state="rejected", candidate=short(bad), deadline=30)
    assert (said["sha"], "finite" in said["reason"]) == (short(old), True)
    assert running.daemon.reload()["state"] == "rejected"
    assert "does not try these bytes again" in running.model(state="rejected")["reason"]
    answer = running.daemon.command("models", "retry", "light")
    assert "reads the configuration again" in answer.stdout
    running.model(state="rejected", reason=said["reason"])
    history = running.daemon.command("models", "history", "light").stdout.splitlines()
    told = [line.split()[2] for line in history if f" {short(bad)} " in line]
    assert told == ["rejected", "retried", "rejected"]
    assert {each["sha"] for each in running.results()} == {short(old)}


def test_a_model_that_hangs_costs_the_engine_and_is_taken_back(running: Swapping, old: Path, tmp_path: Path) -> None:
    hanging = write_model(tmp_path / "hanging.tflite", "hang")
    running.result(short(hanging), running.edit(hanging))
    said = running.model(state="rolled_back", sha=short(old), deadline=30)
    assert "computed one frame" in said["reason"]
    running.result(short(old), time.monotonic())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_dies_on_probation_brings_the_old_model_back_which_stays(
    running: Swapping, old: Path, new: Path, number: signal.Signals
) -> None:
    running.result(short(new), running.edit(new))
    os.kill(running.daemon.pids()["engine"], number)
    assert "on probation" in running.model(state="rolled_back", sha=short(old), deadline=30)["reason"]
    moment = running.result(short(old), time.monotonic()).at
    assert running.daemon.reload()["state"] == "applied"  # the file still names it, and it is not tried again
    running.result(short(old), moment)
    assert running.model(state="rolled_back")["candidate"] == short(new)
    answer = running.daemon.command("models", "retry", "light")
    assert answer.returncode == 0, answer.stderr
    running.model(state="active", sha=short(new))


def test_a_changed_entry_is_a_new_try(running: Swapping, old: Path, new: Path) -> None:
    running.result(short(new), running.edit(new))
    os.kill(running.daemon.pids()["engine"], signal.SIGKILL)
    running.model(state="rolled_back", sha=short(old), deadline=30)
    text = running.text(new).replace(f"{{file: {new}}}", f"{{file: {new}, labels: [a, b, c]}}")
    running.daemon.config.write_text(text)
    running.model(state="active", sha=short(new), deadline=30)


def test_three_deaths_take_back_a_committed_model(running: Swapping, old: Path, new: Path, tmp_path: Path) -> None:
    running.edit(new)
    running.model(state="active", sha=short(new))
    worse = write_model(tmp_path / "worse.tflite", gain=0.4)
    running.result(short(worse), running.edit(worse))
    shas = []
    for _ in range(4):
        moment = time.monotonic()
        os.kill(eventually(lambda: running.daemon.pids().get("engine"), "engine"), signal.SIGKILL)
        heard = running.subscriber.wait(f"{P}/hall/result", lambda heard, m=moment: heard.at > m + 0.1, deadline=30)
        shas.append(heard.value["sha"])
    assert shas == [*[short(new)] * 3, short(old)]  # for the first death, the one on probation was to blame
    assert "3 times within 60 s" in running.daemon.command("models", "history", "light").stdout.splitlines()[-1]


def test_a_person_goes_back_and_forth(running: Swapping, old: Path, new: Path) -> None:
    running.edit(new)
    running.model(state="active", sha=short(new))
    moment = time.monotonic()
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    said = running.model(state="rolled_back", sha=short(old))
    assert "requested by" in said["reason"]
    topic = f"{P}/model/light"
    running.subscriber.wait(topic, lambda heard: heard.at > moment and heard.value["state"] == "rolled_back")
    heard_since = [heard.value for heard in running.subscriber.on(topic) if heard.at > moment]
    told = [(value["state"], value.get("candidate")) for value in heard_since if value["state"] != "active"]
    assert told[-1] == ("rolled_back", short(new))
    assert told[:-1] in ([], [("staging", short(old))])  # it is not on probation any more
    assert running.daemon.command("models", "retry", "light").returncode == 0
    running.model(state="active", sha=short(new))
    again = running.daemon.command("models", "retry", "light")
    assert again.returncode == 1
    assert "no model of light was rejected or rolled back" in again.stderr
    for action in ("rollback", "retry"):
        unknown = running.daemon.command("models", action, "ligth")
        assert unknown.returncode == 1
        assert "no pipeline has a model 'ligth'; did you mean \"light\"?" in unknown.stderr


def test_a_second_rollback_leaves_the_model_that_serves(
    running: Swapping, old: Path, new: Path, tmp_path: Path
) -> None:
    """The model before it was taken back a moment ago; somebody repeats the command."""
    other = write_model(tmp_path / "further.tflite", gain=0.7, version="1.2.0")
    for each in (new, other):
        running.edit(each)
        running.model(state="active", sha=short(each))
    running.edit(new)
    running.model(state="probation")
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    running.model(state="rolled_back", sha=short(other))
    again = running.daemon.command("models", "rollback", "light")
    assert again.returncode == 1, again.stdout
    assert "no previous model of light" in again.stderr
    moment = time.monotonic()
    running.result(short(other), moment)
    assert running.daemon.command("models", "retry", "light").returncode == 0
    running.model(state="active", sha=short(new))


def test_a_rollback_is_done_when_the_command_returns(running: Swapping, old: Path, new: Path) -> None:
    running.edit(new)
    running.model(state="active", sha=short(new))
    os.kill(running.daemon.pids()["engine"], signal.SIGSTOP)  # it switches to nothing until it is killed
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    light = json.loads(running.daemon.command("status", "--json").stdout)["models"]["light"]
    assert (light["state"], light["sha"]) == ("rolled_back", short(old))
    assert running.daemon.command("models", "retry", "light").returncode == 0
    running.model(state="active", sha=short(new))


def test_after_a_rejected_edit_there_is_nothing_to_retry(running: Swapping, old: Path, tmp_path: Path) -> None:
    running.edit(tmp_path / "missing.tflite")
    running.model(state="rejected")
    done = running.daemon.command("models", "retry", "light")
    assert done.returncode == 1
    assert "light: the configuration that names the rejected model was rejected, so there is nothing to" in done.stderr
    assert "missing.tflite; name a .tflite file" in done.stderr
    assert done.stderr.endswith("; correct it, then run: edge-infer reload\n")
    running.edit(old)
    running.model(state="active", sha=short(old))


def test_a_pipeline_that_takes_another_model_goes_back_to_its_own(running: Swapping, old: Path, tmp_path: Path) -> None:
    bad = write_model(tmp_path / "bad.tflite", "nan")
    text = running.text(old).replace("sources:", f"  other: {{file: {bad}}}\nsources:")
    running.daemon.config.write_text(text.replace("model: light", "model: other"))
    running.model(name="other", state="rolled_back", sha=short(old), candidate=short(bad), deadline=30)
    running.model(state="active", sha=short(old))
    running.result(short(old), time.monotonic())
    told = running.subscriber.wait(f"{P}/model/other", lambda heard: heard.value["state"] == "rolled_back").value
    assert (told["version"], told["sha"]) == ("1.0.0", short(old))
    waited = running.daemon.command("models", "wait", "other")
    assert waited.returncode == 1
    assert waited.stderr.rstrip().endswith(f"; 1.0.0 ({short(old)}) serves")
    assert running.daemon.command("status", "--wait").returncode == 0
    text = text.replace("publish: every", "publish: every, shadow: {model: other}")
    running.daemon.config.write_text(text)
    assert running.daemon.command("reload").returncode == 0  # when it returns, the file is applied

    failed = running.daemon.command("models", "retry", "other")
    assert failed.returncode == 1
    assert failed.stderr.startswith("edge-infer: no pipeline has a model 'other'; "), failed.stderr
    assert "retried" not in running.daemon.command("models", "history", "other").stdout


def test_a_pipeline_that_joins_a_model_leaves_the_others_what_they_can_go_back_to(
    running: Swapping, old: Path, new: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.tflite", gain=0.3)
    text = running.text(old).replace("sources:", f"  other: {{file: {other}}}\nsources:")
    text += "  door: {source: cam, model: other, publish: every}\n"
    running.daemon.config.write_text(text)
    running.model(name="other", state="active", sha=short(other))
    text = text.replace(str(old), str(new))
    running.daemon.config.write_text(text)
    running.model(state="active", sha=short(new))
    running.daemon.config.write_text(text.replace("model: other", "model: light"))
    command = running.daemon.command
    told = f"{short(new)}  by daemon"
    eventually(lambda: command("models", "history").stdout.count(told) == 2, "a second commit", 30)
    assert command("models", "rollback", "light").returncode == 0
    running.model(state="rolled_back", sha=short(old), candidate=short(new))
    running.result(short(old), time.monotonic())
    running.subscriber.wait(f"{P}/door/result", lambda heard: heard.value["sha"] == short(other))


def test_a_restart_in_the_middle_of_probation_goes_on_with_it(running: Swapping, old: Path, new: Path) -> None:
    running.result(short(new), running.edit(new))
    running.daemon.signal(signal.SIGTERM)
    assert running.daemon.wait(20) == 0
    running.daemon.start()
    said = running.model(state="active", sha=short(new), deadline=30)
    assert said["previous"] == short(old)


def test_a_model_that_brings_the_daemon_down_again_and_again_is_taken_back(
    running: Swapping, old: Path, new: Path
) -> None:
    running.result(short(new), running.edit(new))
    for _ in range(3):
        boots = {each["boot"] for each in running.results()}
        running.daemon.signal(signal.SIGKILL)
        running.daemon.wait(10)
        running.daemon.start()
        running.subscriber.wait(f"{P}/hall/result", lambda heard, b=boots: heard.value["boot"] not in b, deadline=30)
    assert "started 3 times" in running.model(state="rolled_back", sha=short(old))["reason"]


def test_a_long_reading_costs_the_supervisor_nothing(tmp_path: Path) -> None:
    with swapping(tmp_path, write_model(tmp_path / "old.tflite")) as running:
        running.edit(write_model(tmp_path / "stuck.tflite", "hang", since=1, gain=0.9))
        supervisor = psutil.Process(running.daemon.pid)

        def prober() -> psutil.Process | None:
            for each in supervisor.children(recursive=True):
                # Another child may end while the test looks at it.
                with suppress(psutil.Error):
                    if "edge_infer.models.trials.probe_main" in each.cmdline() and sum(each.cpu_times()[:2]) > 0.5:
                        return each
            return None

        busy: psutil.Process = eventually(prober, "model that hangs", 30)
        before, begun = sum(busy.cpu_times()[:2]), sum(supervisor.cpu_times()[:2])
        eventually(lambda: sum(busy.cpu_times()[:2]) > before + 2.0, "two seconds of it", 30)
        assert sum(supervisor.cpu_times()[:2]) - begun < 0.5
