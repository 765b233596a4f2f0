"""All forms of ``publish`` and ``heartbeat``, on a clock that the test turns."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.output.publish_policy import PublishPolicy
from edge_infer.engine.tasks import Essence
from edge_infer.plan.channel_rates import AFTER_LOSS, CHANGES_AT_ONCE
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, NmsPlan, PipelinePlan, Publish, TrackPlan

MODEL = ModelPlan(
    "m", "m@1", "1", "0" * 64, "/m", "detection", DecoderPlan("d", "m:D"), ("face",), InputPlan(), 0.5, NmsPlan()
)
PLAN = PipelinePlan("door", "cam", MODEL, 0.5)
NONE: Essence = ()
ONE: Essence = (("face", 1),)
TWO: Essence = (("face", 2),)


def said(publish: Publish, essences: list[Essence], step: float = 1.0, **more: object) -> list[int]:
    """At which of the frames, one every ``step`` seconds, a result is published."""
    publication = PublishPolicy(replace(PLAN, publish=publish, **more))  # type: ignore[arg-type]
    return [index for index, essence in enumerate(essences) if publication.result_due(essence, 100.0 + index * step)]


def test_change_says_the_first_outcome_and_each_that_differs() -> None:
    assert said("change", [NONE, NONE, ONE, ONE, TWO, ONE, ONE]) == [0, 2, 4, 5]


def test_change_says_a_result_again_at_the_heartbeat() -> None:
    assert said("change", [ONE] * 65, heartbeat=30.0) == [0, 30, 60]


def test_a_heartbeat_is_not_late_by_one_picture() -> None:
    """The times of pictures are not exact: 3 s later may be 2.9999 s later."""
    assert said("change", [ONE] * 100, step=0.1, heartbeat=3.0) == [0, 30, 60, 90]
    assert said("change", [ONE] * 40, step=1 / 3, heartbeat=4.0) == [0, 12, 24, 36]


def test_an_interval_keeps_its_rate() -> None:
    """A picture that comes a little early counts; the next interval begins where this one should have ended."""
    assert said("interval", [ONE] * 1001, step=0.03, interval=0.5)[-1] >= 980
    assert len(said("interval", [ONE] * 1001, step=0.03, interval=0.5)) in (60, 61)
    assert said("interval", [ONE] * 20, step=1.0001, interval=3.0) == [0, 3, 6, 9, 12, 15, 18]
    assert said("interval", [ONE] * 20, step=0.9999, interval=3.0) == [0, 3, 6, 9, 12, 15, 18]


def test_changes_within_a_second_share_a_result_where_objects_are_followed() -> None:
    come_and_go = [NONE, ONE, *[TWO] * 12, ONE, TWO, *[ONE] * 14]
    assert said("change", come_and_go, step=0.1) == [0, 1, 2, 14, 15, 16]
    assert said("change", come_and_go, step=0.1, track=TrackPlan()) == [0, 10, 20]
    assert said("change", [NONE] * 30 + [ONE] * 9 + [TWO] * 9, step=0.1, track=TrackPlan()) == [0, 30, 40]


def test_a_change_back_within_a_second_is_none() -> None:
    assert said("change", [ONE, *[ONE, TWO, TWO, ONE] * 2, *[ONE] * 20], step=0.1, track=TrackPlan()) == [0]


def test_changes_have_a_budget_a_minute_and_the_last_one_is_said_in_the_end() -> None:
    flicker = [ONE, TWO] * 900 + [NONE] * 60
    told = said("change", flicker, step=0.1)
    assert told[:CHANGES_AT_ONCE] == list(range(CHANGES_AT_ONCE))
    assert len([index for index in told if 600 <= index < 1200]) in (119, 120, 121)
    assert flicker[told[-1]] == NONE


def test_a_change_that_waits_for_the_budget_is_told_from_one_that_is_none() -> None:
    publication = PublishPolicy(PLAN)
    waits = []
    for index in range(CHANGES_AT_ONCE + 2):
        publication.result_due((ONE, TWO)[index % 2], 1000.0)
        waits.append(publication.over_budget)
    assert waits == [False] * CHANGES_AT_ONCE + [True, False], "the last one is as in the result before it"


def test_a_recording_that_is_read_faster_than_it_was_taken_has_no_larger_budget() -> None:
    """The publisher rejects results beyond the budget, which it counts by the time of capture."""
    publication = PublishPolicy(PLAN)
    due = [publication.result_due((ONE, TWO)[index % 2], index, captured=1000 + index / 10000) for index in range(600)]
    assert due == [True] * CHANGES_AT_ONCE + [False] * (600 - CHANGES_AT_ONCE)


def test_every_says_each_frame_and_off_says_none() -> None:
    assert said("every", [ONE] * 4) == [0, 1, 2, 3]
    assert said("off", [NONE, ONE, TWO] * 40) == []


def test_interval_says_the_newest_at_most_that_often() -> None:
    assert said("interval", [ONE, TWO] * 8, step=0.5, interval=2.0) == [0, 4, 8, 12]


def test_frames_that_fail_now_and_then_do_not_shorten_an_interval_beyond_what_the_publisher_accepts() -> None:
    publication = PublishPolicy(replace(PLAN, publish="interval", interval=60.0))
    results = 0
    for index in range(4000):
        if index % 3 == 2:
            publication.reset()
        else:
            results += publication.result_due(ONE, 100.0 + index / 10)
    assert 400 / 60 < results <= 400 / 60 + 400 / AFTER_LOSS


@pytest.mark.parametrize("publish", ["change", "every", "off", "interval"])
def test_the_state_is_said_on_change_and_once_a_minute(publish: Publish) -> None:
    publication = PublishPolicy(replace(PLAN, publish=publish, interval=5.0, heartbeat=600.0))
    due = [index for index in range(130) if publication.state_due(ONE if index < 90 else TWO, float(index))]
    assert due == [0, 60, 90]


def test_after_a_reset_the_same_outcome_is_news() -> None:
    publication = PublishPolicy(PLAN)
    assert publication.result_due(ONE, 1.0)
    assert not publication.result_due(ONE, 2.0)
    publication.reset()
    assert publication.result_due(ONE, 3.0)


def test_between_slow_frames_the_state_is_said_again_once_a_minute() -> None:
    publication = PublishPolicy(PLAN)
    assert not publication.state_again(1000.0), "nothing was said yet"
    assert publication.state_due(ONE, 1000.0)
    assert [now for now in range(1000, 1290) if publication.state_again(float(now))] == [1060, 1120, 1180, 1240]
    assert not publication.state_due(ONE, 1290.0)
    assert publication.state_due(NONE, 1290.0)
