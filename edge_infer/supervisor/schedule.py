"""Which pipelines are inactive now: outside their hours, or paused by command."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import StoredRecord, at_most, between, decode_json, field, replace
from edge_infer.contract.messages import Name, timestamp
from edge_infer.errors import EdgeInferError, StartError, WireError
from edge_infer.plan.records import HoursPlan, Plan
from edge_infer.platform.clock import MADE, kernel_tag, synchronised, uptime
from edge_infer.platform.durable_files import keep_record
from edge_infer.platform.paths import content
from edge_infer.yamlfile.units import rough_duration

log = logging.getLogger(__name__)

FILE: Final = "paused.json"
SHORTEST_PAUSE: Final = 1.0
MOST_BYTES: Final = 1 << 20
MOST_SECONDS: Final = 1e11
"""Maximum of each number of seconds in the file. Added to the current time, such a number still gives a calendar
date."""
LOOK_EVERY: Final = 1.0
"""Seconds between two checks of the clock."""


SAVED_SHARE: Final = 0.1
"""Share of a pause's remaining time after which the daemon saves the remaining time again. This takes few writes, and a
pause ends even if the board reboots often."""
SHORTEST_SAVE, LONGEST_SAVE = 60.0, 3600.0


class Pause(StoredRecord, frozen=True):
    """Pause of a pipeline: the user who ordered it, and its end (no end: until a user resumes the pipeline).

    The end is not a time of day: boards without a battery start with a wrong time of day and correct it later.
    """

    by: Annotated[str, at_most(128)]
    until: Annotated[float, between(0.0, MOST_SECONDS)] | None = None
    """End in seconds since the epoch, only in files of earlier versions."""
    ends: Annotated[float, between(0.0, MOST_SECONDS)] | None = None
    """Time of the end, in seconds since boot (CLOCK_BOOTTIME). ``kernel`` identifies the boot (see `kernel_tag`)."""
    left: Annotated[float, between(0.0, MOST_SECONDS)] | None = None
    """Seconds from the writing of the file to the end of the pause. After a reboot, the pause lasts this long again."""
    kernel: Annotated[str, at_most(64)] = ""


class Pauses(StoredRecord, frozen=True):
    """The paused pipelines, kept over restarts. Unknown keys of a newer version do not end a pause."""

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
        clock: Callable[[], float] = uptime,
        kernel: Callable[[], str] = kernel_tag,
        says: Callable[[], bool | None] = synchronised,
    ) -> None:
        """``clock`` counts from the start of the ``kernel``. ``says`` returns whether a time service set the clock."""
        self._wall = wall
        self._local = local
        self._clock = clock
        self._kernel = kernel
        self._says = says
        self._state_dir: Path | None = None
        self._pauses = Pauses()
        self._looked: tuple[Plan | None, float] = (None, 0.0)
        self._found: dict[str, str] = {}
        self._unset = False
        self._save_at = math.inf
        self._unsaved = False

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
        if self._timed():
            self._advance()
            self._save()  # after a reboot, a second start must not begin the same remaining time again

    def close(self) -> None:
        """Save how long the pauses last, for a reboot."""
        if self._timed():
            self._save()

    def pause(self, plan: Plan, name: str, seconds: float | None, by: str) -> str:
        """Pause a pipeline; return the result in words. Raises `EdgeInferError`."""
        _check(plan, name)
        if seconds is not None and seconds < SHORTEST_PAUSE:
            raise EdgeInferError(f"a pause lasts at least {SHORTEST_PAUSE:g} s, not {seconds:g} s")
        before = self._pauses.pipelines.get(name)
        if before is not None and before.ends is None and before.until is None and seconds is None:
            return f"{name} is {self._paused(before)}"  # nothing would change
        pause = Pause(by[:128])
        if seconds is not None:
            pause = replace(pause, ends=self._clock() + seconds, left=seconds, kernel=self._kernel())
        self._keep(plan, {**self._pauses.pipelines, name: pause})
        log.info("pipeline %s: %s", name, self._paused(pause))
        return f"{name} is {self._paused(pause)}"

    def resume(self, plan: Plan, name: str, by: str) -> str:
        """End a pause; return the result as text. Raises `EdgeInferError` if the pipeline was not paused."""
        _check(plan, name)
        self._advance()
        if name not in self._pauses.pipelines:
            hint = "; active: in the configuration sets its hours" if name in self.inactive(plan) else ""
            raise EdgeInferError(f"{name} is not paused{hint}")
        self._keep(plan, {key: each for key, each in self._pauses.pipelines.items() if key != name})
        log.info("pipeline %s: resumed by %s", name, by)
        return f"{name} is {self.inactive(plan).get(name, 'active')}"

    def inactive(self, plan: Plan) -> Mapping[str, str]:
        """Return the inactive pipelines of a plan, each with a reason as text.

        A cascade is inactive if its parent is.
        """
        now = self._clock()
        if self._looked[0] is not plan or now - self._looked[1] >= LOOK_EVERY:
            self._looked = plan, now
            self._found = self._look(plan)
        return self._found

    def _look(self, plan: Plan) -> dict[str, str]:
        self._advance()
        if self._clock() >= self._save_at:
            self._save()
        wall = self._wall()
        found = {name: self._paused(pause) for name, pause in self._pauses.pipelines.items()}
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
            log.warning("the clock is not set, so pipelines with active hours run all the time until it is")
        self._unset = wall < MADE
        return not self._unset

    def _paused(self, pause: Pause) -> str:
        """Return a pause as text, with the time of day of its end only if the clock is right."""
        if pause.ends is None:
            return f"paused by {pause.by}"
        left, wall, said = max(0.0, pause.ends - self._clock()), self._wall(), self._says()
        if wall >= MADE and said is not False:
            return f"paused by {pause.by} until {timestamp(round(wall + left))}"
        return f"paused by {pause.by} for another {rough_duration(left)}"

    def _timed(self) -> list[Pause]:
        return [each for each in self._pauses.pipelines.values() if each != Pause(each.by)]

    def _advance(self) -> None:
        """Convert pauses of another boot or version to the clock of this boot; remove and log those that have ended."""
        now = self._clock()
        pauses = {name: self._in_this_boot(pause) for name, pause in self._pauses.pipelines.items()}
        ended = {name: pause for name, pause in pauses.items() if pause.ends is not None and pause.ends <= now}
        for name, pause in ended.items():
            log.info("pipeline %s: the pause by %s has ended", name, pause.by)
        self._pauses = Pauses({name: pause for name, pause in pauses.items() if name not in ended})
        if ended:
            self._save()

    def _in_this_boot(self, pause: Pause) -> Pause:
        """Return a pause with its end by the clock of this boot.

        A pause that an earlier version of edge-infer stored has its end in seconds since the epoch. It can be converted
        only after the clock is set.
        """
        now, wall = self._clock(), self._wall()
        if pause.until is not None and not wall < MADE <= pause.until:
            return Pause(pause.by, ends=now + pause.until - wall, kernel=self._kernel())
        if pause.ends is not None and pause.kernel != self._kernel():
            return replace(pause, ends=now + (pause.left or 0.0), kernel=self._kernel())
        return pause

    def _save(self) -> None:
        """Write the current pauses. If the disk cannot be written, pauses may last longer after a reboot."""
        try:
            self._write(self._pauses)
        except StartError as error:
            if not self._unsaved:
                log.warning("%s; after a reboot, pipelines may be paused for longer than requested", error)
            self._unsaved = True
        else:
            self._unsaved = False

    def _write(self, pauses: Pauses) -> None:
        now = self._clock()
        rests = [each.ends - now for each in pauses.pipelines.values() if each.ends is not None]
        wait = min(max(min(rests, default=math.inf) * SAVED_SHARE, SHORTEST_SAVE), LONGEST_SAVE)
        self._save_at = now + wait if rests else math.inf
        written = {
            name: pause if pause.ends is None else replace(pause, left=max(0.0, pause.ends - now))
            for name, pause in pauses.pipelines.items()
        }
        if self._state_dir is not None:
            keep_record(self._state_dir / FILE, Pauses(written))

    def _keep(self, plan: Plan, pauses: Mapping[str, Pause]) -> None:
        names = {each.name for each in plan.pipelines}
        kept = Pauses({name: pause for name, pause in pauses.items() if name in names})
        try:
            self._write(kept)
        except StartError as error:
            raise EdgeInferError(f"{error}; nothing was changed, because a restart would lose the change") from error
        self._pauses = kept
        self._looked = None, 0.0


def _below(plan: Plan, inactive: Iterable[str]) -> dict[str, str]:
    """Return the cascades of inactive pipelines, with the reasons. Without its parent, a cascade gets no crops."""
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
