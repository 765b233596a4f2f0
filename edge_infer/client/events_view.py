"""The events of each pipeline that have begun and not ended, as a subscriber knows them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from edge_infer.contract.messages import Event

MAX_OPEN: Final = 256
"""Open events kept of a pipeline; the oldest are forgotten first."""
_BEGINS: Final = {"appear": "object", "enter": "zone", "start": "label", "drift": "drift"}
_ENDS: Final = {"leave": "object", "exit": "zone", "end": "label", "drift_end": "drift"}


class EventsView:
    """Pairs ends with begins, as `edge_infer.contract.messages.Event` defines them."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], OrderedDict[tuple[object, ...], Event]] = {}

    def take(self, device: str, pipeline: str, event: Event) -> None:
        """Record an event; those of an earlier boot are over."""
        known = self._open.setdefault((device, pipeline), OrderedDict())
        for key in [key for key, begun in known.items() if begun.boot != event.boot]:
            del known[key]
        subject = _BEGINS.get(event.type) or _ENDS.get(event.type)
        if subject is None:
            return  # a loiter or a crossing is one moment
        keys = {
            "object": (event.id,),
            "zone": (event.id, event.zone),
            "label": (None, event.label),
            "drift": (None, event.kind),
        }
        key = keys[subject]
        known.pop((subject, *key), None)
        if event.type in _BEGINS:
            known[(subject, *key)] = event
            if len(known) > MAX_OPEN:
                known.popitem(last=False)

    def of(self, device: str, pipeline: str) -> tuple[Event, ...]:
        """Return the open events of a pipeline, the oldest first."""
        return tuple(self._open.get((device, pipeline), OrderedDict()).values())

    def forget(self, device: str = "", pipeline: str = "") -> None:
        """Forget the open events of a pipeline, of a device, or of all."""
        for each in [each for each in self._open if device in ("", each[0]) and pipeline in ("", each[1])]:
            del self._open[each]
