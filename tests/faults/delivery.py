"""Everything that faults do to delivery, one part after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.backlog import drain, long_outage, slow_link
from tests.faults.figure import Figure
from tests.faults.online import returns, writes
from tests.faults.outbox_cuts import age_of_loss, power_cuts
from tests.faults.rates import inference
from tests.faults.storm import storm


@dataclass(frozen=True, slots=True)
class Part:
    """A fault, how long it takes in full on a quiet machine, and what makes it in a folder."""

    name: str
    minutes: float
    make: Callable[[Path], list[Figure]]


def parts(share: float) -> tuple[Part, ...]:
    """All parts; ``share`` of the full numbers.

    Rates need a least number: a link first carries some seconds of round trips, and a start writes what later only
    changes, such as the reserved space.
    """

    def full(number: int, least: int = 1) -> int:
        return max(least, round(number * share))

    return (
        Part("power cuts", 2, lambda place: power_cuts(place, full(1000, 20))),
        Part("age of what a cut takes", 1, lambda place: age_of_loss(place, full(20, 3), full(1000, 20))),
        Part("long outage", 1, lambda place: long_outage(place, full(72 * 3600, 3000), full(32 << 20, 1 << 20))),
        Part("drain", 5, lambda place: drain(place, full(86400, 500))),
        Part("slow link", 2, lambda place: slow_link(place, full(600, 150))),
        Part("writes", 10, lambda place: writes(place, full(600, 300))),
        Part("returns", 4, lambda place: returns(place, full(20))),
        Part("inference", 4, lambda place: inference(place, max(3.0, 10 * share), full(6))),
        Part("storm", 25, lambda place: storm(place, full(204, 4), full(51))),
    )


def everything(folder: Path, share: float, only: str | None, say: Callable[[str], object]) -> Iterator[Figure]:
    """The figures of every part, or of the one called ``only``; ``say`` hears what is going on meanwhile."""
    chosen = [part for part in parts(share) if only in (None, part.name)]
    for number, part in enumerate(chosen, 1):
        began = time.monotonic()
        say(f"[{number}/{len(chosen)}] {part.name}: about {max(1, round(part.minutes * share))} min")
        yield from part.make(folder / part.name.replace(" ", "-"))
        say(f"[{number}/{len(chosen)}] {part.name}: took {time.monotonic() - began:.0f} s")
