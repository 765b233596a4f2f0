"""Pipeline states that the publisher sends while the engine cannot send any: null, with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import Reason, State, timestamp
from edge_infer.contract.topics import Place
from edge_infer.plan.records import Plan
from edge_infer.platform.clock import uptime
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.state.retained import Retained, Spoken
from edge_infer.publisher.timestamps import kept

NO_BOOT: Final = "000000"
"""Boot in messages that are sent before any engine has started."""
_NONE: Final[Mapping[Place, Spoken | None]] = {}


class States:
    """Keeps the retained state of every pipeline consistent with the configuration and the life cycle of the engine."""

    def __init__(
        self,
        retained: Retained,
        egress: Egress,
        uptime: Callable[[], float] = uptime,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retained = retained
        self._egress = egress
        self._uptime = uptime
        self._clock = clock
        self._null: dict[str, tuple[State, float]] = {}  # null states, and the time at which each was set
        self._pipelines: dict[str, Spoken] = {}
        self._boots: dict[str, str] = {}
        self.left: dict[str, Spoken] = {}
        """Constant parts of the states of removed pipelines whose topics may not be cleared yet."""
        self.boot = NO_BOOT

    def apply(self, plan: Plan, earlier: Mapping[Place, Spoken | None] = _NONE) -> None:
        """Set the states of new pipelines to ``starting`` and of removed ones to ``removed``; clear removed topics.

        This includes the topics that ``earlier`` processes left.
        """
        pipelines = {pipeline.name: Spoken.of(pipeline) for pipeline in plan.pipelines}
        known = {place.name: spoken for place, spoken in earlier.items() if spoken is not None}
        self.left = {
            name: spoken for name, spoken in {**known, **self.left, **self._pipelines}.items() if name not in pipelines
        }
        models = frozenset(plan.spoken_of())
        clearing = self._retained.clearing()
        for place in {*self._retained.places(), *earlier}:
            stays = pipelines if place.kind == "state" else models if place.kind == "model" else {place.name}
            if place.name not in stays and place not in clearing:
                self.remove(place)
        self._pipelines = pipelines
        self._boots = {name: boot for name, boot in self._boots.items() if name in pipelines}
        self._null = {name: said for name, said in self._null.items() if name in pipelines}
        for name in pipelines:
            if Place("state", name) not in self._retained:
                self._say(name, "starting")

    def remove(self, place: Place) -> None:
        """Clear a topic.

        A state is first set to ``removed``, because some subscribers cannot parse an empty message.
        """
        spoken = {**self.left, **self._pipelines}.get(place.name) if place.kind == "state" else None
        last = None if spoken is None else self._nothing(spoken, "removed")
        if last and (payload := self._egress.admit(place, last, self._uptime(), own=True)):
            self._retained.retire(place, kept(payload)[1])
        else:
            self._retained.set(place, b"")

    def update(self, pipeline: str, state: State, at: float | None = None) -> None:
        """Set a state that the engine sent, with its uptime. States of removed pipelines are ignored."""
        if pipeline in self._pipelines and self._set(pipeline, state, at):
            self.boot = self._boots[pipeline] = state.boot

    def again(self, age: float) -> None:
        """Send states again, with the current time, that have been null for ``age`` seconds.

        Without an engine nothing else repeats them. An engine repeats its own states, so this method never repeats a
        state of the engine.
        """
        due = self._clock() - age
        for name, (state, at) in list(self._null.items()):
            if at <= due:
                self._set(name, _lasting(state, state.since), self._uptime(), own=True)

    def all_null(self, reason: Reason, boot: str | None = None) -> None:
        """Set all states to null, because the engine's states no longer hold.

        With ``boot``, states of other boots stay: a later engine has sent them.
        """
        for name in self._pipelines:
            if boot is None or self._boots.get(name, boot) == boot:
                self._say(name, reason)

    def _say(self, name: str, reason: Reason) -> None:
        state = self._nothing(self._pipelines[name], reason)
        before, _ = self._null.get(name, (state, 0.0))
        if before.reason == reason:
            state = _lasting(state, before.since)
        self._set(name, state, self._uptime())

    def _set(self, name: str, state: State, at: float | None, *, own: bool = False) -> bool:
        """Set a state; return whether the egress guard admitted it. ``own``: it was admitted before."""
        payload = self._egress.admit(Place("state", name), state, at, own=own)
        if payload is None:
            return False
        self._retained.set(Place("state", name), payload)
        self._null.pop(name, None)
        if state.reason is not ABSENT:
            self._null[name] = state, self._clock()
        return True

    def _nothing(self, of: Spoken, reason: Reason) -> State:
        nothing: dict[str, Any] = {of.key: None}
        now = timestamp(time.time())
        return State(1, now, self.boot, of.model, of.sha, now, **nothing, reason=reason)


def _lasting(state: State, since: str | Absent) -> State:
    """Return the state as of now.

    If the clock was ahead at the start of the state and was set since, the state starts now.
    """
    now = timestamp(time.time())
    return replace(state, ts=now, since=since if since is ABSENT else min(since, now))
