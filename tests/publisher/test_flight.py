"""How much is under way, over links of every kind."""

from __future__ import annotations

import heapq

import pytest

from edge_infer.publisher.mqtt.inflight_window import LEAST_WINDOW, MOST_WINDOW, QUEUE, RATE, WINDOW, InflightWindow


class Wire:
    """A link of ``rate`` bytes a second and ``latency`` seconds one way, over which a backlog of messages goes."""

    def __init__(self, rate: float, latency: float, size: int, most: int = 65535) -> None:
        self.rate, self.latency, self.size = rate, latency, size
        self.now = self._free = 0.0
        self.flight = InflightWindow(lambda: self.now)
        self.flight.begin(most)
        self._acks: list[tuple[float, float]] = []

    def run(self, seconds: float) -> tuple[float, float]:
        """Share of the link that is used, and the longest time that a message stands in front of it."""
        began, delivered, worst = self.now, 0, 0.0
        while self.now < began + seconds:
            while len(self._acks) < self.flight.window:
                self._free = max(self._free, self.now) + self.size / self.rate
                heapq.heappush(self._acks, (self._free + 2 * self.latency, self.now))
                worst = max(worst, self._free - self.now)
            full = len(self._acks) >= self.flight.window
            self.now, sent = heapq.heappop(self._acks)
            self.flight.acked(self.now - sent, full=full)
            delivered += 1
        return delivered * self.size / self.rate / seconds, worst


@pytest.mark.parametrize("size", [300, 750])
@pytest.mark.parametrize(("rate", "latency"), [(8000, 0.05), (8000, 1.0), (8000, 2.0), (4000, 1.0)])
def test_a_slow_link_is_filled_and_an_alarm_does_not_wait_long(rate: float, latency: float, size: int) -> None:
    wire = Wire(rate, latency, size)
    wire.run(120.0)
    used, worst = wire.run(120.0)
    assert used > 0.9 * min(1.0, RATE * size / rate)
    assert worst < 2 * QUEUE + latency + 4 * size / rate  # half a window too many, until that shows


def test_a_quick_link_needs_no_more_than_a_few() -> None:
    wire = Wire(1e6, 0.0005, 300)
    wire.run(10.0)
    assert wire.flight.window == WINDOW


def test_the_broker_says_how_many_it_takes() -> None:
    assert Wire(8000, 2.0, 300, most=3).flight.window == 3
    wire = Wire(1e6, 5.0, 300, most=100_000)
    wire.run(300.0)
    assert wire.flight.window == MOST_WINDOW


def test_another_way_that_is_longer_is_learned() -> None:
    wire = Wire(8000, 0.2, 300)
    wire.run(60.0)
    wire.latency = 2.0
    wire.run(300.0)
    used, _ = wire.run(60.0)
    assert used > 0.9


def test_one_that_waits_for_nothing_is_let_in() -> None:
    wire = Wire(100, 1.0, 1000)
    wire.run(300.0)
    assert wire.flight.window >= LEAST_WINDOW
