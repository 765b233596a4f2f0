"""States of a source and rates of a pipeline, on a clock that the test turns."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import ABSENT
from edge_infer.engine.output.health import PipelineWatch, SourceWatch, rate
from edge_infer.ipc.messages import LATENCY_BOUNDS


def fed(watch: SourceWatch, start: float, count: int, interval: float, *, repeated: bool = False) -> float:
    for index in range(count):
        watch.frame(start + index * interval, repeated=repeated)
    return start + (count - 1) * interval


def test_a_source_is_lost_after_five_seconds_without_a_frame() -> None:
    watch = SourceWatch(100.0)
    assert watch.state(104.0) == "starting"
    assert watch.state(105.1) == "lost"
    last = fed(watch, 110.0, 20, 0.1)
    assert watch.state(last + 4.9) == "ok"
    assert watch.state(last + 5.1) == "lost"
    assert watch.blocked(last + 5.1) == "source_lost"


def test_a_signal_has_its_samples_a_second_and_pictures_have_none() -> None:
    watch = SourceWatch(0.0)
    for number in range(200):
        watch.frame(number / 10, samples=8 if number % 2 else 12)
    health = watch.health(20.0)
    assert (health.fps, health.rate) == (10.0, pytest.approx(100.0, rel=0.01))
    assert watch.health(60.0).rate is ABSENT
    fed(pictures := SourceWatch(0.0), 0.0, 20, 0.1)
    assert (pictures.health(2.0).fps, pictures.health(2.0).rate) == (10.0, ABSENT)


def test_a_slow_source_is_lost_after_ten_of_its_intervals() -> None:
    watch = SourceWatch(0.0)
    last = fed(watch, 0.0, 60, 4.0)
    assert watch.state(last + 35.0) == "ok"
    assert watch.state(last + 41.0) == "lost"


def test_a_source_that_is_to_be_slow_is_not_lost_before_its_second_frame_or_its_first() -> None:
    """Who reads it may have given the first one to an engine before this one."""
    watch = SourceWatch(0.0, pause=65.0)
    assert watch.state(64.0) == "starting"
    watch.frame(64.0)
    assert watch.state(128.0) == "ok"
    assert watch.state(129.1) == "lost"


def test_a_slow_source_in_trouble_from_the_start_is_lost_after_five_seconds() -> None:
    watch = SourceWatch(0.0, pause=65.0)
    watch.trouble("no route to the camera")
    assert watch.state(5.1) == "lost"


def test_an_outage_does_not_make_a_fast_source_slow() -> None:
    watch = SourceWatch(0.0)
    for tenth in range(1, 20):
        watch.frame(tenth / 10)
    watch.trouble("no route to the camera")
    watch.frame(600.0)  # ten minutes later there is one frame, and then none
    assert watch.state(604.0) == "ok"
    assert watch.state(606.0) == "lost"


def test_bit_equal_frames_for_ten_seconds_are_frozen_and_a_new_one_is_not() -> None:
    watch = SourceWatch(0.0)
    watch.frame(0.0)
    last = fed(watch, 0.1, 101, 0.1, repeated=True)
    assert watch.state(last) == "frozen"
    assert watch.blocked(last) == "source_frozen"
    watch.frame(last + 0.1)
    assert watch.state(last + 0.1) == "ok"


def test_black_is_told_but_blocks_nothing() -> None:
    watch = SourceWatch(0.0)
    for index in range(30):
        watch.frame(index * 0.1, black=True)
    assert watch.state(2.9) == "black"
    assert watch.blocked(2.9) is None


def test_one_dark_frame_of_a_slow_source_is_not_black() -> None:
    watch = SourceWatch(0.0)
    for moment, black, state in ((0.0, False, "ok"), (5.0, True, "ok"), (10.0, True, "black"), (15.0, False, "ok")):
        watch.frame(moment, black=black)
        assert watch.state(moment) == state


def test_trouble_is_told_until_a_frame_comes() -> None:
    watch = SourceWatch(0.0)
    watch.trouble("no route to the camera")
    assert watch.health(1.0).error == "no route to the camera"
    watch.frame(2.0)
    assert watch.health(2.0).error is ABSENT


def test_an_ended_source_says_so_for_good() -> None:
    watch = SourceWatch(0.0)
    watch.frame(0.0)
    watch.end()
    assert watch.state(100.0) == "ended"
    assert watch.blocked(100.0) == "source_ended"


def test_rates_count_what_came_and_cease_with_it() -> None:
    times = [index * 0.2 for index in range(51)]
    assert rate(times, 10.0) == pytest.approx(5.0)
    assert rate(times, 16.0) == 0.0
    assert rate([1.0], 1.0) == 0.0


def test_a_few_events_that_arrive_together_are_no_high_rate() -> None:
    assert rate([1.0, 1.00002], 1.1) == 1.0
    assert rate([1.0, 1.0, 1.0], 1.1) == 2.0
    assert rate([number / 100 for number in range(51)], 0.5) == 50.0
    assert rate([number / 100 for number in range(301)], 3.0) == 100.0


def test_latency_percentiles_are_of_the_last_half_minute() -> None:
    watch = PipelineWatch(0.0)
    watch.done(1.0, 900.0)
    for index in range(100):
        watch.done(40.0 + index * 0.01, float(index))
    latency = watch.health(41.0, 101).latency_ms
    assert latency is not None
    assert (latency.p50, latency.p95, latency.p99) == (49.5, 94.0, 98.0)


def test_frames_are_counted_by_outcome_and_latency() -> None:
    watch = PipelineWatch(0.0)
    for milliseconds in (9.0, 10.0, 11.0, 250.0, 5000.0):
        watch.done(1.0, milliseconds)
    watch.looked(0, 1)
    watch.done(2.0, 1.0)  # nothing moved: it counts, and has no latency
    watch.dropped, watch.failed = 3, 2
    counts = watch.counts()
    assert (counts.looked, counts.still, counts.dropped, counts.failed) == (5, 1, 3, 2)
    assert counts.latencies == (2, 1, 0, 1, 0, 0, 1)  # an upper bound belongs to its class, as in Prometheus
    assert len(counts.latencies) == len(LATENCY_BOUNDS) + 1
    assert counts.seconds == 5.28


def test_a_pipe_that_no_program_can_find_is_lost_after_five_seconds() -> None:
    """Whatever the interval of its rows was, which is measured anew when it is back."""
    watch = SourceWatch(0.0, quiet=True)
    last = fed(watch, 0.0, 30, 300.0)
    assert watch.state(last + 299.0) == "ok"
    watch.opened("pipe does not exist")
    assert (watch.state(last + 4.9), watch.state(last + 5.1)) == ("ok", "lost")
    assert watch.health(last + 5.1).error == "pipe does not exist"
    watch = SourceWatch(0.0)
    last = fed(watch, 0.0, 100, 0.5)
    watch.opened("pipe does not exist")
    watch.opened("")
    back = fed(watch, last + 3600.0, 2, 0.5)
    assert (watch.state(back + 5.0), watch.state(back + 5.6)) == ("ok", "lost"), "an hour away is no interval"
