"""The answers of a model: what changes is named with its direction, and usual days and nights raise nothing."""

from __future__ import annotations

import numpy as np
import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.engine.drift.answers import AnswerNumbers
from edge_infer.engine.drift.outcome import OutcomeWatch
from edge_infer.ipc.drift import OutcomeReference

YEAR = 365 * 86400.0
LABELS = ("cat", "dog", "person")
STEP = 20.0
"""Seconds between two frames."""


class Answers:
    """A made stream of answers: more objects by day than by night, and scores around 0.75."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._mood = 0.0

    def at(
        self, now: float, *, worse: float = 0.0, more: float = 1.0, larger: float = 0.0, dogs: float = 0.1
    ) -> AnswerNumbers:
        """Return the answer to a frame; its level wanders slowly."""
        draw = self._draw
        self._mood = 0.99 * self._mood + 0.14 * draw.standard_normal()
        day = 8 <= now / 3600 % 24 < 20
        count = int(draw.poisson(max(0.05, (2.0 if day else 0.4) * more * (1 + 0.1 * self._mood))))
        scores = np.clip(0.75 - worse + 0.1 * draw.standard_normal(count), 0.5, 1.0)
        labels = tuple("dog" if draw.random() < dogs else "person" for _ in range(count))
        size = -6.0 + larger + 0.3 * draw.standard_normal() if count else None
        return AnswerNumbers(count, tuple(float(score) for score in scores), None, size, None, labels)


def _run(watch: OutcomeWatch, answers: Answers, hours: float, begin: float, **more: float) -> float | None:
    """Feed the answers of so many hours; return the hours until a drift was raised."""
    for step in range(int(hours * 3600 / STEP)):
        now = begin + step * STEP
        watch.see(now, int(now / 3600 % 24), answers.at(now, **more))
        if watch.raised is not None:
            return step * STEP / 3600
    return None


@pytest.fixture(scope="module")
def reference() -> OutcomeReference:
    """What was learned in three days."""
    watch = OutcomeWatch("basis", YEAR, 3 * 86400.0, 0.5, LABELS, OutcomeReference("basis"))
    _run(watch, Answers(1), 73, 0.0)
    assert watch.learned == 1.0
    return watch.kept()


@pytest.fixture
def watch(reference: OutcomeReference) -> OutcomeWatch:
    """A watch that knows it."""
    return OutcomeWatch("basis", YEAR, 3 * 86400.0, 0.5, LABELS, reference)


BEGIN = 80 * 3600.0


@pytest.mark.parametrize(
    ("kinds", "more"),
    [
        ({"scores_lower"}, {"worse": 0.12}),
        ({"more_objects"}, {"more": 3.0}),
        ({"fewer_objects"}, {"more": 0.2}),
        ({"larger"}, {"larger": 1.5}),
        ({"smaller"}, {"larger": -1.5}),
        ({"mix"}, {"dogs": 0.9}),
    ],
)
def test_a_change_is_named_within_a_day(watch: OutcomeWatch, kinds: set[str], more: dict[str, float]) -> None:
    after = _run(watch, Answers(2), 24, BEGIN, **more)
    assert after is not None, watch.signals()
    assert watch.raised is not None
    assert watch.raised.kind in kinds


def test_ten_usual_days_raise_nothing(watch: OutcomeWatch) -> None:
    assert _run(watch, Answers(3), 240, BEGIN) is None


def test_a_drift_ends_when_the_answers_are_as_before(watch: OutcomeWatch) -> None:
    assert _run(watch, Answers(2), 14, BEGIN, worse=0.15) is not None
    answers = Answers(4)
    for step in range(int(6 * 3600 / STEP)):
        now = BEGIN + 20 * 3600 + step * STEP
        watch.see(now, int(now / 3600 % 24), answers.at(now))
    assert watch.raised is None


def test_what_has_never_been_there_is_noticed() -> None:
    watch = OutcomeWatch("basis", YEAR, 2 * 86400.0, 0.5, LABELS, OutcomeReference("basis"))
    nothing, one = AnswerNumbers(0), AnswerNumbers(1, (0.8,), None, -5.0, None, ("cat",))
    for step in range(int(50 * 3600 / STEP)):
        watch.see(step * STEP, int(step * STEP / 3600 % 24), nothing)
    assert watch.learned == 1.0
    for step in range(int(6 * 3600 / STEP)):
        now = 51 * 3600 + step * STEP
        watch.see(now, int(now / 3600 % 24), one)
    assert watch.raised is not None
    assert watch.raised.kind == "more_objects"


def test_histograms_compare_the_reference_with_now(watch: OutcomeWatch) -> None:
    assert watch.histograms() == {}  # there is no present yet
    _run(watch, Answers(5), 12, BEGIN + 4 * 3600)
    calm, busy = watch.histograms()["objects"], Answers(5)
    assert sum(calm.now) == pytest.approx(1.0, abs=0.01)
    for step in range(int(12 * 3600 / STEP)):
        now = BEGIN + 20 * 3600 + step * STEP
        watch.see(now, int(now / 3600 % 24), busy.at(now, more=6.0))
    assert watch.histograms()["objects"].psi > 10 * calm.psi


def test_the_reference_is_small(reference: OutcomeReference) -> None:
    assert len(dumps(reference)) < 1600
    assert [LABELS[place] for place in reference.labels] == ["person", "dog"]


def test_one_frame_a_minute_is_learned_as_well() -> None:
    watch = OutcomeWatch("basis", YEAR, 86400.0, 0.5, LABELS, OutcomeReference("basis"))
    answers = Answers(6)
    for step in range(2000):
        watch.see(60.0 * step, step // 60 % 24, answers.at(60.0 * step))
    assert 0.9 < watch.learned <= 1.0


def test_gaps_and_jumps_of_the_clock_raise_nothing(watch: OutcomeWatch) -> None:
    answers, now = Answers(7), BEGIN
    for step in range(6000):
        now += STEP if step % 500 else -1000.0 if step % 1000 else 90_000.0
        watch.see(now, int(now / 3600 % 24), answers.at(now))
    assert watch.raised is None


def test_a_damaged_reference_is_refused(reference: OutcomeReference) -> None:
    with pytest.raises(ValueError, match="bytes instead of"):
        OutcomeWatch("basis", YEAR, 1.0, 0.5, LABELS, replace(reference, signals={"score": "QUJD"}))


def test_a_reference_outlives_the_process(reference: OutcomeReference) -> None:
    again = OutcomeWatch("basis", YEAR, 3 * 86400.0, 0.5, LABELS, reference)
    assert again.learned == 1.0
    assert again.kept() == reference


def test_a_longer_time_to_learn_goes_on_with_what_was_learned(watch: OutcomeWatch) -> None:
    watch.expect(YEAR, 6 * 86400.0)
    assert 0.45 < watch.learned < 0.55
    _run(watch, Answers(8), 74, BEGIN)
    assert watch.learned == 1.0
    assert watch.raised is None
