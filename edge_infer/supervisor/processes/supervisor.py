"""Supervision of the processes of a plan: starts, connects, watches and restarts them, and keeps their last reports."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from edge_infer.contract.codec import Record, ShortText, dumps, encode, replace
from edge_infer.contract.messages import Sentence, timestamp
from edge_infer.errors import shortened
from edge_infer.ipc.activity_table import active_pipelines, new_activity_table, numbers_given, reset_activity
from edge_infer.ipc.crash_safe_note import forget_note, new_note
from edge_infer.ipc.delivered_numbers import new_delivered_numbers
from edge_infer.ipc.drift import DriftAccept, DriftAnswer, DriftQuestion, DriftReference
from edge_infer.ipc.messages import (
    Announce,
    ApplyPlan,
    AttachReader,
    EarlierPlan,
    EngineDown,
    EngineReport,
    EngineUp,
    EventsAnswer,
    EventsQuestion,
    Grab,
    GrabDone,
    Offence,
    PublisherReport,
    ReaderReport,
    Restrain,
    ScoresAnswer,
    ScoresQuestion,
    Stop,
    Tally,
    Watched,
    WhyAnswer,
    WhyQuestion,
)
from edge_infer.plan.channel_rates import RESTED_AFTER
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.platform.child_process import ENGINE, PUBLISHER, death, unexpected_death
from edge_infer.platform.clock import new_boot, uptime
from edge_infer.platform.event_loop import Stalls, readable
from edge_infer.platform.memory import MemoryKills
from edge_infer.platform.process_use import processor_time
from edge_infer.platform.rate_limits import LogThrottle, TokenBucket
from edge_infer.sandbox.fence import Fence, Identity, identities
from edge_infer.sandbox.needs import engine_fence, opens_private, publisher_fence
from edge_infer.supervisor.drift_references import DriftReferences
from edge_infer.supervisor.processes.child import (
    CALM,
    STARTING,
    ChildProcess,
    ChildSpec,
    fell,
    pair,
    restore,
)
from edge_infer.supervisor.processes.engine_reports import (
    FRESH,
    PICTURE,
    SILENT,
    TURN,
    all_numbered,
    believed,
    engine_patience,
)
from edge_infer.supervisor.processes.model_sender import ModelSender
from edge_infer.supervisor.processes.publisher_folder import PublisherFolder
from edge_infer.supervisor.processes.readers import Readers
from edge_infer.supervisor.processes.sandbox_reports import SandboxReports
from edge_infer.supervisor.rollout.crash_loops import EngineDeath, named, told_death
from edge_infer.supervisor.statedir import tidy_publisher

# Summary of the sandbox rules of all processes, by rule.

MAX_TEXT_CHARACTERS: Final = 256
"""Maximum number of characters of one text in a record."""
MAX_NAMES: Final = 3
"""Maximum number of processes that are named for one text; others are only counted."""


def together(rooms: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return one text for each sandbox rule: the common text of all processes with the rule, or each one's text."""
    names = dict.fromkeys(wall for walls in rooms.values() for wall in walls)
    return {name: _joined({room: walls[name] for room, walls in rooms.items() if name in walls}) for name in names}


def _joined(texts: Mapping[str, str]) -> str:
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    by_text: dict[str, list[str]] = {}
    for room, text in texts.items():
        by_text.setdefault(text, []).append(room)
    joined = "; ".join(f"{_names(rooms)}: {text}" for text, rooms in by_text.items())
    return joined if len(joined) <= MAX_TEXT_CHARACTERS else f"{joined[: MAX_TEXT_CHARACTERS - 1]}…"


def _names(rooms: Sequence[str]) -> str:
    if len(rooms) <= MAX_NAMES:
        return ", ".join(rooms)
    return f"{', '.join(rooms[: MAX_NAMES - 1])} and {len(rooms) - MAX_NAMES + 1} more"


log = logging.getLogger(__name__)

MOST_DEATHS: Final = 16
"""Number of ended engines that are reported to a new publisher, which may not know their last sequence numbers yet."""
EARLIER_FOR: Final = 3600.0
"""Seconds for which a new publisher gets the previous plan, because messages may wait while disk and broker fail."""
LOOK_EVERY: Final = 5.0
"""Seconds between two checks for replaced files, while the broker or a file source cannot be reached."""
RENEWALS: Final = {"engine": (3, 1 / 300), "publisher": (20, 1 / 30)}
"""Limit of the restarts of a child because files were replaced: in a row, and per second. Each restart of the engine
stops all pipelines for some seconds. A restart of the publisher stops none, and an operator may correct a password
several times."""
MAX_ACCUSATIONS, ACCUSATIONS_PER_SECOND = 5, 1 / 60
"""Limit of the accepted accusations against readers: in a row, and per second. Without it, a compromised process could
have other processes killed."""
MAX_ACCUSATIONS_OF_EACH_OTHER: Final = 3
"""Accusations of engine and publisher against each other that are accepted at once, in each direction; then one an
hour. Each kill has a cost: a new publisher does not know yet which sequence numbers an engine has used, and a new
engine has to load its models."""
BUSY: Final = 0.2
"""Share of a processor from which a silent publisher counts as busy."""
STOP_ALL: Final = 17.0
"""Seconds after the stop order within which a publisher that is still starting must start and stop. systemd kills the
service after 20 s; in the other 3 s this process itself writes to a card that may be slow."""
ENGINE_STOP, PUBLISHER_STOP = 3.0, 12.0
"""Seconds from the stop order until the process is killed. An engine needs one second, and more on a busy board. A
publisher disconnects within 2 s, writes small files, and has 6 s for its last commit to a slow card."""


class LastFailure(Record, frozen=True):
    """The last failure, for ``status``."""

    ts: ShortText
    text: Sentence


@dataclass(slots=True)
class Heard:
    """Last reports of the processes."""

    engine: EngineReport | None = None
    publisher: PublisherReport | None = None
    announced: dict[str, Announce] = field(default_factory=dict)
    trouble: LastFailure | None = None


Recalled: TypeAlias = EventsAnswer | ScoresAnswer | DriftAnswer
"""An answer from the engine's memory."""


class _Renewals:
    """How often files are compared, and children restart because files were replaced."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._buckets: dict[str, TokenBucket] = {}
        self._rarely = LogThrottle()

    def look_due(self) -> bool:
        """Return whether the files are to be compared again."""
        now = time.monotonic()
        due = now >= self._looked + LOOK_EVERY
        self._looked = now if due else self._looked
        return due

    def may_restart(self, child: str) -> bool:
        """Return whether this child may restart; log if it has to wait."""
        _, per_second = RENEWALS[child]
        bucket = self._buckets.setdefault(child, TokenBucket(*RENEWALS[child]))
        if bucket.take():
            return True
        if self._rarely.due(child):
            advice = " (for pictures, name their folder as the path)" if child == "engine" else ""
            log.warning(
                "files of the %s are replaced again and again; it restarts for them only every %.0f s%s",
                child, 1 / per_second, advice,
            )  # fmt: skip
        return False


class ProcessSupervisor:
    """Owns every child process and every channel between two of them."""

    def __init__(self, log_level: str, private: tuple[str, ...] = ()) -> None:
        """``private`` are files that the engine may not read, in addition to those that the plan names."""
        self.heard = Heard()
        self._private = private
        self._boot = ""  # id of the engine that was started last
        # When an engine last started with full budgets, and whether the current one did.
        self._rested_at, self._rested = -math.inf, False
        self._tallies: tuple[Tally, ...] = ()  # last sequence numbers that it reported
        self._deaths: deque[EngineDown] = deque(maxlen=MOST_DEATHS)
        self._about = ""  # subject of the last failure
        self._grabs: list[GrabDone] = []
        self.picture: int | None = None
        """Number of the picture that the engine makes now."""
        self._large: int | None = None  # number of the full-size picture that a responsive engine was told to encode
        self._whys: list[WhyAnswer] = []
        self._recalled: list[Recalled] = []
        self.references = DriftReferences()
        """Drift references of the pipelines."""
        self._plan: Plan | None = None
        self._earlier: EarlierPlan | None = None
        self._order: ApplyPlan | None = None
        self._reasons: dict[ChildProcess, str] = {}  # why a process is being killed
        self._stuck: frozenset[str] = frozenset()  # pipelines because of which the engine is being killed
        self._blameless = False  # this death counts against no model: a flood, a stalled board, a large picture
        self._folder = PublisherFolder()
        self._memory_kills = MemoryKills()
        self._own_fault = False  # the publisher is being killed for a fault that its folder may cause
        self.restraint = Restrain()
        """The governor's current limits for pipelines."""
        self.watched = False
        """Whether a person looks at pictures now."""
        self.engine_patience: float | None = None
        """Seconds that the engine may be silent, if less than usual."""
        self.stalls = Stalls()
        """Periods in which this process did not run; its main loop records them."""
        self._level = ("--log-level", log_level)
        self._results = pair()  # both ends stay open here, so that queued results survive the death of either process
        engine_end, publisher_end = self._results
        self._slate, self._rates, self._lights = new_note(), new_note(), new_activity_table()
        self._delivered = new_delivered_numbers()
        self.engine = ChildProcess(
            ChildSpec(
                "engine",
                "edge_infer.engine",
                self._level,
                (EngineReport, GrabDone, WhyAnswer, EventsAnswer, ScoresAnswer, DriftAnswer, DriftReference, Offence),
                {"--results": engine_end, "--lights": self._lights},
                oom_score=ENGINE,
            ),
            self.stalls,
        )
        self.publisher = ChildProcess(
            ChildSpec(
                "publisher",
                "edge_infer.publisher",
                self._level,
                (PublisherReport, Offence),
                {
                    "--results": publisher_end,
                    "--slate": self._slate,
                    "--delivered": self._delivered,
                    "--rates": self._rates,
                },
                oom_score=PUBLISHER,
            ),
            self.stalls,
        )
        self._accusations = {
            "reader": TokenBucket(MAX_ACCUSATIONS, ACCUSATIONS_PER_SECOND),
            **{each: TokenBucket(MAX_ACCUSATIONS_OF_EACH_OTHER, 1 / RESTED_AFTER) for each in ("engine", "publisher")},
        }  # by the accused
        self._model_sender = ModelSender(self.engine)
        self._sandboxes = SandboxReports()
        self._walls: tuple[dict[str, Mapping[str, str]], dict[str, str]] = {}, {}  # of each process, and together
        self._readers = Readers(self._level, self.stalls, self._sandboxes)
        self._fences: dict[ChildProcess, Fence] = {}  # sandboxes of the running processes
        self._merged = False  # whether the publisher was started as a thread of this process
        self._seen: dict[ChildProcess, frozenset[Identity]] = {}  # identities of the files at their paths
        self._replaced: set[ChildProcess] = set()  # ordered to stop: another sandbox is needed
        self._renewals = _Renewals()

    def end_trial_of_folder(self, state_dir: str) -> None:
        """End an interrupted trial of the publisher's folder; call it while no publisher runs."""
        if done := self._folder.end_trial(state_dir):
            log.warning("%s", done)

    def apply(self, order: ApplyPlan) -> None:
        """Apply a plan. The publisher gets it first, because it must know the labels before results arrive.

        At the start the engine comes first, because its start takes longest; its results wait in the channel.
        """
        before, plan = self._plan, order.plan
        if before is not None and before.pipelines != plan.pipelines:
            self._earlier = EarlierPlan(before.without_values(), uptime())
        self._plan = plan
        order = order.for_engine()
        self._forget_models(plan)
        for reader in self._readers.change(order.plan.sources, plan.sources):
            self.engine.tell(AttachReader(reader.plan.name), (reader.engine_end,))
        order = replace(order, plan=order.plan.without_values())
        self._order = replace(order, alone=())  # a new engine has no earlier model to release
        for child in (self.publisher, self.engine) if before else (self.engine, self.publisher):
            if child.pid is None and before is None:
                self._start(child)
            elif not self._fences[child].covers(self._fence(child)):
                self._replace(child, "needs access to other files")
            elif child is self.engine and opens_private(self._fences[child], plan, self._private):
                self._replace(child, "may no longer access some files")
            elif child is self.publisher and self._merged != plan.merged:
                self._replace(child, f"moves {'into' if plan.merged else 'out of'} the supervisor's process")
            elif child is self.engine:
                self._model_sender.send(order)
                child.tell(order)
            else:
                child.tell(self._order_for_publisher(plan))

    def _order_for_publisher(self, plan: Plan) -> ApplyPlan:
        assert self._order is not None  # set together with the plan
        return ApplyPlan(plan.without_values(), held=self._order.held, inactive=self._order.inactive)

    def announce(self, topic: str, payload: object) -> None:
        """Publish a retained device payload if it changed; every new publisher gets it again."""
        word = Announce(topic, encode(payload))
        if self.heard.announced.get(topic) != word:
            self.heard.announced[topic] = word
            self.publisher.tell(word)

    def restrain(self, word: Restrain) -> None:
        """Limit or release pipelines. The engine enforces the limits, and the publisher reports them."""
        if word != self.restraint:
            self.restraint = word
            for child in (self.engine, self.publisher):
                child.tell(word)

    def watch(self, *, watched: bool) -> None:
        """Tell the publisher whether a person looks at pictures now."""
        if watched != self.watched:
            self.watched = watched
            self.publisher.tell(Watched(watched))

    def grab(self, source: str, file: int, side: int, number: int) -> bool:
        """Ask the engine for a picture (see `Grab`); return False when no engine runs."""
        if not self.engine.tell(Grab(source, side, number), (file,)):
            return False
        self.picture = number
        self._large = number if side == 0 and self.engine.spoke and self.engine.silent() < FRESH else None
        return True

    def forget_picture(self, number: int) -> None:
        """Forget a picture that the engine did not deliver in time, so that it excuses no later silence."""
        if self.picture == number:
            self.picture = None

    @property
    def _makes_large(self) -> bool:
        """Whether the engine is encoding a full-size picture. That takes time and memory.

        False if the engine was silent before it got the order, or if it encodes a small picture for the page.
        """
        return self.picture is not None and self.picture == self._large

    def ask_engine(self, question: WhyQuestion | EventsQuestion | ScoresQuestion | DriftQuestion) -> bool:
        """Pass a question to the engine; return False when no engine runs."""
        return self.engine.tell(question)

    def accept_drift(self, pipeline: str, *, camera: bool, outcome: bool) -> bool:
        """Order the engine to learn the camera or the model's findings of a pipeline again.

        Return False when no engine runs.
        """
        self.references.write_soon(pipeline)
        return self.engine.tell(DriftAccept(pipeline, camera, outcome))

    def take_recalled(self) -> list[Recalled]:
        """Return the events, scores and drift received since the last call."""
        done, self._recalled = self._recalled, []
        return done

    def take_whys(self) -> list[WhyAnswer]:
        """Return the answers received since the last call."""
        done, self._whys = self._whys, []
        return done

    def take_grabs(self) -> list[GrabDone]:
        """Return the pictures finished since the last call."""
        done, self._grabs = self._grabs, []
        return done

    def set_log_level(self, level: str) -> None:
        """Set the log level of all children, including future ones."""
        self._level = ("--log-level", level)
        self._readers.set_log_level(self._level)
        for child in self._children():
            child.set_log_level(level)

    def note(self, text: str, about: str = "") -> None:
        """Record the last failure for ``status``. It stays until `over` is called with the same ``about``."""
        self.heard.trouble, self._about = LastFailure(timestamp(time.time()), shortened(text)), about

    def over(self, about: str) -> None:
        """Forget the last failure if it is ``about`` this subject."""
        if self.heard.trouble is not None and self._about == about:
            self.heard.trouble = None

    def files(self) -> list[int]:
        """Return the descriptors to wait on until they are readable."""
        return [file for child in self._children() for file in child.files()]

    def unsent(self) -> list[int]:
        """Return the descriptors to wait on until they are writable."""
        return [file for child in self._children() for file in child.unsent()]

    def pids(self) -> list[int]:
        """Return the ids of the running processes."""
        return [child.pid for child in self._children() if child.pid is not None]

    def serve(self) -> list[EngineDeath]:
        """Receive from every child and handle the ended ones; return each death of the engine."""
        for word in self.engine.hear():
            if isinstance(word, GrabDone):
                self._grabs.append(word)
                self.forget_picture(word.number)
            elif isinstance(word, WhyAnswer):
                self._whys.append(word)
            elif isinstance(word, (EventsAnswer, ScoresAnswer, DriftAnswer)):
                self._recalled.append(word)
            elif isinstance(word, DriftReference):
                self.references.keep(word, [each.name for each in self.pipelines()])
            elif isinstance(word, Offence):
                self._accuse(self.engine, word)
            elif word.boot == self._boot:
                self._tallies = believed(self._tallies, word.tallies)
                word = self._sandboxes.settled(self.engine, replace(word, tallies=self._tallies))  # noqa: PLW2901
                self.heard.engine = word
                self._model_sender.hear(word)
                self.publisher.tell(word)
        for word in self.publisher.hear():
            if isinstance(word, Offence):
                self._accuse(self.publisher, word)
            else:
                self.heard.publisher = self._sandboxes.settled(self.publisher, word)
                if word.outbox is not None:
                    self._folder.waiting = word.outbox.pending
                    if time.monotonic() - self.publisher.started > CALM:
                        self._tell_of_folder(self._folder.healthy())
        self._readers.hear()
        self._kill_the_hung()
        deaths: list[EngineDeath] = []
        for child in self._children():
            if (status := child.ended()) is not None:
                ours, active = self.engine in self._reasons, active_pipelines(self._lights)
                busy = self._stuck or active
                foreign = status == -signal.SIGKILL and not child.killed
                for_memory = self._memory_kills.take() if foreign else False
                text = self._on_exit(child, status, for_memory=for_memory)
                blameless, self._blameless = self._blameless, self._blameless and child is not self.engine
                if child is self.engine:  # its memory for a picture may be why the kernel kills it
                    blameless |= self._makes_large and not ours and status == -signal.SIGKILL
                    self.picture, self._stuck = None, frozenset()
                if child is self.engine and text and not blameless:
                    how = told_death(text, self._names())
                    memory, others = for_memory is not False, not active <= busy
                    deaths.append(EngineDeath(how, busy, ours or fell(status) or memory, memory, others))
        return deaths

    def restart_due(self) -> None:
        """Restart the ended children after their back-off."""
        for child in self._children():
            if child.pid is None and time.monotonic() >= child.due and self._plan is not None:
                self._start(child)
            elif child.recipe.name == self._about and child.spoke and time.monotonic() - child.started > CALM:
                self.over(self._about)
        self._look_for_others()

    def next_due(self) -> float:
        """Return the latest monotonic time at which to call `serve`."""
        dues = [child.due if child.pid is None else child.output_due() for child in self._children()]
        now = time.monotonic()
        return min((*dues, *(now + patience - child.silent() + TURN for child, patience in self._patiences())))

    def alive(self) -> bool:
        """Return whether engine and publisher make progress, as the watchdog requires. A start alone is no progress."""
        stuck = self.heard.engine is not None and self.heard.engine.stuck
        return time.monotonic() - min(self.engine.heard, self.publisher.heard) < 2 * STARTING and not stuck

    def lost(self) -> bool:
        """Return whether a child must be killed but cannot be, because it is a thread of this process."""
        return self.publisher.unkilled

    def readers(self) -> Mapping[str, ChildProcess]:
        """Return the readers by source."""
        return self._readers.children()

    def close(self) -> bool:
        """Stop all children in the order of the data flow. May be called twice.

        Return False if the engine or the publisher was killed. A killed reader loses nothing: a camera driver may hang.
        """
        until = time.monotonic() + STOP_ALL
        self._revive_publisher()
        self._readers.end()
        if not self.engine.spoke:
            self.engine.kill(signal.SIGTERM)  # a child that is still starting holds no results and handles no order
            if not self.publisher.spoke and self.engine.heard < 0.0:
                self.publisher.kill(signal.SIGTERM)  # the publisher is starting, too, and has no results of any engine
        self.engine.tell(Stop())
        orderly = self.engine.stop(ENGINE_STOP)
        self._take_last_references()
        self._readers.close()
        self._revive_publisher()
        if self.engine.heard > 0.0:
            self._await_publisher(until - PUBLISHER_STOP)
        self.publisher.tell(Stop())
        orderly &= self.publisher.stop(PUBLISHER_STOP)
        self._plan = None
        for end in (*self._results, self._slate, self._delivered, self._rates, self._lights):
            if end >= 0:
                os.close(end)
        self._results, self._slate, self._delivered, self._rates, self._lights = (-1, -1), -1, -1, -1, -1
        return orderly

    def _take_last_references(self) -> None:
        """Store the drift references that the engine has sent at its end."""
        for word in self.engine.last_words:
            if isinstance(word, DriftReference):
                self.references.keep(word, [each.name for each in self.pipelines()])
        self.references.close()

    def _revive_publisher(self) -> None:
        """Start the publisher if it has just died, because a publisher must send the last results and disconnect."""
        if self._plan is not None and (self.publisher.ended() is not None or self.publisher.pid is None):
            self._start(self.publisher)
            died = self._boot in {down.boot for down in self._deaths}
            if self._boot and self.engine.pid is None and not died:
                # The engine has stopped as ordered; its results wait in the channel.
                self.publisher.tell(EngineUp(self._boot, self._rested))

    def _await_publisher(self, deadline: float) -> None:
        """Wait for a publisher that starts, because it must receive the results that the engine has left."""
        while self.publisher.channel is not None and not self.publisher.spoke:  # no channel: it has ended
            if (left := deadline - time.monotonic()) <= 0:
                return
            readable(self.publisher.files(), self.publisher.unsent(), min(left, 0.1))
            self.publisher.hear()

    def _children(self) -> list[ChildProcess]:
        return [self.engine, self.publisher, *self._readers.children().values()]

    def _fence(self, child: ChildProcess) -> Fence:
        """Return the paths and rights that the child needs for the current plan."""
        assert self._plan is not None
        return engine_fence(self._plan, self._private) if child is self.engine else publisher_fence(self._plan)

    def _start(self, child: ChildProcess) -> None:
        """Start the child in the sandbox that the plan requires, and send it the current state.

        The publisher gets the engine's id before that engine starts.
        """
        words: tuple[str, ...] = ()
        if (reader := self._readers.renewed(child)) is not None:
            self.engine.tell(AttachReader(reader.plan.name, again=True), (reader.engine_end,))
        if child in (self.engine, self.publisher):
            fence = self._fences[child] = self._fence(child)
            self._seen[child] = identities(fence.reads + fence.files)
            words = ("--fence", dumps(fence).decode())
        if child is self.engine:
            self._rested = self._budgets_full()
            self._boot, self._tallies = new_boot(), ()
            self._model_sender.start_over()
            self._memory_kills.forget()
            reset_activity(self._lights)
            self.publisher.tell(EngineUp(self._boot, self._rested, fresh=True))
            words = (*words, "--boot", self._boot, *(() if self._rested else ("--empty-budgets",)))
        if child is self.publisher:
            assert self._plan is not None
            tidy_publisher(self._plan.state_dir)
            self._merged = self._plan.merged
            words = (*words, *(("--merged",) if self._merged else ()))
        if child not in (self.engine, self.publisher):
            self._readers.hold_pipes()
        child.start(*words, thread=child is self.publisher and self._merged)
        self._brief(child)

    def _budgets_full(self) -> bool:
        """Return whether an engine that starts now has full budgets.

        The first engine has them, and a later engine has them at most once per hour. If each start gave full budgets, a
        compromised engine could end itself again and again to send a burst of messages each time.
        """
        now = time.monotonic()
        if self._boot and now < self._rested_at + RESTED_AFTER:
            return False
        self._rested_at = now if self._boot else self._rested_at
        return True

    def _replace(self, child: ChildProcess, why: str, *, rested: bool = True) -> None:
        """Restart the child in another sandbox, because a running sandbox cannot change. The child stops in order.

        ``rested``: a new engine starts with full budgets, as after any change of the plan.
        """
        if child not in self._replaced and child.pid is not None:
            log.info("restarting %s: it %s", child.recipe.name, why)
            self._replaced.add(child)
            self._sandboxes.renew(child.recipe.name)
            self._rested_at = -math.inf if rested and child is self.engine else self._rested_at
            child.tell(Stop(replaced=True))

    def _look_for_others(self) -> None:
        """Restart a child that lacks files if these were replaced: a sandbox admits files, not their replacements."""
        if self._plan is None or not self._renewals.look_due():
            return
        publisher, engine = self.heard.publisher, self.heard.engine
        local = [source.name for source in self._plan.sources if not source.live]
        lacking = {
            self.publisher: publisher is not None and not publisher.connected,
            self.engine: engine is not None
            and any(engine.sources[name].state in {"starting", "lost"} for name in local if name in engine.sources),
        }
        for child, lacks in lacking.items():
            if not lacks or not child.spoke:
                continue
            fence = self._fence(child)
            if identities(fence.reads + fence.files) <= self._seen[child]:
                continue
            if self._renewals.may_restart(child.recipe.name):
                why = "needs access to files that were missing before or have been replaced"
                self._replace(child, why, rested=False)

    def pipelines(self) -> tuple[PipelinePlan, ...]:
        """Return the pipelines of the current plan."""
        return self._plan.pipelines if self._plan is not None else ()

    def _names(self) -> frozenset[str]:
        """Return the names of the current plan's pipelines and models."""
        models = self._plan.spoken_of() if self._plan is not None else ()
        return frozenset((*(each.name for each in self.pipelines()), *models))

    def walls(self) -> dict[str, str]:
        """Return the sandbox rules that the kernel enforces, by rule, in the published form."""
        rooms = {room: self._sandboxes.published(room) for room in self.reports()}
        if rooms != self._walls[0]:  # asked several times a second, and rarely different
            self._walls = rooms, together(rooms)
        return self._walls[1]

    def runtime(self) -> str:
        """Return name and version of the engine's runtime, in the published form."""
        return self._sandboxes.runtime()

    def tested_walls(self) -> dict[str, Mapping[str, str]]:
        """Return the sandbox rules of each process, as that process has tested them."""
        return {room: report.sandbox for room, report in self.reports().items()}

    def reports(self) -> dict[str, EngineReport | PublisherReport | ReaderReport]:
        """Return the last report of each process, by the name that ``status`` shows."""
        heard: dict[str, EngineReport | PublisherReport | ReaderReport | None]
        heard = {"engine": self.heard.engine, "publisher": self.heard.publisher}
        heard |= {f"reader {reader.plan.name}": reader.last for reader in self._readers}
        return {name: report for name, report in heard.items() if report is not None}

    def _brief(self, child: ChildProcess) -> None:
        if self._plan is None:
            return
        assert self._order is not None  # set together with the plan
        if child is self.engine:
            for reader in self._readers:
                child.tell(AttachReader(reader.plan.name), (reader.engine_end,))
            self._tell_restraint(child)
            for reference in self.references.read(each.name for each in self._plan.pipelines if each.drift):
                child.tell(reference)
            self._model_sender.send(self._order)
            child.tell(self._order)
        elif child is self.publisher:
            if self._earlier is not None and uptime() < self._earlier.replaced + EARLIER_FOR:
                child.tell(self._earlier)
            child.tell(self._order_for_publisher(self._plan))
            self._tell_restraint(child)
            if self.watched:
                child.tell(Watched(self.watched))
            for down in self._deaths:
                child.tell(down)
            if self._boot and self.engine.pid is not None:
                child.tell(EngineUp(self._boot, self._rested))
            for word in self.heard.announced.values():
                child.tell(word)
            if self.heard.engine is not None:
                child.tell(self.heard.engine)

    def _tell_restraint(self, child: ChildProcess) -> None:
        if self.restraint.governor is not None:
            child.tell(self.restraint)

    def _on_exit(self, child: ChildProcess, status: int, *, for_memory: bool | None) -> str:
        """Handle the death of a child. Return a description of the death; empty if it was planned.

        ``for_memory`` is whether the kernel killed it for lack of memory; None if that is unknown.
        """
        planned, text, why = child in self._replaced, "", self._reasons.pop(child, None)
        self._replaced.discard(child)
        if planned:
            child.end_as_planned(orderly=status == 0 and not child.killed)
        elif status == 0 and child not in (self.engine, self.publisher):
            log.info("%s has ended; starting a new one", child.recipe.name)
        else:
            how = death(status) if child.killed else unexpected_death(status, for_memory=for_memory)
            text = f"{child.recipe.name} {how if why is None else f'{why} and was killed'}"
            log.error("%s; restarting it", text)
            self.note(text, child.recipe.name)
            if child is self.publisher and (self._own_fault or (fell(status) and status != os.EX_IOERR)):
                self._publisher_failed()
        if child is self.engine:
            tallies = all_numbered(self._tallies, numbers_given(self._lights))
            down = EngineDown("starting" if planned else "engine_failed", self._boot, tallies)
            self._deaths.append(down)
            self.publisher.tell(down)
            self.heard.engine = None
        elif child is self.publisher:
            self.heard.publisher, self._own_fault = None, False
        return text

    def _publisher_failed(self) -> None:
        """Count a failure of the publisher against its folder, and drop its notes with the folder."""
        assert self._plan is not None
        if done := self._folder.failed(self._plan.state_dir):
            self._tell_of_folder(done)
            restore(self._slate)
            forget_note(self._slate)

    def _tell_of_folder(self, done: str) -> None:
        """Log what was ``done`` about the publisher's folder, and show it in the status; nothing for an empty text."""
        if done:
            log.error("%s", done)
            self.note(done, "the publisher's folder")

    def kill_engine(self, why: str, *, blameless: bool = False) -> None:
        """Kill the engine because one of its threads is stuck.

        ``blameless``: this death of the engine counts against no model.
        """
        self._blameless |= blameless
        self._kill(self.engine, why)
        self.heard.engine = None

    def _kill_the_hung(self) -> None:
        for child, patience in self._patiences():
            if child.offence:
                self._own_fault |= child is self.publisher
                self._kill(child, child.offence)
            elif (silent := child.silent()) > patience:
                stalled = self.stalls.since(time.monotonic() - 2 * patience) > 0.0
                self._blameless |= child is self.engine and (stalled or self._makes_large)
                self._own_fault |= child is self.publisher and self._was_busy(silent)
                self._kill(child, f"sent no heartbeat for {silent:.0f} s")
        heard = self.heard.engine
        if heard is not None and heard.stuck:
            stuck = [each.name for each in self.pipelines() if each.name in heard.stuck]  # the engine may name others
            self._stuck = frozenset(stuck)
            self.kill_engine(f"is stuck in {named(stuck) or 'a pipeline'}")
        for child, why in self._readers.hung():
            self._kill(child, why)

    def _was_busy(self, seconds: float) -> bool:
        """Return whether the publisher used the processor while it was silent.

        A publisher that waits for a slow disk uses none. On a busy board, a publisher that works gets only a part of it
        (`BUSY`). A publisher in a thread of this process cannot be killed, so the result is then False.
        """
        pid, report = self.publisher.pid, self.heard.publisher
        cpu = processor_time(pid) if pid is not None and self.publisher.killable else None
        before = report.use.cpu if report is not None else 0.0
        return cpu is not None and cpu - before > seconds * BUSY

    def _accuse(self, accuser: ChildProcess, word: Offence) -> None:
        """Kill a child that floods another one.

        The publisher may accuse only the engine; no process may accuse itself.
        """
        child: ChildProcess | None
        if word.by == "reader":
            child = self._readers.children().get(word.source)
        else:
            child = self.engine if word.by == "engine" else self.publisher
        if child is None or child is accuser or (accuser is self.publisher and child is not self.engine):
            return
        if child.pid is None or child.killed or not child.killable or not self._accusations[word.by].take():
            return
        self._blameless |= child is self.engine
        self._kill(child, f"sends the {accuser.recipe.name} too many or invalid records{accuser.said(word.what)}")

    def _patiences(self) -> list[tuple[ChildProcess, float]]:
        """Return engine and publisher, each with the seconds that it may be silent now."""
        engine = engine_patience(self.heard.engine, self._order, self.engine_patience)
        engine += PICTURE if self._makes_large else 0.0
        publisher = PUBLISHER_STOP if self.publisher in self._replaced else SILENT  # it may wait for a slow card
        patiences = ((self.engine, engine), (self.publisher, publisher))
        return [(child, patience if child.spoke else STARTING) for child, patience in patiences]

    def _forget_models(self, plan: Plan) -> None:
        """Forget announcements about removed models: they are not repeated, and sent again if the model returns."""
        kept = {"info", "config", *(f"model/{name}" for name in plan.spoken_of())}
        for topic in self.heard.announced.keys() - kept:
            del self.heard.announced[topic]

    def _kill(self, child: ChildProcess, why: str) -> None:
        text = f"{child.recipe.name} {why}"
        if child.killable:
            log.error("%s; killing it", text)
            self.note(f"{text} and was killed", child.recipe.name)
        else:
            log.error("%s; the daemon now stops, because it cannot kill a thread of its own process", text)
        self._reasons[child] = why
        child.kill()
