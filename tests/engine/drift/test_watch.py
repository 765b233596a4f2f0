"""The drift of a pipeline: one event for each begin and one for each end, and what is learned anew after a change."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest

from edge_infer.contract.codec import ABSENT, decode_json, dumps, replace
from edge_infer.engine.drift.watch import DriftWatch
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.ipc.drift import MAX_REFERENCE_BYTES, CameraReference, DriftReference, PipelineDrift
from edge_infer.plan.records import DriftPlan, PipelinePlan, SourcePlan
from tests.engine.drift.scenes import HEIGHT, WIDTH, frame, learned
from tests.engine.plans import pipeline

SOURCE = SourcePlan("yard", "rtsp", "x:Y", True, True, {"url": "rtsp://cam/1"}, fps=5.0)
PLAN = replace(pipeline(), drift=DriftPlan())
NOTHING = Detections((), (WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def reference() -> CameraReference:
    """What was learned of the scene."""
    return learned().kept()


@pytest.fixture
def kept(reference: CameraReference) -> DriftReference:
    """The same, as the reference of this source and pipeline."""
    fresh = DriftWatch("door", SOURCE)
    _see(fresh, 1, frame)
    basis = fresh.last_reference().camera
    assert basis is not None
    return DriftReference("door", replace(reference, basis=basis.basis))


def test_a_reference_that_makes_no_sense_is_learned_anew(
    kept: DriftReference, caplog: pytest.LogCaptureFixture
) -> None:
    assert kept.camera is not None
    wild = replace(kept.camera, extremes=dict.fromkeys(kept.camera.extremes, (1000, 1e15, -1e15)))
    watch = DriftWatch("door", SOURCE, replace(kept, camera=wild))
    _see(watch, 30, frame)
    assert max(watch.scores().values()) <= 1e6
    levels = DriftWatch("door", SOURCE, kept)
    _see(levels, 30, frame)
    assert levels._camera is not None
    levels._camera._known[0].view = replace(levels._camera._known[0].view, light=-5.0)
    with caplog.at_level(logging.WARNING):
        assert _see(levels, 30, frame) == []
    assert "drift reference is invalid" in caplog.text
    health = levels.health()
    assert health is not None
    assert health.camera == "learning"


def test_counts_at_the_end_of_their_range_are_learned_anew(kept: DriftReference) -> None:
    """The next one would be no valid record, for which the supervisor ends the engine."""
    assert kept.camera is not None
    most = 2**53
    for camera in (
        replace(kept.camera, frames=most, hours=0.0),
        replace(kept.camera, extremes=dict.fromkeys(kept.camera.extremes, (most, 1e15, 1e15))),
    ):
        watch = DriftWatch("door", SOURCE, DriftReference("door", camera))
        _see(watch, 30, frame)
        reference, report = watch.last_reference(), watch.report()
        assert decode_json(DriftReference, dumps(reference)) == reference
        assert decode_json(PipelineDrift, dumps(report)) == report


def _see(
    watch: DriftWatch,
    seconds: int,
    picture: Callable[[int], Pixels],
    begin: float = 1e6,
    *,
    plan: PipelinePlan = PLAN,
    findings: Detections = NOTHING,
) -> list[Happening]:
    """Show a watch one picture a second; return what it had to tell."""
    pictures, news = [picture(200 + number) for number in range(10)], []
    for second in range(seconds):
        shown = Frame(pictures[second % 10], "bgr", 1.8e9 + begin + second, begin + second, second + 1)
        news += watch.see(plan, shown, lambda shown=shown: shown, findings, still=False)  # type: ignore[misc]
    return news


def _covered(number: int) -> Pixels:
    return np.random.default_rng(number).integers(8, 12, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _moved(number: int) -> Pixels:
    return frame(number, right=32)


def test_a_drift_begins_once_and_ends_once(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    assert _see(watch, 30, frame) == []
    begun = _see(watch, 60, _moved, 1e6 + 30)
    assert [(each.type, each.kind, each.shift) for each in begun] == [("drift", "moved", (0.1, 0.0))]
    assert begun[0].since is not None
    assert 0 <= begun[0].when.moment - begun[0].since.moment < 30
    message = begun[0].event(7, "9f2c1a")
    assert (message.kind, message.shift, message.label, message.box) == ("moved", (0.1, 0.0), ABSENT, ABSENT)
    health = watch.health()
    assert health is not None
    assert (health.camera, health.outcome, health.present) == ("moved", "learning", True)
    ended = _see(watch, 90, frame, 1e6 + 90)
    assert [(each.type, each.kind, each.reason) for each in ended] == [("drift_end", "moved", None)]
    assert watch.health() == replace(health, camera="ok")


def test_a_more_certain_kind_takes_the_place_of_another(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    news = _see(watch, 60, _moved) + _see(watch, 30, _covered, 1e6 + 60)
    assert [(each.type, each.kind) for each in news] == [
        ("drift", "moved"), ("drift_end", "moved"), ("drift", "covered"),
    ]  # fmt: skip


def test_what_is_open_ends_with_the_pipeline(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    _see(watch, 60, _moved)
    assert [(each.type, each.kind, each.reason) for each in watch.end("stopped")] == [
        ("drift_end", "moved", "stopped"),
    ]  # fmt: skip
    assert watch.end("stopped") == ()


def test_events_are_limited_and_health_is_not(kept: DriftReference) -> None:
    watch, news = DriftWatch("door", SOURCE, kept), []
    for turn in range(8):
        news += _see(watch, 60, _moved, 1e6 + 200 * turn)
        health = watch.health()
        assert health is not None
        assert health.camera == "moved"
        news += _see(watch, 100, frame, 1e6 + 200 * turn + 60)
    begins, ends = ([each for each in news if each.type == kind] for kind in ("drift", "drift_end"))
    assert len(begins) == len(ends) == 4


@pytest.mark.parametrize(
    ("plan", "camera", "outcome"),
    [
        (replace(PLAN, fps=2.0, heartbeat=5.0), "ok", "kept"),
        (replace(PLAN, drift=DriftPlan(false_alarm=86400.0)), "ok", "kept"),
        (replace(PLAN, mask=(((0.0, 0.0), (0.2, 0.0), (0.2, 0.2)),)), "learning", "anew"),
        (replace(PLAN, model=replace(PLAN.model, sha256="1" * 64)), "ok", "anew"),
        (replace(PLAN, threshold=0.9), "ok", "anew"),
    ],
)
def test_what_a_change_affects_is_learned_anew(
    kept: DriftReference, plan: PipelinePlan, camera: str, outcome: str
) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    _see(watch, 2000, frame)
    before = watch.last_reference().outcome
    assert before is not None
    assert before.frames > 0
    _see(watch, 1, frame, 1e6 + 2000, plan=plan)
    health, after = watch.health(), watch.last_reference().outcome
    assert health is not None
    assert after is not None
    assert health.camera == camera
    assert (after.frames == before.frames) == (outcome == "kept")


def test_another_picture_size_of_the_source_is_learned_anew(kept: DriftReference) -> None:
    watch = DriftWatch("door", replace(SOURCE, options={"url": "rtsp://cam/2"}), kept)
    _see(watch, 1, frame)
    health = watch.health()
    assert health is not None
    assert health.camera == "learning"


def test_accepted_drift_ends_and_is_learned_anew(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    _see(watch, 60, _moved)
    watch.accept(camera=True, outcome=False)
    ended = _see(watch, 5, _moved, 1e6 + 60)
    assert [(each.type, each.reason) for each in ended] == [("drift_end", "config_changed")]
    health, reference = watch.health(), watch.reference()
    assert health is not None
    assert (health.camera, health.learned) == ("learning", 0.0)
    assert reference is not None, "the old one on the disk has to be replaced at once"
    assert reference.camera is not None
    assert reference.camera.appearances == ()


def test_an_edit_that_does_not_concern_the_camera_ends_no_drift_of_it(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    begun = _see(watch, 60, _moved)
    assert _see(watch, 30, _moved, 1e6 + 60, plan=replace(PLAN, threshold=0.9)) == []
    other = replace(PLAN, mask=(((0.0, 0.0), (0.2, 0.0), (0.2, 0.2)),))
    ended = _see(watch, 5, _moved, 1e6 + 90, plan=other)
    assert [(each.type, each.since, each.reason) for each in ended] == [
        ("drift_end", begun[0].since, "config_changed"),
    ]  # fmt: skip


def test_a_drift_ends_when_the_key_is_taken_away(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    _see(watch, 60, _moved)
    ended = _see(watch, 1, _moved, 1e6 + 60, plan=replace(PLAN, drift=None))
    assert [(each.type, each.reason) for each in ended] == [("drift_end", "config_changed")]
    assert watch.health() is None


def test_accepting_the_camera_keeps_the_answers(kept: DriftReference) -> None:
    watch = DriftWatch("door", SOURCE, kept)
    _see(watch, 2000, frame)
    _see(watch, 60, _moved, 1e6 + 2000)
    before = watch.last_reference().outcome
    watch.accept(camera=True, outcome=False)
    assert before is not None
    assert before.frames > 0
    assert watch.last_reference().outcome == before


def test_a_damaged_reference_is_learned_anew(kept: DriftReference, caplog: pytest.LogCaptureFixture) -> None:
    assert kept.camera is not None
    damaged = replace(kept, camera=replace(kept.camera, appearances=("!",)))
    watch = DriftWatch("door", SOURCE, damaged)
    with caplog.at_level(logging.WARNING):
        _see(watch, 1, frame)
    assert "the stored drift reference of the camera is invalid" in caplog.text
    health = watch.health()
    assert health is not None
    assert health.camera == "learning"


def test_a_pipeline_without_the_key_watches_nothing() -> None:
    watch = DriftWatch("door", SOURCE)
    _see(watch, 5, frame, plan=replace(PLAN, drift=None))
    assert (watch.health(), watch.report(), watch.watches) == (None, None, False)


def test_single_pictures_and_signals_have_answers_only() -> None:
    for source in (replace(SOURCE, stills=True), replace(SOURCE, gives="samples")):
        watch = DriftWatch("door", source)
        _see(watch, 2, frame)
        health = watch.health()
        assert health is not None
        assert (health.camera, health.outcome) == (ABSENT, "learning")


def test_a_still_frame_repeats_no_answer() -> None:
    watch, pixels = DriftWatch("door", SOURCE), frame(1)
    person = Detections((Detection("person", 0, 0.9, (0.0, 0.0, 9.0, 9.0)),), (WIDTH, HEIGHT))
    for second in range(1000):
        shown = Frame(pixels, "bgr", 1.8e9 + second, float(second), second + 1)
        watch.see(PLAN, shown, lambda shown=shown: shown, person, still=True)  # type: ignore[misc]
    reference = watch.last_reference()
    assert reference.outcome is not None
    assert reference.outcome.frames == 0
    assert reference.camera is not None
    assert reference.camera.frames == 1000


def test_references_are_kept_at_intervals_and_when_they_are_complete(reference: CameraReference) -> None:
    now = [0.0]
    watch = DriftWatch("door", SOURCE, clock=lambda: now[0])
    _see(watch, 3, frame)
    assert watch.reference() is None
    now[0] = 1801.0
    first = watch.reference()
    assert first is not None
    assert first.camera is not None
    assert first.camera.frames == 3
    assert watch.reference() is None
    assert len(dumps(DriftReference("door", reference))) < MAX_REFERENCE_BYTES
