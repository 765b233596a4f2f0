"""Crash loops of the engine: pipelines suspected of causing them, and their quarantine."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import timestamp
from edge_infer.errors import quoted, shortened
from edge_infer.plan.device_limits import MAX_NAMED
from edge_infer.plan.records import PipelinePlan, Plan

CRASH_LOOP_DEATHS: Final = 3
CRASH_LOOP_SECONDS: Final = 60.0
"""A crash loop is `CRASH_LOOP_DEATHS` deaths of the engine within `CRASH_LOOP_SECONDS` seconds."""


@dataclass(frozen=True, slots=True)
class EngineDeath:
    """A death of the engine: a description in the form of `told_death`, and the pipelines that were busy.

    If the engine was killed because some pipelines were stuck, ``busy`` names only these. ``others`` is then true if
    further pipelines were at work, which may have taken the processor from the stuck ones. It is also true for a crash
    loop with no busy pipeline that is common to its deaths.

    ``fell``: the engine crashed, hung, or took too much memory, so its death counts against these pipelines. Other
    kills do not count. ``memory``: the kernel killed the engine for lack of memory, or may have done so.
    """

    how: str
    busy: frozenset[str]
    fell: bool
    memory: bool = False
    others: bool = False


_FORMS: Final = (
    (r"engine ended with (exit code [0-9]{{1,3}})", r"engine ended by itself («\1»)"),
    (r"engine was killed by SIG(?:SEGV|ABRT|BUS|ILL|FPE|SYS|TRAP|TERM)", r"\g<0>"),
    (r"engine was killed by SIGKILL(?: \((?:if nobody sent it|by the kernel), [^()«»]*\))?", r"\g<0>"),
    (r"engine (sent no heartbeat) for [0-9]+ s (and was killed)", r"engine \1 \2"),
    (r"engine sends an invalid record(?: \(«[^«»]*»\))? and was killed", r"\g<0>"),
    (r"engine sends more than [0-9]+ (?:records|bytes) a second and was killed", r"\g<0>"),
    (r"engine is stuck in (?:{names}|a pipeline) and was killed", r"\g<0>"),
    (r"engine has been loading {names} for [0-9]+ s and was killed", r"\g<0>"),
    (r"engine has computed one frame of {names} for more than [0-9]+\.[0-9] s and was killed", r"\g<0>"),
)
"""Known descriptions of a death, each with the form in which it becomes a reason that leaves the device."""


def told_death(text: str, names: Iterable[str]) -> str:
    """Return the description of a death, with quotation marks around every part that the engine may have chosen.

    ``names`` are the pipelines of the plan. A description of an unknown form gets quotation marks as a whole.
    """
    name = "|".join(map(re.escape, names)) or "(?!)"
    listed = rf"(?:{name})(?:, (?:{name})){{0,{MAX_NAMED - 1}}}(?: and others)?"
    for form, told in _FORMS:
        if found := re.fullmatch(form.format(names=listed), text):
            return found.expand(told)
    return f"engine ended ({quoted(text)})"


def named(names: Sequence[str]) -> str:
    """Return a list of names; of many, only the first."""
    return f"{', '.join(names[:MAX_NAMED])}{' and others' if len(names) > MAX_NAMED else ''}"


class CrashLoopDetector:
    """The last deaths of the engine, with times of the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: deque[tuple[float, EngineDeath]] = deque(maxlen=CRASH_LOOP_DEATHS)

    def add(self, death: EngineDeath) -> EngineDeath | None:
        """Add a death; return the deaths as one if they now form a crash loop, otherwise None.

        In the result, ``busy`` names the pipelines that were busy at every death. If there are none, and the engine
        fell each time, any pipeline that was busy at one death may be the cause, so ``busy`` names all of these. A kill
        from outside or for lack of memory is no evidence against a pipeline, so ``busy`` then stays empty.
        """
        self._last.append((self._clock(), death))
        if len(self._last) < CRASH_LOOP_DEATHS or self._last[-1][0] - self._last[0][0] > CRASH_LOOP_SECONDS:
            return None
        deaths = [each for _, each in self._last]
        busy_each = [each.busy for each in deaths]
        busy, fell = frozenset.intersection(*busy_each), all(each.fell for each in deaths)
        memory, others = any(each.memory for each in deaths), any(each.others for each in deaths)
        if not busy and fell and not memory:
            busy, others = frozenset.union(*busy_each), True
        how = f"{death.how}, {CRASH_LOOP_DEATHS} times within {CRASH_LOOP_SECONDS:.0f} s"
        return EngineDeath(how, busy, fell, memory, others)

    def clear(self) -> None:
        """Forget the deaths, because their cause has been dealt with."""
        self._last.clear()


# Quarantine of pipelines that crashed the engine and had no fallback, or that were one of several suspects: paused with
# growing back-off.
#
# The other pipelines keep running. A pipeline that runs again is on parole: the next death of the engine while it is
# busy puts it into quarantine for longer. If the engine dies while one of several suspects is in quarantine, this
# suspect was not the cause and is cleared. A quarantine applies to one model; a replaced model starts afresh.

Standing = Literal["sole", "suspect", "cleared"]
"""Whether a pipeline is the only possible cause of crashes, one of several, or was cleared of the suspicion."""
FIRST_QUARANTINE_SECONDS: Final = 60.0
MAX_QUARANTINE_SECONDS: Final = 1800.0
"""Maximum seconds of a quarantine. `FIRST_QUARANTINE_SECONDS` is the first duration."""
PAROLE_SECONDS: Final = 600.0
"""Seconds without a crash after which a pipeline is no longer on parole."""


@dataclass(frozen=True, slots=True)
class _Hold:
    sha: str
    reason: str
    pause: float
    until: float
    standing: Standing


class PipelineQuarantine:
    """The pipelines in quarantine, with the reasons. Times are of the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[str, _Hold] = {}

    def hold(self, pipelines: Iterable[PipelinePlan], how: str, standing: Standing = "sole") -> None:
        """Put the pipelines into quarantine; ``how`` describes the death of the engine."""
        now = self._clock()
        for pipeline in pipelines:
            before = self._by_name.get(pipeline.name)
            pause = min(before.pause * 2, MAX_QUARANTINE_SECONDS) if before is not None else FIRST_QUARANTINE_SECONDS
            again = timestamp(time.time() + pause)
            if before is not None and before.standing == "sole":
                standing = "sole"
            reason = f"the {how} while {pipeline.name} was at work; it is tried again at {again}"
            reason = shortened(reason)
            self._by_name[pipeline.name] = _Hold(pipeline.model.identity, reason, pause, now + pause, standing)

    def free(self, pipelines: Iterable[str]) -> bool:
        """Release the pipelines at once; return whether one of them was in quarantine."""
        now = self._clock()
        held = [name for name in pipelines if name in self._by_name and now < self._by_name[name].until]
        for name in held:
            del self._by_name[name]
        return bool(held)

    def held(self, plan: Plan) -> Mapping[str, str]:
        """Return the pipelines of the plan that are in quarantine, with the reasons.

        Entries are removed if their pipeline runs another model now or if their parole is over.
        """
        now, shas = self._clock(), {each.name: each.model.identity for each in plan.pipelines}
        self._by_name = {
            name: hold
            for name, hold in self._by_name.items()
            if shas.get(name) == hold.sha and now < hold.until + PAROLE_SECONDS
        }
        return {name: hold.reason for name, hold in self._by_name.items() if now < hold.until}

    def on_parole(self, plan: Plan) -> frozenset[str]:
        """Return the pipelines that run again after a quarantine and are on parole."""
        held = self.held(plan)
        return self._uncleared(self._by_name.keys() - held.keys())

    def relapsed(self, death: EngineDeath, plan: Plan) -> frozenset[str]:
        """Return the busy pipelines on parole, which are the suspects of a death of the engine.

        If some of them were once the sole suspect, return only these. The suspects that are in quarantine are cleared,
        because the engine died without them.
        """
        if not death.fell:
            return frozenset()
        for name in self.held(plan):
            if self._by_name[name].standing == "suspect":
                self._by_name[name] = replace(self._by_name[name], standing="cleared")
        busy = death.busy & self.on_parole(plan)
        return frozenset(name for name in busy if self._by_name[name].standing == "sole") or busy

    def suspects(self, names: frozenset[str]) -> frozenset[str]:
        """Return the suspects of a crash loop that were not cleared. If all were cleared, return them all."""
        return self._uncleared(names) or names

    def _uncleared(self, names: Iterable[str]) -> frozenset[str]:
        cleared = {name for name, hold in self._by_name.items() if hold.standing == "cleared"}
        return frozenset(names) - cleared
