"""The newest frame for all pipelines: nothing queues, drops are counted, a lossless source drops none."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.engine.input.capture import LocalCapture
from edge_infer.engine.input.feed import LINES_PER_SECOND, MAX_BURST_LINES, Feed
from edge_infer.engine.input.sample_stream import SampleStream
from edge_infer.engine.output.health import SourceWatch
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Frame
from edge_infer.frames.pixels import Orientation
from edge_infer.ipc.messages import ENDED
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.readers.sources import Picture
from tests.broker import eventually

PLAN = SourcePlan("cam", "fake", "", live=False, network=False, options={})


def frame(number: int) -> Frame:
    return Frame(np.full((2, 3, 3), number, np.uint8), "bgr", 0.0, time.monotonic(), number)


class Film:
    """A source of so many pictures, each filled with its number; it fails before those in ``failing``, once each."""

    live = False
    network = False

    def __init__(
        self, count: int, *, lossless: bool, failing: tuple[int, ...] = (), error: type[Exception] = SourceError
    ) -> None:
        self.lossless = lossless
        self.opened = 0
        self._count, self._next, self._failing = count, 1, set(failing)
        self._error = error

    def __enter__(self) -> Film:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def read(self) -> Picture | None:
        if self._next in self._failing:
            self._failing.remove(self._next)
            raise self._error("the film has torn")
        if self._next > self._count:
            return None
        pixels = np.full((2, 3, 3), self._next, np.uint8)
        self._next += 1
        return Picture(pixels, "bgr", 0.0, time.monotonic())


def read_all(feed: Feed, cursor: object, seen: list[int]) -> None:
    deadline = time.monotonic() + 10.0
    while feed.blocked() != "source_ended" and time.monotonic() < deadline:
        if (got := feed.next(cursor, 0.05)) is not None:  # type: ignore[arg-type]
            seen.append(int(got.pixels[0, 0, 0]))


def test_a_report_does_not_wait_while_a_pipeline_copies_a_frame() -> None:
    """The engine reports itself to the supervisor, which kills it after 5 s of silence."""
    feed = Feed(PLAN)
    copying, copied = threading.Event(), threading.Event()

    def copy() -> Frame:
        copying.set()
        assert copied.wait(30)
        return frame(1)

    cursor = feed.attach()
    feed.offer(1, copy)
    taking = threading.Thread(target=lambda: feed.next(cursor, 0.0))
    taking.start()
    assert copying.wait(30)
    reporting = threading.Thread(target=feed.health, daemon=True)
    reporting.start()
    reporting.join(10)
    reported = not reporting.is_alive()
    copied.set()
    taking.join(30)
    assert reported


@pytest.mark.parametrize("monotonic", [-1e300, -0.001, float("nan"), float("inf")])
def test_a_capture_time_that_no_clock_had_is_refused(monotonic: float) -> None:
    """A source of another package may give any number; the engine must not publish it."""

    class Timeless(Film):
        def read(self) -> Picture | None:
            picture = super().read()
            return None if picture is None else Picture(picture.pixels, "bgr", 0.0, monotonic)

    feed = Feed(PLAN)
    feed.start(LocalCapture(Timeless(3, lossless=True), Orientation()))
    eventually(lambda: "must be time.monotonic()" in str(feed.health().error), "word of the time")
    feed.close()


def test_a_lossless_source_gives_every_frame_to_every_pipeline() -> None:
    feed = Feed(PLAN)
    seen: list[list[int]] = [[], []]
    threads = [threading.Thread(target=read_all, args=(feed, feed.attach(), numbers)) for numbers in seen]
    feed.start(LocalCapture(Film(40, lossless=True), Orientation()))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    feed.close()
    assert seen == [list(range(1, 41))] * 2


def test_a_live_source_hands_over_the_newest_and_counts_the_rest() -> None:
    feed = Feed(PLAN)
    cursor = feed.attach()
    for number in (1, 2, 3):
        feed.offer(number, lambda number=number: frame(number))  # type: ignore[misc]
    got = feed.next(cursor, 0.0)
    assert got is not None
    assert got.number == 3
    assert cursor.dropped == 2
    assert feed.next(cursor, 0.0) is None


def test_what_a_resting_pipeline_did_not_want_is_not_dropped() -> None:
    feed = Feed(PLAN)
    cursor = feed.attach()
    feed.offer(1, lambda: frame(1))
    assert feed.rest(cursor)
    feed.offer(2, lambda: frame(2))
    assert feed.next(cursor, 0.0) is not None
    assert cursor.dropped == 0


def test_a_frame_is_copied_once_for_all_and_only_when_wanted() -> None:
    feed = Feed(PLAN)
    cursors = [feed.attach(), feed.attach()]
    copies: list[int] = []

    def take() -> Frame:
        copies.append(1)
        return frame(1)

    feed.offer(1, take)
    assert copies == []
    first, second = (feed.next(cursor, 0.0) for cursor in cursors)
    assert first is second
    assert copies == [1]


@pytest.mark.parametrize("error", [SourceError, ZeroDivisionError])  # the second: a fault of a plug-in
def test_a_source_that_fails_is_opened_again_and_says_why(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    feed = Feed(PLAN)
    film = Film(6, lossless=True, failing=(4,), error=error)
    seen: list[int] = []
    cursor = feed.attach()
    feed.start(LocalCapture(film, Orientation()))
    read_all(feed, cursor, seen)
    feed.close()
    assert seen == [1, 2, 3, 4, 5, 6]
    assert film.opened == 2
    assert "the film has torn" in caplog.text


def test_closing_a_lossless_feed_does_not_wait_for_pipelines() -> None:
    feed = Feed(PLAN)
    feed.attach()
    feed.start(LocalCapture(Film(1000, lossless=True), Orientation()))
    feed.close()
    feed.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "capture-cam"]


class Drawn:
    """A capture that a pipeline may drive; its second turn ends only after the feed has been told to stop."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def interrupt(self) -> None:
        """It waits for nothing else."""

    def run(self, feed: Feed) -> None:
        raise AssertionError("it has turns")

    def turns(self, feed: Feed) -> Iterator[bool]:
        feed.lossless = True
        feed.offer(1, lambda: frame(1))
        yield True
        self.begun.set()
        assert self.stopped.wait(30.0)
        yield True
        while not feed.stopping:
            yield True


def test_a_feed_that_is_stopped_while_a_pipeline_reads_by_itself_ends_its_own_thread() -> None:
    feed, capture = Feed(PLAN), Drawn()
    cursor = feed.attach()
    feed.draw(cursor, alone=True)
    feed.start(capture)
    assert feed.next(cursor, 30.0) is not None
    drawer = threading.Thread(
        target=lambda: [feed.next(cursor, 0.1) for _ in range(20) if not capture.stopped.is_set()]
    )
    drawer.start()
    assert capture.begun.wait(30.0)
    feed.stop()
    threading.Timer(0.3, capture.stopped.set).start()  # by then the thread has seen that it is not its turn to end yet
    drawer.join(30.0)
    eventually(lambda: all(each.name != "capture-cam" for each in threading.enumerate()), "the end of its thread")
    feed.close()


class Broken:
    """A capture with a fault of its own."""

    def run(self, feed: Feed) -> None:
        raise IndexError("no such thing")

    def interrupt(self) -> None:
        """It never waits."""


def test_a_capture_that_fails_in_a_way_that_it_should_not_is_told() -> None:
    feed = Feed(PLAN)
    feed.start(Broken())
    eventually(lambda: "unexpected IndexError: no such thing" in str(feed.health().error), "what has happened")
    feed.close()


def test_a_source_that_comes_back_is_logged_as_its_loss_was(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(PLAN)
    with caplog.at_level("INFO"):
        feed.offer(1, lambda: frame(1))
        feed.trouble("it cannot be reached")
        feed.trouble("it cannot be reached")
        feed.offer(2, lambda: frame(2))
        feed.offer(3, lambda: frame(3))
    assert caplog.messages == ["source cam: it cannot be reached", "source cam is back after 0 s"]
    feed.close()


def test_the_ordinary_end_of_a_source_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(PLAN)
    with caplog.at_level("INFO"):
        feed.trouble(ENDED, ended=True)
    assert [f"{each.levelname} {each.getMessage()}" for each in caplog.records] == ["INFO source cam has ended"]
    assert feed.health().error == ENDED
    feed.close()


def test_a_source_that_comes_and_goes_does_not_fill_the_journal(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    feed = Feed(PLAN)
    feed._lines = TokenBucket(MAX_BURST_LINES, LINES_PER_SECOND, lambda: now[0])
    with caplog.at_level("INFO"):
        for number in range(100):
            feed.trouble("it cannot be reached")
            feed.offer(number, lambda: frame(1))
        assert len(caplog.messages) == MAX_BURST_LINES
        now[0] += 60.0
        feed.trouble("it cannot be reached")
    assert caplog.messages[-1] == "source cam: it cannot be reached (180 more lines about it suppressed)"
    feed.close()


@pytest.mark.parametrize("kind", [Feed, SampleStream])
def test_a_source_that_freezes_and_changes_again_is_logged_once(
    kind: type[Feed], caplog: pytest.LogCaptureFixture
) -> None:
    feed = kind(PLAN)

    def play(count: int, *, repeated: bool) -> list[str]:
        caplog.clear()
        for number in range(count):
            feed.offer(number, lambda: frame(1), repeated=repeated)
        return [f"{each.levelname} {each.getMessage()}" for each in caplog.records]

    with caplog.at_level("INFO"):
        assert play(3, repeated=False) == play(3, repeated=True) == []
        feed._watch._changed -= 12.0  # as if they had come for so long
        assert play(3, repeated=True) == ["WARNING source cam: frozen: nothing in it has changed for 12 s"]
        assert play(3, repeated=False) == ["INFO source cam is no longer frozen"]
        lines = []
        for _ in range(MAX_BURST_LINES):
            feed._watch._changed -= 12.0
            lines += play(1, repeated=True) + play(1, repeated=False)
    assert len(lines) == MAX_BURST_LINES - 2


@pytest.mark.parametrize(
    ("changes", "rows", "text"),
    [
        (
            {"gives": "samples", "holds_writer": True},
            True,
            r"no row since \d\d:\d\d:\d\d: does a program still write into it\?",
        ),
        ({"gives": "samples", "holds_writer": True}, False, r"no row yet: does a program write into it\?"),
        ({"gives": "image"}, True, r"no frame since \d\d:\d\d:\d\d"),
    ],
)
def test_a_loss_by_silence_has_a_reason_and_one_line(
    changes: dict[str, Any], rows: bool, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    plan = replace(PLAN, **changes)
    feed = SampleStream(plan) if plan.gives == "samples" else Feed(plan)
    if rows:
        feed.offer(1, lambda: frame(1))
    assert feed.health().error is ABSENT
    now = time.monotonic()
    monkeypatch.setattr("edge_infer.engine.input.feed.time.monotonic", lambda: now + 7.0)
    assert feed.health().error is ABSENT  # no pipeline takes anything
    feed.attach()
    first, second = feed.health(), feed.health()
    assert first == second
    assert first.state == "lost"
    assert re.fullmatch(text, str(first.error))
    assert caplog.messages == [f"source cam: {first.error}"]
    feed.offer(2, lambda: frame(2))
    assert feed.health().error is ABSENT
    assert caplog.messages[1:] == ["source cam is back after 7 s"]


def test_a_reported_error_takes_the_place_of_a_silence() -> None:
    watch = SourceWatch(0.0)
    assert watch.lost_silently(6.0)
    watch.silent = "no row since 00:00:00"
    assert watch.health(6.0).error == "no row since 00:00:00"
    watch.trouble("the pipe is gone")
    assert not watch.lost_silently(12.0)
    assert watch.health(12.0).error == "the pipe is gone"
