"""The publisher process. One thread receives from the engine and the supervisor, and sends to the broker."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from edge_infer.contract.codec import ABSENT, asdict, replace
from edge_infer.contract.messages import EgressHealth, Event, Health, Reason, Result
from edge_infer.contract.topics import HEALTH, STATUS, STATUS_AGAIN, Place, announced
from edge_infer.errors import WireError, shortened
from edge_infer.ipc.channel import Channel, ChannelClosedError
from edge_infer.ipc.crash_safe_note import CrashSafeNote
from edge_infer.ipc.messages import (
    STARTING_UP,
    Acked,
    Announce,
    ApplyPlan,
    EarlierPlan,
    EngineDown,
    EngineHello,
    EngineReport,
    EngineUp,
    Handover,
    Offence,
    ProcessUse,
    PublisherHello,
    PublisherReport,
    Restrain,
    SetLogLevel,
    StateSnapshot,
    Stop,
    Tally,
    Watched,
)
from edge_infer.plan.records import Plan
from edge_infer.platform.event_loop import readable
from edge_infer.platform.logs import set_level
from edge_infer.platform.paths import publisher_folder
from edge_infer.platform.process_use import OwnUse
from edge_infer.platform.rate_limits import LogThrottle, TokenBucket
from edge_infer.publisher.allowed_texts import Vocabulary
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.health import Board, HealthClock
from edge_infer.publisher.homeassistant.discovery import Discovery
from edge_infer.publisher.mqtt.connection import MqttConnection
from edge_infer.publisher.mqtt.connection_failure import BrokerAddress, stays
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.outbox.scheduler import OutboundScheduler
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.resolver import LookUp, addresses_of
from edge_infer.publisher.result_guard import Admitted, ResultGuard
from edge_infer.publisher.second_gate import SecondGate
from edge_infer.publisher.state.open_events import EventNotes, OpenEvents, events_of
from edge_infer.publisher.state.retained import Retained, RetainedTopicRegistry
from edge_infer.publisher.state.unknown_states import States
from edge_infer.publisher.timestamps import Clock

log = logging.getLogger(__name__)

FROM_SUPERVISOR: Final = (
    EarlierPlan, ApplyPlan, Announce, EngineUp, EngineReport, EngineDown, Restrain, Watched, SetLogLevel, Stop,
)  # fmt: skip
FROM_ENGINE: Final = (EngineHello, Handover, StateSnapshot)
REPORT_EVERY: Final = 1.0
LAST_WORDS: Final = 2.0
"""Seconds to publish remaining messages at shutdown."""
LAST_RESULTS: Final = 1.1
"""Seconds, of `LAST_WORDS`, in which the engine may send its last messages after the supervisor has died."""
MOST_BOOTS: Final = 64
"""Maximum number of remembered boots (engine ids). Before it takes a message of another boot, the publisher reads the
supervisor's announcements."""
MOST_AT_ONCE: Final = 500
"""Maximum number of messages received from the engine before the broker is served."""
SECONDS_AT_ONCE: Final = 0.25
"""Maximum time for these messages. On a small board large ones could take so long that the supervisor misses reports,
and kills this process."""
MOST_EARLY: Final = 10_000
"""Maximum number of messages that are held until the engine has answered the greeting. The engine sends dropped ones
again."""
MAX_FAULTS, FAULTS_PER_SECOND = 50, 1.0
"""Invalid records that an engine may send before it counts as an attacker: a burst, and a rate per second."""
DEAF: Final = 1.0
"""Seconds for which an engine that floods the publisher is ignored. The supervisor ends the engine in the meantime."""
ACKS_AFTER: Final = 64
ACKS_WITHIN: Final = 0.1
"""Number of messages, and seconds since the last acknowledgement, after which the engine gets an acknowledgement.

If this process is killed before that, its successor receives these messages again.
"""
MOST_ANSWERS: Final = 2
"""Maximum number of answers to a greeting: the engine may also answer that of the previous publisher."""
MOVE: Final = 1.0
"""Seconds allowed for leaving the old broker when the broker changes."""


class Publisher:
    """The publisher; `run` covers the whole life of the process."""

    def __init__(
        self,
        control: Channel,
        results: Channel,
        outbox: StoredOutbox,
        board: Board,
        clock: Clock | None = None,
        *,
        sandbox: Mapping[str, str] | None = None,
        slate: CrashSafeNote | None = None,
        look_up: LookUp = addresses_of,
        rates: CrashSafeNote | None = None,
    ) -> None:
        """``slate`` holds the open events of the previous publisher; ``rates`` the state of its rate limits."""
        self._control = control
        self._sandbox = sandbox or {}
        self._look_up = look_up
        self._results = results
        self._outbox = outbox
        self._clock = clock or Clock()
        self._egress = Egress(self._clock)
        self._retained = Retained()
        self._cargo = OutboundScheduler(self._retained, outbox, self._egress)
        self._guard = ResultGuard(self._egress, self._clock, rates)
        self._gate = SecondGate(self._clock.uptime)
        self._states = States(self._retained, self._egress, self._clock.uptime)
        self._held: dict[str, StateSnapshot] = {}  # newest states that came faster than their rate allows
        self._held_until = math.inf
        self._memory = RetainedTopicRegistry()
        self._vocabulary = Vocabulary()
        self._discovery = Discovery(self._retained, self._egress)
        self._given: dict[MessageSeries, int] = {}  # numbers that an earlier publisher received
        self._open = OpenEvents(EventNotes(slate))
        self._health = HealthClock(board)
        self._own_use = OwnUse()
        self._plan: Plan | None = None
        self._earlier: EarlierPlan | None = None  # until the first plan is applied
        self._link: MqttConnection | None = None
        self._early: deque[Handover] = deque(maxlen=MOST_EARLY)
        self._boots: deque[str] = deque(maxlen=MOST_BOOTS)
        self._boot: str | None = None  # boot of the running engine
        self._fresh: str | None = None  # boot of the newest engine that started after this process
        self._greeting_due = self._greeted = False
        self._answers = 0  # greetings that the engine may still answer
        self._stopping = self._orphaned = self._replaced = False
        self._deferred: object | None = None
        self._engine_gone = False
        self._draining: str | None = None  # boot of a dead engine, while its last messages are received
        self._rarely = LogThrottle()
        self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._deaf_until = 0.0  # time until which the engine is ignored
        self._offence = ""  # protocol violation of the engine, until it is reported
        self._acks_due, self._acked_at = math.inf, -math.inf

    def run(self) -> None:
        """Run until a stop order or the death of the supervisor, then publish that the device is offline."""
        report_at = 0.0
        while not self._stopping:
            was_up = self._link is not None and self._link.up
            if time.monotonic() >= report_at:
                report_at = time.monotonic() + REPORT_EVERY
                self._look_at_clock()
                self._report()
                self._states.again(STATUS_AGAIN)
                self._retained.refresh("status", STATUS_AGAIN)
            ready = self._wait(report_at)
            self._outbox.step()
            if self._control.fd in ready:
                self._handle_control()
            if self._deferred is not None or self._results.fd in ready:
                self._take(MOST_AT_ONCE, SECONDS_AT_ONCE)
            self._open_gate()
            self._set_held()
            self._open.save()  # store begin events before anything is sent
            self._guard.save()
            if self._link:
                self._link.step(ready)
                if self._link.up and not was_up:
                    self._health.connected()
            self._say_health()
            self._send_acks()
        self._end()

    def close(self) -> None:
        """Close the connection if `run` did not finish. May be called twice."""
        if self._link:
            self._link.close()

    def _wait(self, until: float) -> list[int]:
        """Wait until there is something to do; return the readable descriptors."""
        now = time.monotonic()
        # Nearly always another event wakes this process before the acknowledgements become late.
        timeout = max(0.0, min(until - now, self._outbox.due(), self._acks_due + ACKS_WITHIN / 2 - now))
        timeout = max(0.0, min(timeout, self._held_until - now, self._gate.wait()))
        reads, writes = self._link.files() if self._link else ([], [])
        if self._link:
            timeout = min(timeout, self._link.due())
        if self._outbox.ready:  # a channel that is not read yet must not wake the loop
            reads = [*reads, self._control.fd]
            deaf = self._deaf_until - time.monotonic()
            if deaf > 0:
                timeout = min(timeout, deaf)
            elif self._link and self._boot is not None and not self._engine_gone and not self._gate.full:
                reads.append(self._results.fd)
        return readable([*reads, *self._outbox.files()], writes, timeout)

    def _handle_control(self) -> None:
        """Handle the supervisor's orders, before the engine's messages: a plan brings the labels that results use."""
        while self._outbox.ready and (order := self._hear(self._control)) is not None:
            if isinstance(order, ApplyPlan):
                self._apply(order.plan, (*order.inactive, *order.held))
            elif isinstance(order, EarlierPlan):
                self._earlier = order
            elif isinstance(order, Announce):
                place = announced(order.topic)
                if payload := self._egress.admit(place, order.payload):
                    self._retained.set(place, payload)
            elif isinstance(order, EngineUp):
                self._boot = order.boot
                self._boots.append(order.boot)
                self._outbox.started(order.boot)
                if order.fresh:
                    self._fresh = order.boot
                    self._guard.engine_started(order.boot)
                if order.rested and self._guard.engine_rested(order.boot, fresh=order.fresh) and order.fresh:
                    self._egress.engine_rested()
            elif isinstance(order, EngineReport):
                self._health.report = order
                self._states.boot = order.boot
                self._outbox.report(order.boot, self._known_tallies(order.tallies))
            elif isinstance(order, EngineDown):
                self._engine_down(order)
            elif isinstance(order, Restrain):
                self._health.restrained(order.governor)
            elif isinstance(order, Watched):
                self._say_watched(watched=order.watched)
            elif isinstance(order, SetLogLevel):
                set_level(order.level)
            elif isinstance(order, Stop):
                self._stopping, self._replaced = True, order.replaced

    def _apply(self, plan: Plan, resting: tuple[str, ...]) -> None:
        folder = publisher_folder(plan.state_dir)
        with suppress(OSError):  # the files in this folder report the failure themselves
            folder.mkdir(mode=0o700, exist_ok=True)
        self._egress.learn(self._vocabulary.load(folder))
        earlier, self._earlier = self._earlier, None
        if earlier is not None:
            self._egress.apply(earlier.plan)
        self._egress.apply(plan, None if earlier is None else earlier.replaced)
        self._vocabulary.save(folder, self._egress.words())
        self._guard.apply(plan, earlier, resting)
        self._gate.apply(plan)
        self._outbox.use(folder, plan.outbox)
        self._cargo.limit(plan.mqtt.max_rate)
        self._open.load(folder)
        self._egress.recall(events_of(self._open.begun()))
        if self._plan is None:  # later, an event that has ended would begin anew
            self._guard.recall(self._open.begun())
        self._states.apply(plan, self._memory.load(plan))
        self._plan = plan
        self._memory.save(plan, self._retained.clearing(), self._states.left)
        self._discovery.apply(plan)
        if self._link is None:
            self._link = MqttConnection(plan.mqtt, self._cargo, clock=self._clock, look_up=self._look_up)
            self._greeting_due = True
        elif self._link.plan != plan.mqtt:
            self._move(self._link, plan)

    def _move(self, link: MqttConnection, plan: Plan) -> None:
        """Change to another broker or topic.

        The publisher leaves the old broker with a clean disconnect, and sends queued messages to the new one.
        """
        was, wanted = asdict(link.plan), asdict(plan.mqtt)
        changed = [name for name in wanted if wanted[name] != was[name]]  # another device.id changes some of them, too
        log.info("settings of the connection changed (%s): reconnecting", ", ".join(changed))
        values = self._retained.values()
        if link.plan.topic != plan.mqtt.topic:
            for place in values.keys() - {STATUS}:
                self._states.remove(place)
        if not link.finish(time.monotonic() + MOVE) and link.plan.topic != plan.mqtt.topic:
            log.warning("%s", stays(link.plan.topic, BrokerAddress.of(link.plan)))
        self._retained.restore(values)
        self._link = MqttConnection(plan.mqtt, self._cargo, clock=self._clock, look_up=self._look_up)

    def _engine_down(self, down: EngineDown) -> None:
        """End the boot of a dead engine, after receiving the messages that it left in the channel.

        The engine may have left them before this process started.
        """
        if down.boot not in self._boots:
            self._boots.append(down.boot)
        self._open_gate(at_once=True)
        self._draining = down.boot  # later orders wait until this is done
        self._take(MOST_EARLY)
        self._draining = None
        tallies = self._known_tallies(down.tallies)
        self._outbox.resume(down.boot, tallies)
        self._put_early(lambda boot: boot == down.boot)
        self._learn_ends()
        self._outbox.ended(down.boot, tallies)
        self._end_events(down.reason, lambda boot: boot == down.boot)
        self._greeting_due = True  # the next engine must hear of a publisher, in case this one dies first
        if down.boot == self._boot:
            self._health.report = None
            self._held = {name: held for name, held in self._held.items() if held.state.boot != down.boot}
            self._states.all_null(down.reason, down.boot)

    def _take(self, most: int, seconds: float = math.inf) -> None:
        if self._link is None or self._engine_gone or not self._outbox.ready:
            return  # without labels nothing can be checked, so messages stay in the channel
        if self._boot is None and self._draining is None:
            return  # the supervisor announces the engine next
        end = time.monotonic() + seconds
        for position in range(most):
            if self._draining is None and (self._gate.full or (position > 0 and time.monotonic() >= end)):
                return
            message = self._deferred or self._hear(self._results)
            self._deferred = None
            if message is None:
                return
            if self._draining is not None and _boot(message) not in self._boots:
                self._deferred = message  # it is from the next engine, which the supervisor's next order announces
                return
            if self._draining is None and self._is_news(message):
                self._deferred = message  # the message keeps its place, because `_handle_control` may receive more
                self._handle_control()  # reads the announcement, which was sent before the engine started
                message, self._deferred = self._deferred, None
            if message is not None and self._known(_boot(message)) and self._exists(message):
                self._gate_or_hear(message)

    def _exists(self, message: object) -> bool:
        """Return whether the pipeline of a message exists. Invented names would fill memory and carry hidden data."""
        if not isinstance(message, (Handover, StateSnapshot)) or self._guard.knows(message.pipeline):
            return True
        self._egress.rejected += 1
        if self._rarely.due("pipeline"):
            log.warning("message rejected: there is no pipeline %r (logged once a minute)", message.pipeline)
        return False

    def _gate_or_hear(self, message: object) -> None:
        assert isinstance(message, (EngineHello, Handover, StateSnapshot))
        if self._draining is not None or not self._gate.holds(message):
            self._hear_engine(message)

    def _open_gate(self, *, at_once: bool = False) -> None:
        for message in self._gate.opened(at_once=at_once):
            self._hear_engine(message)

    def _hear_engine(self, message: object) -> None:
        if isinstance(message, EngineHello):
            if self._answers:  # more would let an engine choose what counts as sent again
                self._answers -= 1
                self._greet(message)
        elif isinstance(message, StateSnapshot):
            self._take_state(message)
        elif isinstance(message, Handover) and self._greeted:
            self._put(message)
        elif isinstance(message, Handover):
            self._early.append(message)

    def _take_state(self, snapshot: StateSnapshot) -> None:
        """Set a state. A state that exceeds its rate waits, and a newer state replaces it."""
        if wait := self._guard.wait(snapshot.pipeline):
            self._held[snapshot.pipeline] = snapshot
            self._held_until = min(self._held_until, time.monotonic() + wait)
            return
        self._held.pop(snapshot.pipeline, None)
        try:
            state, at = self._guard.state(snapshot)
        except WireError as error:
            self._egress.reject(Place("state", snapshot.pipeline), error)
            return
        self._states.update(snapshot.pipeline, state, at)

    def _set_held(self) -> None:
        """Set the states that had to wait for their rate."""
        if time.monotonic() >= self._held_until:
            self._held_until = math.inf
            for snapshot in list(self._held.values()):
                self._take_state(snapshot)

    def _is_news(self, message: object) -> bool:
        said = isinstance(message, (StateSnapshot, Handover)) and not (
            self._guard.knows(message.pipeline) and self._egress.knows(_said(message))
        )
        return said or _boot(message) not in self._boots

    def _known(self, boot: str) -> bool:
        """Return whether this is the boot of the running engine, or of a dead engine while its last messages arrive.

        Messages of other boots are ignored. Otherwise an engine could encode data in the choice of an ended boot.
        """
        if boot == (self._boot if self._draining is None else self._draining):
            return True
        self._egress.rejected += 1
        if self._rarely.due("boot"):
            which = "an engine that has ended," if boot in self._boots else "unknown engine"
            log.warning("ignoring messages from %s %s (logged once a minute)", which, boot)
        return False

    def _greet(self, hello: EngineHello) -> None:
        """Accept the engine's answer to the greeting.

        The engine sends earlier messages of its boot again, so this method drops the held messages of that boot. It
        queues the held messages of dead engines, which send nothing again.
        """
        self._greeted = True
        tallies = self._known_tallies(hello.tallies)
        if hello.boot == self._fresh:  # no publisher before this one has acknowledged anything of it
            tallies = tuple(replace(each, safe=0, lost=0) for each in tallies)
        again = tallies if hello.again else ()
        self._given = {MessageSeries(each.pipeline, hello.boot, each.kind): each.given for each in again}
        self._learn_ends()
        self._outbox.resume(hello.boot, tallies)
        self._put_early(lambda boot: boot != hello.boot)
        self._early.clear()
        self._end_events("engine_failed", lambda boot: boot != hello.boot)

    def _learn_ends(self) -> None:
        """Settle the end events that an earlier process received.

        If the outbox knows the number of an end event, that event was not lost with the process.
        """
        for series in {MessageSeries(begun.pipeline, begun.message.boot, "event") for begun in self._open.begun()}:
            self._open.settle(series, self._outbox.highest(series), heard=True)

    def _end_events(self, reason: Reason, gone: Callable[[str], bool]) -> None:
        """End the events that a dead engine has left open, before any message of the next engine."""
        for begun in self._open.begun():
            series = MessageSeries(begun.pipeline, begun.message.boot, "event")
            self._open.reached(series.pipeline, series.boot, self._outbox.highest(series))
        for handover in self._open.end(reason, gone):
            self._put(handover, own=True)

    def _put_early(self, wanted: Callable[[str], bool]) -> None:
        early, self._early = self._early, deque(maxlen=MOST_EARLY)
        chosen = [handover for handover in early if wanted(handover.message.boot)]
        self._early.extend(handover for handover in early if not wanted(handover.message.boot))
        for handover in chosen:
            self._put(handover)

    def _put(self, handover: Handover, *, own: bool = False) -> None:
        """Queue a message.

        Only an end event that this process made (``own``) may skip numbers: it is not known which numbers the engine
        used.
        """
        message = handover.message
        series = MessageSeries(handover.pipeline, message.boot, "event" if isinstance(message, Event) else "result")
        if own and isinstance(message, Event) and message.skipped is not ABSENT:
            self._outbox.leave_out(series, message.seq)
        # Until the engine has answered the greeting, an earlier publisher may have received the missing numbers.
        missing = "handover" if message.boot == self._boot and self._greeted else "unknown"
        if not own and self._outbox.settled_before(series, message.seq, missing):
            return  # the engine sends it again; it costs nothing, because nothing leaves
        admitted = self._admit_own(series, handover) if own else self._admit(series, message, handover.at)
        if isinstance(admitted, str):
            self._outbox.lose(series, message.seq, admitted, missing)
        else:
            late = self._link is None or not self._link.up or self._comes_again(series, message.seq)
            self._outbox.put(series, message.seq, admitted.payload, late=late, missing=missing)
            self._open.note(replace(handover, message=admitted.message, at=admitted.at))

    def _admit(self, series: MessageSeries, message: Result | Event, at: float | None) -> Admitted | str:
        return self._guard.admit(series, message, at, highest=self._outbox.highest(series), is_open=self._open.is_open)

    def _admit_own(self, series: MessageSeries, handover: Handover) -> Admitted | str:
        """Check an end event that this process made. It needs no check of numbers and rate."""
        payload = self._egress.admit(series.place, handover.message, handover.at, own=True)
        return "rejected" if payload is None else Admitted(handover.message, handover.at, payload)

    def _comes_again(self, series: MessageSeries, seq: int) -> bool:
        """Return whether an earlier publisher received this result, so that newer ones may have been sent before it.

        Events always count as live: a repeated alarm is better than an alarm that subscribers take for an old one.
        """
        return series.kind == "result" and seq <= self._given.get(series, 0)

    def _send_acks(self, *, at_once: bool = False) -> None:
        """Send the engine the greeting and the acknowledgements that are due.

        Records that do not fit into the channel are sent later.
        """
        greets = self._greeting_due and self._boot is not None and self._outbox.ready
        if greets and self._tell_engine(PublisherHello()):
            self._greeting_due, self._answers = False, MOST_ANSWERS
        now, settled = time.monotonic(), self._outbox.settled
        if settled and self._acks_due == math.inf:
            self._acks_due = max(now, self._acked_at + ACKS_WITHIN)
        if self._acks_due == math.inf or not (at_once or settled >= ACKS_AFTER or now >= self._acks_due):
            return
        safe, self._acks_due, self._acked_at = self._outbox.safe(), math.inf, now
        for acked in safe:
            self._guard.acked(acked)
            if acked.kind == "event":
                self._open.settle(MessageSeries(acked.pipeline, acked.boot, acked.kind), acked.seq)
        self._open.save()  # before the engine discards the messages
        for acked in safe:
            if not self._tell_engine(acked):
                self._acks_due = now + ACKS_WITHIN
                return
            self._outbox.told(acked)

    def _tell_engine(self, word: PublisherHello | Acked) -> bool:
        try:
            return not self._engine_gone and self._results.send(word)
        except ChannelClosedError:
            self._engine_gone = True
            return False

    def _say_health(self) -> None:
        if self._plan and self._health.due():
            self._memory.save(self._plan, self._retained.clearing(), self._states.left)
            self._discovery.settle(self._plan)
            self._set_health(self._plan)
        elif (health := self._health.again()) is not None:
            self._retain_health(health)

    def _set_health(self, plan: Plan) -> None:
        self._retain_health(self._health.compose(plan, self._outbox.account(), self._egress_health()))

    def _retain_health(self, health: Health) -> None:
        if payload := self._egress.admit(HEALTH, health, self._clock.uptime()):
            self._retained.set(HEALTH, payload)

    def _say_watched(self, *, watched: bool) -> None:
        """Publish at once that a person looks at pictures, or no longer does.

        The other values are those of the last message. With newer values a compromised engine could send more data than
        the calculated limit.
        """
        if (health := self._health.watch(watched=watched)) is not None:
            self._retain_health(health)

    def _look_at_clock(self) -> None:
        """When the clock has become known, send messages again that were sent without it."""
        if self._clock.look():
            log.info("clock synchronized; correcting queued timestamps")
            self._retained.refresh("state", 0.0)
            self._health.connected()
            if self._link:
                self._link.clock_set()

    def _report(self) -> None:
        connected, sentence, faulty = False, STARTING_UP, False
        if self._link:
            connected, sentence = self._link.connected, self._link.sentence
            faulty = self._link.up and bool(self._link.fault)
        report = PublisherReport(
            connected,
            shortened(sentence),
            self._outbox.account() if self._plan is not None and self._outbox.ready else None,
            self._egress_health(),
            self._sandbox,
            ProcessUse(*self._own_use.read()),
            faulty,
        )
        try:
            if self._control.send(report) and self._offence and self._control.send(Offence("engine", self._offence)):
                self._offence = ""
        except ChannelClosedError:
            self._stopping = self._orphaned = True

    def _egress_health(self) -> EgressHealth:
        return EgressHealth(self._egress.rejected, self._cargo.bytes)

    def _hear(self, channel: Channel) -> object | None:
        """Return the next record of a channel. Handle the end of a channel and invalid records."""
        while channel is self._control or time.monotonic() >= self._deaf_until:
            try:
                return channel.receive()
            except ChannelClosedError:
                if channel is self._control:
                    log.warning("the supervisor has ended; stopping the publisher")
                    self._stopping = self._orphaned = True
                else:
                    self._engine_gone = True
                return None
            except WireError as error:
                self._egress.rejected += 1
                if self._rarely.due(channel):
                    log.warning("invalid record rejected: %.300s (logged once a minute)", error)
                if channel is self._results and not self._faults.take():
                    self._offence = shortened(f"too many invalid records: {error}")
                    self._deaf_until = time.monotonic() + DEAF
                    self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        return None

    def _known_tallies(self, tallies: Iterable[Tally]) -> tuple[Tally, ...]:
        """Return the tallies of pipelines that the publisher knows."""
        return tuple(each for each in tallies if self._guard.knows(each.pipeline))

    def _end(self) -> None:
        deadline = time.monotonic() + LAST_WORDS
        if self._orphaned:
            self._hear_out(time.monotonic() + LAST_RESULTS)
        self._take(MOST_EARLY)
        self._open_gate(at_once=True)
        self._end_engine()
        self._open.save(now=self._replaced)
        self._guard.save()
        if self._link is None or self._plan is None:
            return
        if not self._replaced:  # while the device is offline, no source is "ok"
            self._health.report = None
            self._set_health(self._plan)
        if not self._link.finish(deadline):
            log.warning("clean disconnect from the broker failed: %s", self._link.sentence)
        self._send_acks(at_once=True)
        if not self._replaced:
            self._open.finish()
        self._memory.save(self._plan, self._retained.clearing(), self._states.left)
        self._discovery.settle(self._plan)
        account = self._outbox.account()
        if (pending := account.pending) and not account.degraded:
            log.warning("%d messages not delivered; they stay queued in the outbox", pending)

    def _end_engine(self) -> None:
        """End the events of the running engine.

        If this publisher is being replaced, the engine sends its other messages to the new publisher.
        """
        if self._replaced:
            self._outbox.hand_over(self._boot)
            self._put_early(lambda boot: boot != self._boot)
            self._states.all_null("starting")
            return
        self._put_early(lambda _: True)
        report = self._health.report
        self._learn_ends()
        if self._boot is not None:
            tallies = report.tallies if report and report.boot == self._boot else ()
            self._outbox.ended(self._boot, self._known_tallies(tallies))
        self._end_events("stopped", lambda _boot: True)
        self._states.all_null("stopped")

    def _hear_out(self, deadline: float) -> None:
        """Receive the last messages after the supervisor's death.

        The engine also notices the death of the supervisor, sends its last messages and ends.
        """
        while self._boot is not None and not self._engine_gone and (left := deadline - time.monotonic()) > 0:
            reads, writes = self._link.files() if self._link else ([], [])
            readable([*reads, self._results.fd], writes, min(left, 0.1))
            self._take(MOST_EARLY)
            if self._link:
                self._link.step()
            self._send_acks()


def _boot(message: object) -> str:
    if isinstance(message, StateSnapshot):
        return message.state.boot
    if isinstance(message, Handover):
        return message.message.boot
    return message.boot if isinstance(message, EngineHello) else ""


def _said(message: StateSnapshot | Handover) -> object:
    return message.state if isinstance(message, StateSnapshot) else message.message
