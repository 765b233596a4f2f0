"""A pipeline that reads on by itself: everything once and in order, and the capture's thread when that is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest

from edge_infer.engine.input.feed import Feed
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.frames.frame import Captured, Frame, Samples
from edge_infer.plan.records import Gives, SourcePlan
from tests.broker import eventually

LAST = 40


class Noted:
    """A capture that notes which thread reads; the turns of these numbers go wrong."""

    def __init__(self, make: Callable[[int], Captured], bad: tuple[int, ...] = ()) -> None:
        self.readers: list[str] = []
        self._make, self._bad = make, bad

    def run(self, feed: Feed) -> None:
        for _ in self.turns(feed):
            pass

    def turns(self, feed: Feed) -> Iterator[bool]:
        feed.lossless = True
        for number in count(1):
            if feed.stopping or number > LAST:
                feed.trouble("", ended=True)
                return
            if number in self._bad:
                yield False
            self.readers.append(threading.current_thread().name)
            item = self._make(number)
            feed.offer(number, lambda item=item: item)  # type: ignore[misc]
            yield True

    def interrupt(self) -> None:
        pass


def picture(number: int) -> Captured:
    return Frame(np.full((4, 4, 3), number, np.uint8), "bgr", 1.0, 1.0, number)


def stretch(number: int) -> Captured:
    return Samples(np.full((4, 1), number, np.float32), 10.0, 1.0, 1.0, number)


def feed_of(gives: Gives) -> Feed:
    return make_feed(SourcePlan("clip", "x", "x:Y", live=False, network=False, options={}, gives=gives, noisy=False))


@pytest.mark.parametrize(("gives", "make"), [("image", picture), ("samples", stretch)])
def test_everything_comes_once_and_in_order(gives: Gives, make: Callable[[int], Captured]) -> None:
    feed, capture = feed_of(gives), Noted(make, bad=(20,))
    cursor = feed.attach()
    feed.draw(cursor, alone=True)
    feed.start(capture)
    seen = [taken.number for _ in range(LAST) if (taken := feed.next(cursor, 10.0)) is not None]
    assert seen == list(range(1, LAST + 1))
    mine = threading.current_thread().name
    assert mine in capture.readers[:19]
    assert capture.readers[19] == "capture-clip"  # what went wrong waits for a while, and not in the pipeline
    eventually(lambda: feed.health().state == "ended", "the end")
    assert feed.next(cursor, 0.01) is None
    feed.close()


def test_a_second_pipeline_gets_everything_too() -> None:
    feed, capture = feed_of("image"), Noted(picture)
    first = feed.attach()
    feed.draw(first, alone=True)
    feed.start(capture)
    for _ in range(5):
        assert feed.next(first, 10.0) is not None
    second, seen = feed.attach(), list[int]()
    since = first.last

    def follow() -> None:
        while (taken := feed.next(second, 10.0)) is not None and taken.number < LAST:
            seen.append(taken.number)

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(since + 1, LAST + 1):
        taken = feed.next(first, 10.0)
        assert taken is not None
        assert taken.number == number
    thread.join(10.0)
    feed.close()
    assert seen == list(range(since + 1, LAST))
    assert first.dropped == second.dropped == 0


def test_it_ends_when_it_is_closed() -> None:
    feed, capture = feed_of("image"), Noted(picture)
    cursor = feed.attach()
    feed.draw(cursor, alone=True)
    feed.start(capture)
    for _ in range(5):
        feed.next(cursor, 10.0)
    feed.close()
    eventually(lambda: all(each.name != "capture-clip" for each in threading.enumerate()), "end of the thread")
