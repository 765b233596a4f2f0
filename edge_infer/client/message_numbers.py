"""Finds duplicates and gaps in the received sequence numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Final, Literal, NamedTuple

MOST_RANGES: Final = 64
"""Maximum number of remembered gaps of one series. Beyond it, the oldest gaps are no longer reported."""
MOST_BOOTS: Final = 8
"""Maximum number of remembered engine starts of one pipeline."""
MOST_SERIES: Final = 4096
"""Maximum number of remembered series. Beyond it, the device with the most series loses its oldest series."""


class Series(NamedTuple):
    """One sequence of numbers: messages of one kind, of one pipeline of one device, from one start of its engine."""

    device: str
    pipeline: str
    kind: Literal["result", "event"]
    boot: str


class NumberRanges:
    """The received numbers of one series, as ordered ranges, so that each number counts once."""

    def __init__(self, *, from_one: bool) -> None:
        """With ``from_one`` the series is known from number 1; otherwise from the first number that arrives."""
        self._starts: list[int] = [0] if from_one else []
        self._ends: list[int] = [0] if from_one else []

    def take(self, seq: int, skipped: int = 0) -> int | None:
        """Record a number; return None for a duplicate, else the count of missing numbers after the highest so far.

        The sender has skipped the ``skipped`` numbers before ``seq`` on purpose, so they are not missing.
        """
        missing = max(0, seq - 1 - self._ends[-1] - skipped) if self._ends else 0
        self._leave_out(seq, skipped)
        place = bisect_right(self._starts, seq)
        if place and seq <= self._ends[place - 1]:
            return None
        self._insert(place, seq)
        if len(self._starts) > MOST_RANGES:
            del self._starts[1], self._ends[0]
        return missing

    def gaps(self) -> list[tuple[int, int]]:
        """Return the first and last number of each gap."""
        return [(end + 1, start - 1) for end, start in zip(self._ends[:-1], self._starts[1:], strict=True)]

    def _leave_out(self, seq: int, skipped: int) -> None:
        """Mark at most ``skipped`` numbers before ``seq`` and above the highest so far as received."""
        if self._ends and (count := min(skipped, seq - 1 - self._ends[-1])) > 0:
            if seq - 1 - count > self._ends[-1]:
                self._starts.append(seq - count)
                self._ends.append(seq - 1)
            else:
                self._ends[-1] = seq - 1

    def _insert(self, place: int, seq: int) -> None:
        after = place < len(self._starts) and self._starts[place] == seq + 1
        if place and self._ends[place - 1] == seq - 1:
            self._ends[place - 1] = seq
            if after:
                del self._starts[place], self._ends[place - 1]
        elif after:
            self._starts[place] = seq
        else:
            self._starts.insert(place, seq)
            self._ends.insert(place, seq)


class ReceivedNumbers:
    """All series of all devices."""

    def __init__(self) -> None:
        self.repetitions = 0
        self._series: dict[Series, NumberRanges] = {}

    def take(self, series: Series, seq: int, *, replay: bool, skipped: int = 0) -> int | None:
        """Take a number like `NumberRanges.take`.

        If the first message of a boot arrives live, after another boot of the pipeline, the series is known from number
        1.
        """
        seen = self._series.get(series)
        if seen is None:
            others = [other for other in self._series if other[:3] == series[:3]]
            seen = self._series[series] = NumberRanges(from_one=bool(others) and not replay)
            if len(others) >= MOST_BOOTS:
                del self._series[others[0]]
            elif len(self._series) > MOST_SERIES:
                most, _ = Counter(each.device for each in self._series).most_common(1)[0]
                del self._series[next(each for each in self._series if each.device == most)]
        missing = seen.take(seq, skipped)
        self.repetitions += missing is None
        return missing

    def gaps(self) -> dict[Series, list[tuple[int, int]]]:
        """Return the current gaps of each series that has any."""
        return {series: gaps for series, seen in self._series.items() if (gaps := seen.gaps())}
