"""A pipeline that follows objects says nothing of a scene in which it could not have confirmed anybody yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_infer.contract.codec import ABSENT
from edge_infer.contract.messages import State
from edge_infer.engine.events.scene import WarmUp
from edge_infer.engine.replay.replay import Replayed, replay
from edge_infer.frames.frame import Instant
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import CropsPlan, EventsPlan, MotionPlan, PipelinePlan, TrackPlan, ZonePlan
from tests.engine.analyse.moments import Watched, box
from tests.engine.painted import STAGES, Actor, Stage, painted_model, painted_plan, recording, shown

ALL = ZonePlan("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
SOMEBODY = Actor(((0, 100, 120), (1000, 100, 120)))
RATES = (0.2, 1.0, 5.0, 25.0)


@pytest.fixture(scope="session")
def file(assets: Path) -> Path:
    return assets / "models" / "mobilenet_v1_0.25_128_quant.tflite"


def states(replayed: list[Replayed]) -> list[State]:
    return [each for one in replayed for each in one.said if isinstance(each, State)]


def scene(file: Path, fps: float, actors: tuple[Actor, ...], frames: int = 20, **settings: Any) -> list[State]:
    """The states of the first frames of a stage."""
    plan = painted_plan(painted_model(file), track=TrackPlan(), **settings)
    return states(shown(f"{fps} {len(actors)} {sorted(settings)}", Stage(actors, frames / fps, fps=fps), plan))


@pytest.mark.parametrize("motion", [None, MotionPlan()])
@pytest.mark.parametrize("zones", [(), (ALL,)])
@pytest.mark.parametrize("fps", RATES)
def test_whoever_is_there_from_the_start_is_never_nobody(
    file: Path, fps: float, zones: tuple[ZonePlan, ...], motion: MotionPlan | None
) -> None:
    frames = 20 if fps < 25 else 40
    first, *later = scene(file, fps, (SOMEBODY,), frames, zones=zones, motion=motion)
    assert (first.counts, first.reason) == (None, "starting")
    known = [state for state in later if state.reason is ABSENT]
    assert known
    assert {state.reason for state in later if state not in known} == {"source_ended"}
    for state in known:
        assert state.counts == {"red": 1}
        assert state.zones == ({"all": {"red": 1}} if zones else ABSENT)


@pytest.mark.parametrize("fps", RATES)
def test_an_empty_scene_is_known_to_be_empty_as_soon_as_somebody_would_have_been_confirmed(
    file: Path, fps: float
) -> None:
    first, second, *_ = scene(file, fps, ())
    assert (first.ts, first.counts, first.reason) == ("1970-01-01T00:00:00.000Z", None, "starting")
    assert (second.counts, second.reason) == ({}, ABSENT)
    after = Instant(0.0, 0.0).moment + float(second.ts[17:19]) + float(second.ts[19:23])
    assert after == pytest.approx(max(2 / fps, 0.2), abs=0.01)


def test_a_state_says_since_when_it_holds_and_who_is_there(file: Path) -> None:
    """Somebody comes after ten seconds: who subscribes later than that learns when, and by which id."""
    visitor = Actor(((0, -100, 120), (9.5, -100, 120), (9.6, 100, 120), (1000, 100, 120)))
    stage = Stage((visitor,), 80.0, fps=1.0)
    plan = painted_plan(painted_model(file), track=TrackPlan())
    said = [
        (state.reason, state.ts[14:19], str(state.since)[14:19], state.ids) for state in states(shown("v", stage, plan))
    ]
    assert said == [
        ("starting", "00:00", "00:00", ABSENT),
        (ABSENT, "00:02", "00:02", {}),
        (ABSENT, "00:12", "00:12", {"red": (1,)}),
        (ABSENT, "01:12", "00:12", {"red": (1,)}),
        ("source_ended", "01:19", "01:19", ABSENT),
    ]


def test_a_second_object_that_is_not_confirmed_yet_is_waited_for() -> None:
    watched = Watched(zones=(), lines=())
    for number in range(5):
        watched.frame(box(200), *([box(700)] if number >= 1 else []), seconds=0.2)
        assert watched.last is not None
        assert watched.last.warm == (number >= 3)
    assert watched.last.counts == (("cat", 2),)


def test_after_everything_was_forgotten_it_begins_anew() -> None:
    watched = Watched(zones=(), lines=())
    watched.walk(200, 300, 10)
    assert watched.last is not None
    assert watched.last.warm
    watched.follow.end("source_lost", Instant(watched.at, 0.0))
    watched.frame(box(300), seconds=30.0)
    assert (watched.last.warm, watched.last.counts) == (False, ())


def test_a_detector_that_sees_ghosts_in_each_frame_does_not_keep_it_unknown_for_ever() -> None:
    watched = Watched(zones=(), lines=())
    known = []
    for number in range(20):
        watched.frame(box(100 + 300 * (number % 3), 300 + 200 * (number % 2)), seconds=0.5)
        assert watched.last is not None
        known.append(watched.last.warm)
    assert known == [False] * 8 + [True] * 12


def test_frames_and_seconds_have_to_be_enough() -> None:
    quick = WarmUp(3, 0.2)
    over = []
    for number in range(10):
        quick.frame(Instant(number * 0.04, 0.0), pending=False)
        over.append(quick.over)
    assert over == [False] * 5 + [True] * 5


def test_those_who_look_closer_say_nothing_either(file: Path) -> None:
    model = resolve(ModelRequest("kinds", str(file)))
    crops = CropsPlan("stage", again=5.0, followed=True)
    child = PipelinePlan("kinds", "kinds", model, 0.0, publish="every", crops=crops, events=EventsPlan())
    parent = painted_plan(painted_model(file), track=TrackPlan())
    STAGES["closer"] = Stage((SOMEBODY,), 20.0, fps=1.0)
    run = replay((parent, child), recording("closer"), "abcdef", paced=False)
    said = states([one for one in run if one.pipeline == "kinds"])
    assert all(state.answers for state in said if state.reason is ABSENT)
    assert any(state.answers for state in said)
