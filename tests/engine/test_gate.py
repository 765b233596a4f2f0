"""Looking only where something moves: nothing is lost that a look at every frame would have found."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Event, Result, State
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.motion.gate import Gate
from edge_infer.engine.records import Boxes
from edge_infer.engine.replay.replay import Replayed, replay
from edge_infer.engine.replay.scene_picture import MOVED, ScenePicture, choice
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Frame
from edge_infer.frames.geometry import Region, Transform
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import CropsPlan, MotionPlan, PipelinePlan, TrackPlan, ZonePlan
from tests.engine.painted import FPS, SIZE, STAGES, Actor, Box, Stage, painted_model, painted_plan, recording, shown
from tests.engine.plans import pipeline

CHECK = 3.0
MOTION = MotionPlan(still_check=CHECK)
FRAME = 1 / FPS
SETTLE = 0.6
"""Seconds in which a tracker with these settings makes up its mind."""
WALL = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
NOTHING = (
    Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32)),
    Transform((160, 120), (160, 120), Region(0, 0, 160, 120), 0, 0, 160, 120),
)
VISITOR = Actor(((3, -20, 120), (5, 100, 120), (19, 100, 120), (22, 345, 120)))
"""Comes from the left, stands, and goes on to the right."""


@pytest.fixture(scope="session")
def file(assets: Path) -> Path:
    return assets / "models" / "mobilenet_v1_0.25_128_quant.tflite"


def said(replayed: list[Replayed], kind: type) -> list[Any]:
    return [each for one in replayed for each in one.said if isinstance(each, kind)]


def events(replayed: list[Replayed]) -> list[tuple[Any, ...]]:
    return [(each.ts, each.type, each.id, each.zone) for each in said(replayed, Event)]


def left_out(replayed: list[Replayed]) -> list[bool]:
    return [each.still is True for each in said(replayed, Result)]


def both(name: str, stage: Stage, plan: PipelinePlan, motion: MotionPlan = MOTION) -> tuple[list[Replayed], ...]:
    """The frames of a stage, all of them looked at, and looked at only where something moves."""
    return shown(name, stage, plan), shown(name, stage, painted_plan(plan.model, **settings_of(plan), motion=motion))


def settings_of(plan: PipelinePlan) -> dict[str, Any]:
    return {"track": plan.track, "zones": plan.zones, "events": plan.events, "mask": plan.mask}


def boxes(one: Replayed) -> list[Box]:
    findings = one.findings.detections if isinstance(one.findings, Followed) else one.findings
    assert isinstance(findings, Detections)
    return [item.box for item in findings.objects]


def at(box: Box, found: list[Box]) -> bool:
    """Whether something was found there."""
    return any(iou(box, other) >= 0.3 for other in found)


def iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def longest(flags: list[bool]) -> float:
    """Seconds of the longest stretch."""
    return max((len(list(run)) for flag, run in itertools.groupby(flags) if flag), default=0) * FRAME


def lost(stage: Stage, full: list[Replayed], gated: list[Replayed]) -> float:
    """The longest that somebody was reported by a look at every frame, and not otherwise."""
    worst = 0.0
    for actor in stage.actors:
        flags = []
        for one, other in zip(full, gated, strict=True):
            box = actor.box(one.frame.instant.moment + 1e-9)
            flags.append(box is not None and at(box, boxes(one)) and not at(box, boxes(other)))
        worst = max(worst, longest(flags))
    return worst


def ghosts(full: list[Replayed], gated: list[Replayed]) -> float:
    """The longest that something was reported which a look at every frame did not find."""
    return longest(
        [any(not at(box, boxes(one)) for box in boxes(other)) for one, other in zip(full, gated, strict=True)]
    )


@pytest.mark.long
@pytest.mark.parametrize("tiles", [(1, 1), (2, 2)])
def test_who_can_be_seen_moving_is_told_of_as_ever(file: Path, tiles: tuple[int, int]) -> None:
    other = Actor(((8, 220, 190), (16, 220, 190)), (30, 50))  # is there at once, and gone at once
    stage = Stage((VISITOR, other), 38.0, lights=(30.0,))
    zone = ZonePlan("all", WALL, loiter=10.0)
    full, gated = both("visit", stage, painted_plan(painted_model(file, tiles), track=TrackPlan(), zones=(zone,)))
    assert events(gated) == events(full)
    assert {"appear", "enter", "loiter", "exit", "leave"} == {event[1] for event in events(full)}
    assert sum(left_out(gated)) > 0.3 * len(gated)
    assert not any(left_out(full))
    assert lost(stage, full, gated) <= FRAME
    assert ghosts(full, gated) <= FRAME


def test_who_stands_still_stays(file: Path) -> None:
    stage = Stage((Actor(((0, 100, 120), (30, 100, 120))),), 25.0)
    _, gated = both("standing", stage, painted_plan(painted_model(file), track=TrackPlan()))
    assert [event[1] for event in events(gated)] == ["appear", "leave"]
    assert said(gated, Event)[-1].reason == "source_ended"
    counts = [state.counts for state in said(gated, State)]
    assert counts == [None, {"red": 1}, None]
    results = said(gated, Result)
    assert [result.seq for result in results] == list(range(1, 251))
    assert all(len(result.objects) == 1 and result.objects[0].id == 1 for result in results[10:])
    looks = [number / FPS for number, still in enumerate(left_out(gated)) if not still]
    late = [moment for moment in looks if moment > 4.0]
    assert late == pytest.approx([late[0] + CHECK * number for number in range(len(late))])
    assert len(late) == pytest.approx(21.0 / CHECK, abs=1)


def test_while_something_moves_five_comparisons_a_second_are_enough() -> None:
    plan = pipeline(motion=MotionPlan())
    gate, follow = Gate(plan), Follow(plan, lambda: 1)
    compared, looked = list[bool](), list[bool]()
    for number in range(500):  # 25 a second; something goes through between 4.0 and 6.0
        pixels = np.full((120, 160, 3), 90, np.uint8)
        if 100 <= number < 150:
            pixels[40:80, number - 80 : number - 60] = 200
        before = gate.glance.change if gate.glance else None
        chosen = gate.choose((Frame(pixels, "bgr", number / 25, number / 25, number + 1),), follow)
        assert gate.glance is not None
        compared.append(gate.glance.change is not before)
        looked.append(bool(chosen))
        if chosen:
            gate.joined(chosen, [NOTHING] * len(chosen), number / 25)
            gate.stand(Detections((), (160, 120)))
    assert all(compared[:101])
    assert sum(compared[101:150]) == 9
    assert not any(looked[60:100])
    assert all(looked[100:170])
    assert all(compared[-15:])
    assert not any(looked[-15:])


def test_why_tells_by_how_much_it_was_less() -> None:
    plan = pipeline(motion=MotionPlan())
    gate, follow = Gate(plan), Follow(plan, lambda: 1)
    for number in range(40):
        pixels = np.full((120, 160, 3), 90, np.uint8)
        if number == 39:
            pixels[50:52, 50:53] = 200
        chosen = gate.choose((Frame(pixels, "bgr", number / 10, number / 10, number + 1),), follow)
        if chosen:
            gate.joined(chosen, [NOTHING], number / 10)
            gate.stand(Detections((), (160, 120)))
    (decided,) = follow.decisions.between(0.0)
    assert decided.matter() == (
        "no motion: at most 0.08% of the picture has changed by 0.06 of full brightness, and motion.area is 0.10%; "
        "the model did not run, and its previous findings remain valid"
    )
    assert decided.count == 20


def test_another_light_gets_one_look(file: Path) -> None:
    stage = Stage((Actor(((0, 100, 120), (30, 100, 120))),), 12.0, lights=(7.05,))
    gated = shown("light", stage, painted_plan(painted_model(file), motion=MotionPlan(still_check=60.0)))
    looks = [number / FPS for number, still in enumerate(left_out(gated)) if not still]
    assert [moment for moment in looks if moment > 4.0] == [pytest.approx(7.1)]


def test_what_moves_under_the_mask_is_nobody_s_business(file: Path) -> None:
    stage = Stage((Actor(((0, 40, 60), (10, 40, 180), (20, 40, 60))),), 20.0)
    mask = (((0.0, 0.0), (0.35, 0.0), (0.35, 1.0), (0.0, 1.0)),)
    gated = shown("masked", stage, painted_plan(painted_model(file), mask=mask, motion=MotionPlan(still_check=60.0)))
    assert not any(boxes(one) for one in gated)
    assert left_out(gated)[25:] == [True] * 175


@pytest.mark.long
def test_a_detector_that_overlooks_and_invents_makes_no_event(file: Path) -> None:
    """A look that misses somebody is followed by others, before a clock runs; what it invents does not stand."""
    stage = Stage((VISITOR, Actor(((0, 220, 205), (60, 220, 205)), (30, 50))), 45.0)
    plan = painted_plan(painted_model(file, misses=0.25, ghosts=0.2), track=TrackPlan())
    full, gated = both("moody", stage, plan, MotionPlan(still_check=2.0))
    kinds = [[(event[1], event[2]) for event in events(run)] for run in (full, gated)]
    assert sorted(kinds[0]) == sorted([("appear", 1), ("appear", 2), ("leave", 1), ("leave", 2)])
    assert sorted(kinds[1]) == sorted(kinds[0])
    assert sum(left_out(gated)) > 0.2 * len(gated)


PLACES = st.tuples(st.integers(40, SIZE[0] - 40), st.integers(50, SIZE[1] - 50))
PAUSES = st.sampled_from((0.1, 0.5, 1.0, 3.0, 5.0, 8.0))


@st.composite
def actors(draw: st.DrawFn) -> Actor:
    """Goes from place to place at any speed, or stays; some are as bright as the wall, so that no motion is seen."""
    moment, path = draw(st.floats(0.0, 6.0)), []
    for place in draw(st.lists(PLACES, min_size=1, max_size=3)):
        pause = draw(PAUSES)
        path += [(moment, *place), (moment + pause, *place)]
        moment += pause + draw(PAUSES)
    return Actor(tuple(path), (draw(st.integers(24, 50)), draw(st.integers(36, 70))), draw(st.booleans()))


ANY = st.builds(Stage, st.lists(actors(), max_size=3).map(tuple), st.just(14.0), st.sampled_from((2.0, 6.0)),
                   st.lists(st.floats(0.0, 14.0), max_size=1).map(tuple))  # fmt: skip


@pytest.mark.long
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(ANY, st.sampled_from(((1, 1), (2, 1))), st.booleans())
def test_nobody_is_lost_for_longer_than_the_still_check(
    file: Path, stage: Stage, tiles: tuple[int, int], track: bool
) -> None:
    plan = painted_plan(painted_model(file, tiles), track=TrackPlan() if track else None)
    full, gated = both("any", stage, plan)
    slack = FRAME + (SETTLE if track else 0.0)
    assert lost(stage, full, gated) <= CHECK + slack
    assert ghosts(full, gated) <= CHECK + slack


@pytest.mark.long
def test_the_same_stage_says_the_same_and_what_moves_is_drawn(file: Path) -> None:
    stage = Stage((VISITOR,), 5.0)
    plan = painted_plan(painted_model(file, (2, 1)), track=TrackPlan(), motion=MOTION)
    once, again = shown("drawn", stage, plan), shown("drawn", stage, plan)
    assert [one.said for one in once] == [one.said for one in again]
    draw = ScenePicture(plan)
    purple = []
    for one in once:
        assert isinstance(one.frame, Frame)
        picture = draw(one.frame, one.findings, [], one.decided, one.glance)
        purple.append(int((picture == MOVED).all(axis=2).sum()))
    assert purple[25] == 0, "nothing moves and no tile is looked at"
    assert purple[40] > 2 * (SIZE[0] // 2 + SIZE[1] - 10), "the outline of a tile, and of what moves in it"
    glance = once[40].glance
    assert glance is not None
    assert choice(glance).endswith("changed, looked at 1 of 2 tiles")


@pytest.mark.long
def test_a_cascade_below_keeps_what_it_knows(file: Path) -> None:
    """Crops of a still frame are of who stands there: nobody is forgotten, and nobody is asked about more often."""
    stage = Stage((Actor(((0, 100, 120), (30, 100, 120))),), 12.0)
    model = replace(resolve(ModelRequest("kinds", str(file))), threshold=0.0)
    crops = CropsPlan("stage", again=5.0, followed=True)
    child = PipelinePlan("kinds", "kinds", model, 0.0, publish="every", crops=crops)
    asked = []
    for motion in (None, MOTION):
        parent = painted_plan(painted_model(file), track=TrackPlan(), motion=motion)
        STAGES["below"] = stage
        run = [
            one for one in replay((parent, child), recording("below"), "abcdef", paced=False) if one.pipeline == "kinds"
        ]
        asked.append([one.frame.instant.moment for one in run if any(isinstance(each, Result) for each in one.said)])
        known = [state.answers for state in said(run, State) if isinstance(state.answers, tuple) and state.answers]
        assert {tuple(answer.id for answer in answers) for answers in known} == {(1,)}
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3
