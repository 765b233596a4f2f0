"""Which pipelines are inactive now: outside their hours, or paused by command."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most, decode_json, field, replace
from edge_infer.contract.messages import Name, timestamp
from edge_infer.errors import EdgeInferError, StartError, WireError
from edge_infer.plan.records import HoursPlan, Plan
from edge_infer.platform.clock import MADE
from edge_infer.platform.durable_files import keep_record
from edge_infer.platform.paths import content

log = logging.getLogger(__name__)

FILE: Final = "paused.json"
SHORTEST_PAUSE: Final = 1.0
MOST_BYTES: Final = 1 << 20
LOOK_EVERY: Final = 1.0
"""Seconds between two checks of the clock."""


class Pause(Record, frozen=True):
    """Pause of a pipeline: who ordered it, and its end in seconds since the epoch (None: until it is resumed)."""

    by: Annotated[str, at_most(128)]
    until: float | None = None


class Pauses(Record, frozen=True):
    """The paused pipelines, kept over restarts."""

    pipelines: Annotated[Mapping[Name, Pause], at_most(512)] = field(default_factory=dict)


def covers(hours: HoursPlan, now: time.struct_time) -> bool:
    """Return whether a local time is within these hours. Hours across midnight belong to the day on which they begin.

    The local clock time counts. So an hour that a change of summer time repeats counts both times, and an hour that it
    skips does not occur.
    """
    minute = now.tm_hour * 60 + now.tm_min
    if hours.start < hours.end:
        return now.tm_wday in hours.days and hours.start <= minute < hours.end
    yesterday = (now.tm_wday - 1) % 7
    return (now.tm_wday in hours.days and minute >= hours.start) or (yesterday in hours.days and minute < hours.end)


class PipelineSchedule:
    """Evaluates the hours of a plan, and keeps the pauses that users asked for."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        local: Callable[[float], time.struct_time] = time.localtime,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._local = local
        self._clock = clock
        self._state_dir: Path | None = None
        self._pauses = Pauses()
        self._looked: tuple[Plan | None, float] = (None, 0.0)
        self._found: dict[str, str] = {}
        self._unset = False

    def open(self, state_dir: Path) -> None:
        """Read the pauses from the disk."""
        self._state_dir = state_dir
        try:
            if data := content(state_dir / FILE, MOST_BYTES):
                self._pauses = decode_json(Pauses, data)
        except FileNotFoundError:
            pass
        except (OSError, WireError) as error:
            log.warning("cannot read the pauses in %s, so no pipeline is paused: %s", state_dir / FILE, error)

    def pause(self, plan: Plan, name: str, seconds: float | None, by: str) -> str:
        """Pause a pipeline; return the result in words. Raises `EdgeInferError`."""
        _check(plan, name)
        if seconds is not None and seconds < SHORTEST_PAUSE:
            raise EdgeInferError(f"a pause lasts at least {SHORTEST_PAUSE:g} s, not {seconds:g} s")
        before = self._pauses.pipelines.get(name)
        if before is not None and before.until is None and seconds is None:  # nothing would change
            return f"{name} is {_paused(before)}"
        pause = Pause(by[:128], None if seconds is None else self._wall() + seconds)
        self._keep(plan, {**self._pauses.pipelines, name: pause})
        log.info("pipeline %s: paused by %s", name, by)
        return f"{name} is {_paused(pause)}"

    def resume(self, plan: Plan, name: str, by: str) -> str:
        """End a pause; return the result in words. Raises `EdgeInferError` if the pipeline was not paused."""
        _check(plan, name)
        if name not in self._pauses.pipelines:
            hint = "; active: in the configuration sets its hours" if name in self.inactive(plan) else ""
            raise EdgeInferError(f"{name} is not paused{hint}")
        self._keep(plan, {key: each for key, each in self._pauses.pipelines.items() if key != name})
        log.info("pipeline %s: resumed by %s", name, by)
        return f"{name} is {self.inactive(plan).get(name, 'active')}"

    def inactive(self, plan: Plan) -> Mapping[str, str]:
        """Return the inactive pipelines of a plan, each with a reason as text. A cascade follows its parent."""
        now = self._clock()
        if self._looked[0] is not plan or now - self._looked[1] >= LOOK_EVERY:
            self._looked = plan, now
            self._found = self._look(plan)
        return self._found

    def _look(self, plan: Plan) -> dict[str, str]:
        wall = self._wall()
        found = {
            name: _paused(pause)
            for name, pause in self._pauses.pipelines.items()
            if pause.until is None or wall < pause.until
        }
        scheduled = [each for each in plan.pipelines if each.active]
        if scheduled and self._known(wall):
            time.tzset()  # the operator may have set another time zone
            now = self._local(wall)
            for each in scheduled:
                if not any(covers(hours, now) for hours in each.active):
                    found.setdefault(each.name, "outside its active hours")
        names = {each.name for each in plan.pipelines}
        found = {name: reason for name, reason in found.items() if name in names}
        return {**found, **_below(plan, found)}

    def _known(self, wall: float) -> bool:
        """Return whether the clock shows a plausible time. Until it does, hours do not apply."""
        if wall < MADE and not self._unset:
            log.warning("the clock is not set, so pipelines with active hours run until it is")
        self._unset = wall < MADE
        return not self._unset

    def _keep(self, plan: Plan, pauses: Mapping[str, Pause]) -> None:
        names, wall = {each.name for each in plan.pipelines}, self._wall()
        kept = {
            name: pause
            for name, pause in pauses.items()
            if name in names and (pause.until is None or wall < pause.until)
        }
        try:
            if self._state_dir is not None:
                keep_record(self._state_dir / FILE, Pauses(kept))
        except StartError as error:
            raise EdgeInferError(f"{error}; nothing was changed, because a restart would lose the change") from error
        self._pauses = replace(self._pauses, pipelines=kept)
        self._looked = None, 0.0


def _below(plan: Plan, inactive: Iterable[str]) -> dict[str, str]:
    """Return the cascades of inactive pipelines: without the parent they get no crops."""
    parents = [each for each in plan.pipelines if each.name in inactive]
    return {
        each.name: f"a cascade of {parent.name}, which is inactive"
        for parent in parents
        for each in plan.below(parent)
        if each.name not in inactive
    }


def _check(plan: Plan, name: str) -> None:
    names = [each.name for each in plan.pipelines]
    if name in names:
        return
    from edge_infer.yamlfile.error_text import suggestion  # a module to compare words, not needed elsewhere

    raise EdgeInferError(f"there is no pipeline {name!r}; {suggestion(name, names)}")


def _paused(pause: Pause) -> str:
    until = "" if pause.until is None else f" until {timestamp(pause.until)}"
    return f"paused by {pause.by}{until}"
