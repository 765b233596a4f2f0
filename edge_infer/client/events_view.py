"""The open events of each pipeline, which have begun and not ended, from the messages that a subscriber received."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final, TypeAlias

from edge_infer.contract.messages import Event

MAX_OPEN: Final = 256
"""Maximum number of open events that are kept for a pipeline; the oldest are forgotten first."""
MAX_OPEN_IN_ALL: Final = 32768
"""Maximum number of open events of all devices; the device with the most open events loses some first."""
_BEGINS: Final = {"appear": "object", "enter": "zone", "start": "label", "drift": "drift"}
_ENDS: Final = {"leave": "object", "exit": "zone", "end": "label", "drift_end": "drift"}
_Open: TypeAlias = OrderedDict[tuple[object, ...], Event]


class EventsView:
    """Pairs ends with begins, as `edge_infer.contract.messages.Event` defines them."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Open] = {}
        self._counts: Counter[str] = Counter()  # of the open events of each device
        self._all = 0

    def take(self, device: str, pipeline: str, event: Event) -> None:
        """Record an event; the open events of an earlier boot have ended."""
        known: _Open = self._open.pop((device, pipeline), OrderedDict())
        before = len(known)
        for key in [key for key, begun in known.items() if begun.boot != event.boot]:
            del known[key]
        subject = _BEGINS.get(event.type) or _ENDS.get(event.type)
        if subject is not None:  # a loiter or a crossing is one moment
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
        if known:
            self._open[device, pipeline] = known  # at the end, because it has just changed
        self._counted(device, len(known) - before)
        if self._all > MAX_OPEN_IN_ALL:
            self._forget_oldest()

    def of(self, device: str, pipeline: str) -> tuple[Event, ...]:
        """Return the open events of a pipeline, the oldest first."""
        return tuple(self._open.get((device, pipeline), OrderedDict()).values())

    def forget(self, device: str = "", pipeline: str = "") -> None:
        """Forget the open events of a pipeline, of a device, or of all."""
        for each in [each for each in self._open if device in ("", each[0]) and pipeline in ("", each[1])]:
            self._counted(each[0], -len(self._open.pop(each)))

    def _forget_oldest(self) -> None:
        """Forget the open events of the pipeline that changed longest ago, on the device with the most open events."""
        device = max(self._counts, key=self._counts.__getitem__)
        self.forget(*next(each for each in self._open if each[0] == device))

    def _counted(self, device: str, more: int) -> None:
        self._all += more
        self._counts[device] += more
        if not self._counts[device]:
            del self._counts[device]
