"""The configuration reload: each version of the file is applied or rejected as a whole."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import encode, replace
from edge_infer.contract.messages import ConfigStatus, timestamp
from edge_infer.errors import ConfigError, EdgeInferError, StartError, shortened
from edge_infer.models.packages.blob_store import BLOBS, collect
from edge_infer.models.serving_record import is_unproven, mark_proven, mark_unproven, remember, remembered
from edge_infer.plan.files import files_of, files_of_pipelines
from edge_infer.plan.records import Compiled, Plan, Problem
from edge_infer.platform.event_loop import readable
from edge_infer.platform.logs import printable
from edge_infer.platform.paths import hinted
from edge_infer.platform.state_owner import foreign_entry
from edge_infer.supervisor.control.peer import ChangeLimit
from edge_infer.supervisor.control.server import Request
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.redaction import published
from edge_infer.supervisor.reload.compilation import NAME, Compilation, ProblemLog, failed, moved, unchanged
from edge_infer.supervisor.reload.watch import RESTLESS, ConfigWatcher, LackingFiles, is_missing
from edge_infer.supervisor.rollout.rollout import ModelRollout
from edge_infer.supervisor.signals import Signals
from edge_infer.supervisor.statedir import require_free, tidy_publisher, tidy_trials

log = logging.getLogger(__name__)


def tidy(state_dir: Path, swap: ModelRollout) -> bool:
    """Remove unreferenced model copies and foreign files; call it between two readings, because a reading makes copies.

    It keeps the models of the running, previous, wanted and stored plans, and of the serving record (fallbacks
    included). Return whether some of these files are left for another call.
    """
    plans = [plan for plan in (swap.plan, swap.before, swap.wanted, remembered(state_dir)) if plan is not None]
    needed = [path for plan in plans for path in files_of_pipelines(plan.pipelines)]
    needed += [path for model in swap.record.models() for path in files_of(model)]
    left = [tidy_trials(state_dir), tidy_publisher(state_dir), collect(state_dir / BLOBS, needed)]
    return any(left)


MOST_ERRORS: Final = 100
MOST_WAITING: Final = 32
FIRST_TRIES: Final = 3
"""Maximum number of readings at the start, if the file changes while it is read."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Back-off in seconds after a failure that was caused by this machine, such as a lack of memory."""
LONGEST_UNREAD_PAUSE: Final = 600.0
"""Maximum of this back-off in seconds if the file could not be read: perhaps its text makes the reading process die."""
FIRST_READING: Final = 10.0
"""Maximum seconds until the daemon reads the file if it started with a stored plan. It reads the file earlier once all
models are loaded."""
NEVER_STILL: Final = f"it has been changing for {RESTLESS:g} s or more; the daemon reads it as soon as it is stable"
UNREACHABLE: Final = "the daemon may not enter a folder of its path any more; chmod a+x that folder"
GONE: Final = "the file does not exist any more; put it back, or the next start uses the last applied configuration"
TIDY_PAUSE: Final = 1.0
"""Seconds until tidying continues if there are more entries than one call removes."""
AHEAD_SECONDS: Final = 10.0
"""Seconds for which a process that was started ahead waits for a stable file."""
DRAWING_SECONDS: Final = 60.0
"""Seconds for which a process that was started ahead waits while a user draws."""
PROVEN_AFTER: Final = 30.0
"""Seconds until an applied plan counts as proven, if the processes then work with it. A proven plan makes no start
fail."""
DISK_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


class Reload:
    """Reads the file in a child; the active configuration changes only if the whole file is valid."""

    def __init__(
        self,
        config: Path,
        house: ProcessSupervisor,
        swap: ModelRollout,
        end_left_behind: Callable[[], None],
        limit: ChangeLimit,
    ) -> None:
        """``end_left_behind`` ends the processes that a reading has left behind."""
        self.plan: Plan | None = None
        self.status: ConfigStatus | None = None
        self._config = config
        self._house = house
        self._swap = swap
        self._end_left_behind = end_left_behind
        self._limit = limit
        self._watch = ConfigWatcher(config)
        self._lacking = LackingFiles()
        self._output = Output(NAME)
        self._problem_log = ProblemLog()
        self._compilation: Compilation | None = None
        self._ahead: Compilation | None = None
        self._ahead_until = 0.0
        self._again = False
        self._pause = 0.0
        self._retry_at = math.inf
        self._tidy_at = math.inf
        self._owed: Plan | None = None  # applied, but not stored yet
        self._owed_at = math.inf
        self._proven_at = math.inf  # when the applied plan may count as proven; infinite once it does
        self._waiting: list[Request] = []
        self._later: list[Request] = []

    def read_first(self, signals: Signals) -> tuple[Plan, Compiled | None] | None:
        """Return the plan to start with and the outcome of the reading; None if a signal stops the daemon.

        For an invalid file, the plan is the last applied one. For an unchanged file, the plan is the stored one and the
        outcome None: the file is read later, unless the daemon died before the plan counted as proven. Raises
        `ConfigError` if there is no plan at all, or `StartError` if all errors have causes outside the file.
        """
        self._watch.reading()
        state_dir = hinted(self._config.absolute())
        require_free(state_dir)
        if (foreign := foreign_entry(state_dir)) is not None:
            if foreign.fatal:
                raise StartError(str(foreign))
            log.warning("%s", foreign)
        if is_unproven(state_dir):
            log.warning(
                "the daemon died before the last applied configuration had proved to work; reading %s first",
                self._config,
            )
        elif (plan := unchanged(self._config, state_dir)) is not None:
            log.info("%s is unchanged; starting the last applied configuration", self._config)
            return plan, None
        for _ in range(FIRST_TRIES):
            compiled = self._compile_first(signals)
            if compiled is None:
                return None
            if not self._watch.moved(compiled.seen):
                break
        assert compiled is not None
        if compiled.plan is not None:
            return compiled.plan, compiled
        plan = remembered(hinted(self._config))
        if plan is not None:
            return plan, compiled
        self._problem_log.write(logging.ERROR, compiled.problems)
        failure = StartError if all(problem.outside for problem in compiled.problems) else ConfigError
        raise failure(f"{self._config} cannot be used, and there is no earlier configuration that was applied here")

    def _compile_first(self, signals: Signals) -> Compiled | None:
        """Compile the file and return the outcome; None if a signal stopped the daemon."""
        self._watch.reading()
        compilation = Compilation(self._config, output=self._output)
        while (compiled := compilation.finished()) is None:
            readable([compilation.fileno(), signals.fileno()], timeout=1.0)
            signals.drain()
            if signals.stop:
                compilation.close()
                return None
        self._end_left_behind()
        return compiled

    def start(self, plan: Plan, compiled: Compiled | None) -> None:
        """Apply the first plan. An unchanged file is read later, so that no model is tried while others are loaded."""
        if compiled is None:
            self.plan = plan
            self._swap.apply(plan)
            self._retry_at = time.monotonic() + FIRST_READING
            return
        self._swap.record_reading(compiled)
        if compiled.plan is None:
            self._reject(compiled.digest or plan.digest, compiled.problems)
            self._lacking.expect(compiled.lacking)
            self._try_again(machine=compiled.machine, unread=compiled.unread)
            log.error("%s is REJECTED; running the last applied configuration instead", self._config)
            self.plan = plan
            self._swap.apply(plan, "previous configuration")
        else:
            self._remember(plan, starting=True)
            self._apply(compiled, plan)
        self._tidy()

    def begin(self, request: Request | None = None) -> None:
        """Read the file now, or once more after the current reading; the requester gets the outcome."""
        reading = self._compilation is not None
        if request is not None and (why := self._too_many(request)):
            request.answer({"error": why})
            return
        if request is not None and len(self._waiting) + len(self._later) >= MOST_WAITING:
            request.answer({"error": f"{MOST_WAITING} requests wait for a reload already; try again in a moment"})
        elif request is not None:
            (self._later if reading else self._waiting).append(request)
        if reading:
            self._again = True
        else:
            self._read()

    def _too_many(self, request: Request) -> str:
        """Return the reason why this user may not reload now; empty if the user may.

        Root has no limit: the page's process may name root as its user, and could otherwise use up the limit of root.
        """
        try:
            if request.peer.uid != 0:
                self._limit.count(request.peer.uid)
        except EdgeInferError as error:
            return str(error)
        return ""

    def look(self) -> None:
        """Read the file if it has changed and is stable, or if it is time for a retry."""
        now = time.monotonic()
        if self._owed is not None and now >= self._owed_at:
            self._remember(self._owed, starting=False)
        if self._compilation is not None:
            return
        if now >= self._tidy_at:
            self._tidy()
        changed = self._watch.changed()
        self._look_ahead(now)
        if changed:
            log.info("%s has changed", self._config)
            self._read()
        elif self._watch.gone():
            self._decide(failed(self._config, GONE if is_missing(self._config) else UNREACHABLE))
        elif self._watch.unstable():
            self._decide(failed(self._config, NEVER_STILL))
        elif self._lacking.mended():
            log.info("a file that %s names has changed", self._config)
            self._read()
        elif now >= self._retry_at or (self.status is None and self._runs()):
            self._read()

    def expect_edit(self) -> None:
        """Start the process that reads the next edit, because a user draws: it has loaded its modules at the save."""
        if self._compilation is None and self._ahead is None:
            self._start_ahead()
        self._ahead_until = time.monotonic() + DRAWING_SECONDS

    def calm(self) -> bool:
        """Return whether the engine runs the configuration as read, and nothing is being read or tried."""
        return self.status is not None and self._compilation is None and self._runs()

    def try_out(self, plan: Plan) -> None:
        """Record on the disk that this plan is about to be applied and may crash the daemon."""
        mark_unproven(Path(plan.state_dir))
        self._proven_at = time.monotonic() + PROVEN_AFTER

    def look_at_proof(self, *, stops: bool = False) -> None:
        """Record that the plan is proven, once the processes work with it or the daemon ``stops`` in order."""
        if self.plan is None or self._proven_at == math.inf:
            return
        publisher = self._house.heard.publisher
        works = self._runs() and publisher is not None and publisher.outbox is not None
        if stops or (works and time.monotonic() >= self._proven_at):
            mark_proven(Path(self.plan.state_dir))
            self._proven_at = math.inf

    def _runs(self) -> bool:
        """Return whether the engine has loaded everything that it is to run."""
        report, plan = self._house.heard.engine, self.plan
        return report is not None and plan is not None and report.digest == plan.digest and not report.loading

    def due(self) -> float:
        """Return the monotonic time of the next `look`; infinite during a reading: its outcome wakes this process."""
        return min(self._watch.due(), self._tidy_at) if self._compilation is None else math.inf

    def files(self) -> list[int]:
        """Return the descriptors to wait on: for a change of the file or, while it is being read, for the outcome."""
        return self._watch.files() if self._compilation is None else [self._compilation.fileno()]

    def pids(self) -> list[int]:
        """Return the ids of the process that reads the file, and of the one that was started ahead."""
        return [each.pid for each in (self._compilation, self._ahead) if each is not None]

    def go_on(self) -> None:
        """Apply or reject the file once it has been read."""
        if self._compilation is None or (compiled := self._compilation.finished()) is None:
            return
        self._compilation = None
        self._end_left_behind()
        again, self._again = self._again, False
        if self._watch.moved(compiled.seen):
            log.info("%s changed during reading; reading it again", self._config)
        else:
            self._decide(compiled)
        self._waiting, self._later = [*self._waiting, *self._later], []
        if again:
            self._read()

    def close(self) -> None:
        """Cancel the current reading and watch no longer; may be called twice."""
        self._watch.close()
        if self._compilation is not None:
            self._compilation.close()
            self._compilation = None
        self._drop_ahead()
        for request in (*self._waiting, *self._later):
            request.close()
        self._waiting.clear()
        self._later.clear()

    def _read(self) -> None:
        log.info("reading %s", self._config)
        self._watch.reading()
        self._retry_at = math.inf
        self._tidy()
        self._ahead_until = 0.0
        if self._ahead is not None and self._ahead.waits():
            self._compilation, self._ahead = self._ahead, None
            self._compilation.go()
            return
        self._drop_ahead()
        try:
            self._compilation = self._compile()
        except StartError as error:
            self._decide(failed(self._config, str(error), machine=True))

    def _compile(self, *, ahead: bool = False) -> Compilation:
        state_dir = Path(self.plan.state_dir) if self.plan else None
        return Compilation(self._config, state_dir=state_dir, output=self._output, ahead=ahead)

    def _look_ahead(self, now: float) -> None:
        """Start the reading process when the file begins to change, so that it loads its modules early."""
        if self._ahead is not None and now > self._ahead_until:
            self._drop_ahead()
        elif self._ahead is None and self._watch.changing() and now > self._ahead_until:
            self._ahead_until = now + AHEAD_SECONDS
            self._start_ahead()

    def _start_ahead(self) -> None:
        with suppress(StartError):  # the reading tries again, and reports the error
            self._ahead = self._compile(ahead=True)

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _tidy(self) -> None:
        """Remove the files that no plan needs, between two readings."""
        if self.plan is not None:
            self._end_left_behind()
            left = tidy(Path(self.plan.state_dir), self._swap)
            self._tidy_at = time.monotonic() + TIDY_PAUSE if left else math.inf

    def _decide(self, compiled: Compiled) -> None:
        self._judge(compiled)
        assert self.status is not None
        for request in self._waiting:
            request.answer({"error": str(compiled.problems[0])} if compiled.unread else encode(self.status))
        self._waiting.clear()

    def _judge(self, compiled: Compiled) -> None:
        plan, machine = compiled.plan, compiled.machine
        self._lacking.expect(compiled.lacking if plan is None else ())
        self._swap.record_reading(compiled)
        if plan is None:
            self._reject(compiled.digest, compiled.problems)
        elif self.plan is not None and plan.state_dir != self.plan.state_dir:
            self._reject(compiled.digest, (moved(self._config, self.plan.state_dir, plan.state_dir),))
        else:
            if plan != self.plan:
                self.try_out(plan)
            try:
                self._apply(compiled, plan)
            except StartError as error:
                machine = True
                self._reject(compiled.digest, (Problem(str(self._config), 1, "", str(error)[:4000], outside=True),))
            else:
                self._remember(plan, starting=False)
        self._try_again(machine=machine, unread=compiled.unread)

    def _try_again(self, *, machine: bool, unread: bool) -> None:
        """Schedule a retry with back-off if only this machine prevented success."""
        longest = LONGEST_UNREAD_PAUSE if unread else LONGEST_PAUSE
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), longest) if machine else 0.0
        self._retry_at = time.monotonic() + self._pause if machine else math.inf
        if unread:
            log.warning("reading %s again in %.0f s", self._config, self._pause)

    def _remember(self, plan: Plan, *, starting: bool) -> None:
        """Store the applied plan. A full or failing disk is tolerated; at the start an unwritable directory is not.

        A plan that is stored already is not written again: a user may ask for a reload every second.
        """
        if not starting and self._owed is None and remembered(Path(plan.state_dir)) == plan:
            return
        try:
            remember(plan)
        except StartError as error:
            cause = error.__cause__
            if starting and not (isinstance(cause, OSError) and cause.errno in DISK_FAULTS):
                raise
            if self._owed != plan:
                log.error(  # noqa: TRY400 - a sentence is enough
                    "%s; if the daemon restarts with a broken configuration file, it uses an older configuration", error
                )
                self._house.note(str(error), "disk")
            self._owed, self._owed_at = plan, time.monotonic() + FIRST_PAUSE
        else:
            self._owed = None
            self._house.over("disk")

    def _apply(self, compiled: Compiled, plan: Plan) -> None:
        self._swap.apply(plan)
        self.plan = plan
        self._problem_log.write(logging.WARNING, compiled.warnings)
        log.info("configuration %s applied", plan.digest[:8])
        self._house.over("config")
        self._say(ConfigStatus("applied", plan.digest, timestamp(time.time())))

    def _reject(self, digest: str, problems: tuple[Problem, ...]) -> None:
        self._problem_log.write(logging.ERROR, problems)
        log.error("configuration rejected%s", "; the previous configuration stays active" if self.plan else "")
        errors, told = (
            _sentences(map(str, problems), len(problems)),
            _sentences(map(published, problems), len(problems)),
        )
        self._house.note(errors[0] if errors else "configuration rejected", "config")
        if not digest:  # the file cannot be read: report the digest read or applied last
            known = self.status or self.plan
            assert known is not None
            digest = known.digest
        status = ConfigStatus("rejected", digest, timestamp(time.time()), errors)
        self._say(status, replace(status, errors=tuple(dict.fromkeys(told))))

    def _say(self, status: ConfigStatus, outward: ConfigStatus | None = None) -> None:
        self.status = status
        self._house.announce("config", outward or status)


def _sentences(problems: Iterable[str], count: int) -> tuple[str, ...]:
    """Return the first problems as sentences, and the number of the others."""
    told = tuple(shortened(printable(problem)) for problem in islice(problems, MOST_ERRORS))
    if count <= MOST_ERRORS:
        return told
    return *told[:-1], f"… and {count - MOST_ERRORS + 1} more; edge-infer check prints them all"
