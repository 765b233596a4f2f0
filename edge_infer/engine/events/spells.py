"""Spells: periods during which a label of a whole frame, or an anomaly, holds.

Each spell has a start event and an end event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_infer.engine.events.event_ledger import EventLedger, Happening, Key
from edge_infer.frames.frame import BELIEVED, ROUNDING, Instant
from edge_infer.plan.records import EventsPlan


@dataclass(slots=True)
class _Spell:
    """Spell of one label: its start, the time since which its score is low, its best score, whether its event began."""

    since: Instant
    best: float
    falling: Instant | None = None
    begun: bool = False


class Spells:
    """Spells of all labels.

    A spell starts above the threshold and ends below ``low``, each after a minimum duration.
    """

    def __init__(
        self,
        plan: EventsPlan,
        ledger: EventLedger,
        threshold: float,
        low: float,
        *,
        number: int | None = None,
    ) -> None:
        """Start without spells. ``number`` is the id of the object that the labels describe; None: the whole frame."""
        self._number = number
        self._least = plan.min_duration
        self._ledger = ledger
        self._threshold, self._low = threshold, low
        self._below = f"below the threshold of {threshold:g}"
        self._spells: dict[str | None, _Spell] = {}
        self._moment = 0.0

    def __call__(self, scores: Mapping[str | None, float], now: Instant, covers: float = 0.0) -> tuple[Happening, ...]:
        """Process one frame. ``scores`` has an entry for each label that the model found in it.

        For a window of a signal, ``covers`` is its length in seconds before ``now``.
        """
        self._moment = now.moment
        told: list[Happening] = []
        for label in [*scores, *(label for label in self._spells if label not in scores)]:
            told += self._see(label, scores.get(label, 0.0), now, covers)
        return tuple(told)

    @property
    def unsettled(self) -> bool:
        """Whether a start or an end is pending. A pending start or end counts for at most `BELIEVED` seconds."""
        pending = [spell.falling or spell.since for spell in self._spells.values() if spell.falling or not spell.begun]
        return any(self._moment - since.moment < BELIEVED for since in pending)

    def gone(self, now: Instant) -> tuple[Happening, ...]:
        """End all spells, because their object is gone."""
        ended = [end for label in self._spells for end in self._end(label, now)]
        self._spells.clear()
        return tuple(ended)

    def forget(self) -> None:
        """Drop all spells without an end event."""
        self._spells.clear()

    def _see(self, label: str | None, score: float, now: Instant, covers: float) -> tuple[Happening, ...]:
        spell = self._spells.get(label)
        if spell is None:
            if score < self._threshold:
                if score >= self._low:
                    self._ledger.decisions.note(now.wall, label, score, "below", self._below)
                return ()
            start = Instant(now.moment - covers, now.wall - covers)
            spell = self._spells[label] = _Spell(start, score)
        elif not spell.begun and score < self._threshold:
            del self._spells[label]
            lasted = now.moment - spell.since.moment
            text = f"too short: {lasted:.1f} s, events.min_duration is {self._least:g} s"
            self._ledger.decisions.note(now.wall, label, spell.best, "short", text)
            return ()
        spell.best = max(spell.best, score)
        if not spell.begun:
            return self._begin(label, spell, now)
        if score >= self._low:
            spell.falling = None
            return ()
        spell.falling = spell.falling or now
        if now.moment - spell.falling.moment < self._least - ROUNDING:
            return ()
        del self._spells[label]
        return self._end(label, now)

    def _begin(self, label: str | None, spell: _Spell, now: Instant) -> tuple[Happening, ...]:
        if now.moment - spell.since.moment < self._least - ROUNDING:
            return ()
        spell.begun = True
        what = Happening("start", now, spell.since, label=label, number=self._number, score=spell.best)
        return self._ledger.begin(self._key(label), what, spell)

    def _end(self, label: str | None, now: Instant) -> tuple[Happening, ...]:
        return self._ledger.end(self._key(label), now)

    def _key(self, label: str | None) -> Key:
        return "start", label, None if self._number is None else f"#{self._number}"
