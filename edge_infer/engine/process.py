"""The engine process.

Its main thread handles the orders of the supervisor; its other threads capture frames and run models.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import cv2

from edge_infer.contract.messages import Reason, timestamp
from edge_infer.engine.cascade.parent import CropsFeed
from edge_infer.engine.events.explain import answer
from edge_infer.engine.input.capture import local_capture, reader_capture
from edge_infer.engine.input.feed import Feed
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.engine.interpreter import backend_name
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.run_scheduler import Turns
from edge_infer.engine.output.picture_for_people import png, small_picture
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Held, Worker
from edge_infer.errors import EdgeInferError, WireError, shortened
from edge_infer.frames.frame import Frame
from edge_infer.ipc.activity_table import ActivityTable
from edge_infer.ipc.channel import Channel, ChannelClosedError
from edge_infer.ipc.drift import DriftAccept, DriftAnswer, DriftQuestion, DriftReference
from edge_infer.ipc.messages import (
    RUNTIME,
    Acked,
    ApplyPlan,
    AttachReader,
    EngineReport,
    EventsAnswer,
    EventsQuestion,
    Grab,
    GrabDone,
    Look,
    ModelFile,
    Offence,
    ProcessUse,
    PublisherHello,
    Restrain,
    ScoresAnswer,
    ScoresQuestion,
    SetLogLevel,
    Stop,
    WhyAnswer,
    WhyQuestion,
)
from edge_infer.plan.files import files_of_pipelines
from edge_infer.plan.records import Plan
from edge_infer.platform import memfd
from edge_infer.platform.event_loop import Stalls, readable
from edge_infer.platform.logs import set_level
from edge_infer.platform.process_use import OwnUse
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.readers.sources.faults import settle_all
from edge_infer.yamlfile.error_text import suggestion

log = logging.getLogger(__name__)

REPORT_EVERY: Final = 1.0
REPORT_SOON: Final = 0.25
"""Seconds between two reports while a model is being loaded or on probation."""
STUCK_AFTER: Final = 10.0
"""Minimum seconds within one frame after which a pipeline is reported as stuck; more for a slow model."""
PATIENCE: Final = 2.0
"""Seconds that threads may take to finish the current frame. A thread that takes longer is abandoned, and its output is
suppressed."""
STALE: Final = 5.0
"""Seconds after which findings are too old to be shown with a picture."""
MAX_AT_ONCE: Final = 100
REST: Final = 0.01
"""Maximum number of publisher records processed at once, and seconds until the next records are processed if more
wait."""
ACKS_EVERY: Final = 0.25
"""Seconds between two readings of the acknowledgements. Acknowledgements are not urgent, and each reading costs two
thread switches."""
MAX_FAULTS, FAULTS_PER_SECOND = 50, 1.0
MAX_GREETINGS, GREETINGS_PER_SECOND = 100, 2.0
"""Limits for faults of a publisher, above which it counts as an attacker.

The limits, a burst and a rate per second, apply to each kind of fault. Every greeting makes the engine send all kept
messages again.
"""
DEAF: Final = 1.0
"""Seconds for which the engine ignores a publisher that floods it. The supervisor ends the publisher in the
meantime."""
FINISH: Final = 2.0
QUIET_LOOKS: Final = 20
"""Maximum seconds in which a pipeline that a new plan ends may process its waiting items. The pipeline is done when
`QUIET_LOOKS` checks in a row, `REST` seconds apart, find nothing waiting."""
LAST_PATIENCE, LAST_WORDS = 0.4, 0.6
"""Seconds at shutdown for finishing the current frames, and for sending the numbered messages."""


class Engine:
    """Runs feeds and pipelines according to the newest plan; the main thread runs `run`."""

    def __init__(
        self, control: Channel, results: Channel, sandbox: dict[str, str], boot: str, lights: ActivityTable
    ) -> None:
        self._control = control
        self._results = results
        self._sandbox = sandbox
        self._boot = boot
        self._lights = lights
        self._outlet = ResultSender(results, self._boot, lights)
        self._turns, self._pool, self._model_files = Turns(), InterpreterPools(), ModelFiles()
        self._plan: Plan | None = None
        self._order = 0
        self._feeds: dict[str, Feed] = {}
        self._pipelines: dict[str, Worker] = {}
        self._held: dict[str, Held] = {}
        self._readers: dict[str, int] = {}  # channels to readers whose feed has not started yet
        self._references: dict[str, DriftReference] = {}  # drift references by pipeline
        self._limits: Mapping[str, float] = {}  # frames per second, for pipelines that the governor limits
        self._stopping = self._told_wrong = False
        self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._greetings = TokenBucket(MAX_GREETINGS, GREETINGS_PER_SECOND)
        self._acks_at = 0.0  # no record of the publisher is read before this time
        self._offence = ""  # protocol violation of the publisher, until it is reported
        self._own_use = OwnUse()
        self._stalls = Stalls()

    def run(self) -> None:
        """Handle the supervisor's orders until a stop order arrives or the supervisor is gone."""
        report_at = 0.0
        try:
            while not self._stopping:
                if self._plan is not None and time.monotonic() >= report_at:
                    unsettled = any(pipeline.unsettled() for pipeline in self._pipelines.values())
                    report_at = time.monotonic() + (REPORT_SOON if unsettled else REPORT_EVERY)
                    for held in self._held.values():
                        held.say()
                    self._control.send(self._report())
                    self._keep_references()
                    settle_all()
                    self._accuse()
                self._wait(report_at)
                if self._handle_control():
                    report_at = 0.0
                self._handle_acks()
        except ChannelClosedError:
            log.warning("the supervisor has ended; stopping the engine")
        finally:
            self._close()

    def _wait(self, until: float) -> None:
        unsent = not self._outlet.flush()
        writes = [self._results.fd] if unsent else []
        now = time.monotonic()
        timeout = max(0.0, until - now) if self._plan is not None else REPORT_EVERY
        reads = [self._control.fd]
        if now >= self._acks_at:
            reads.append(self._results.fd)
        else:
            timeout = min(timeout, self._acks_at - now)
        self._stalls.wait(timeout)
        readable(reads, writes, timeout)
        self._stalls.woke()

    def _handle_control(self) -> bool:
        """Handle the pending orders of the supervisor; return whether a report is due now.

        A report is due after a new plan. It is also due after each picture, before the next order, because the
        supervisor kills an engine that makes several large pictures without a report.
        """
        changed = False
        while (order := self._control.receive()) is not None:
            if isinstance(order, ApplyPlan):
                self._apply(order)
                changed = True
            elif isinstance(order, ModelFile):
                self._take(order)
            elif isinstance(order, AttachReader):
                self._attach(order)
            elif isinstance(order, WhyQuestion):
                self._control.send(self._why(order))
            elif isinstance(order, Grab):
                self._control.send(self._grabbed(order))
                return True
            elif isinstance(order, EventsQuestion):
                self._control.send(EventsAnswer(self._outlet.recent_events()))
            elif isinstance(order, ScoresQuestion):
                self._control.send(self._scores(order.pipeline))
            elif isinstance(order, DriftQuestion):
                self._control.send(self._drift())
            elif isinstance(order, DriftAccept):
                if (worker := self._pipelines.get(order.pipeline)) is not None:
                    worker.drift.accept(camera=order.camera, outcome=order.outcome)
            elif isinstance(order, DriftReference):
                self._references[order.pipeline] = order
            elif isinstance(order, Restrain):
                self._limits = order.governor.limits if order.governor is not None else {}
                self._restrain()
            elif isinstance(order, SetLogLevel):
                set_level(order.level)
            elif isinstance(order, Stop):
                self._stopping = True
        return changed

    def _handle_acks(self) -> None:
        now = time.monotonic()
        if now < self._acks_at:
            return
        try:
            for _ in range(MAX_AT_ONCE):
                if (word := self._results.receive()) is None:
                    return
                self._acks_at = now + (REST if self._outlet.crowded else ACKS_EVERY)
                if isinstance(word, Acked):
                    self._outlet.acked(word)
                elif isinstance(word, PublisherHello) and self._greetings.take():
                    self._outlet.again()
                else:
                    self._turn_deaf("too many greetings")
                    return
            self._acks_at = now + REST
        except ChannelClosedError:
            raise
        except WireError as error:  # a faulty process with network access must not affect this one
            if not self._told_wrong:
                log.warning("invalid record from the publisher: %s (logged once)", error)
            self._told_wrong = True
            if not self._faults.take():
                self._turn_deaf(f"too many invalid records: {error}")

    def _turn_deaf(self, what: str) -> None:
        """Ignore the publisher while the supervisor ends it. For its successor the fault limits start afresh."""
        self._offence = shortened(what)
        self._acks_at = time.monotonic() + DEAF
        self._faults = TokenBucket(MAX_FAULTS, FAULTS_PER_SECOND)
        self._greetings = TokenBucket(MAX_GREETINGS, GREETINGS_PER_SECOND)

    def _accuse(self) -> None:
        """Report processes that flood the engine to the supervisor.

        A report that does not fit into the channel is sent again.
        """
        if self._offence and self._control.send(Offence("publisher", self._offence)):
            self._offence = ""
        for name, feed in self._feeds.items():
            if feed.offence and self._control.send(Offence("reader", feed.offence, name)):
                feed.offence = ""

    def _take(self, file: ModelFile) -> None:
        if file.error:
            self._model_files.miss(file.path, file.error)
        else:
            self._model_files.add(file.path, self._control.take_file())

    def _attach(self, order: AttachReader) -> None:
        source, file = order.source, self._control.take_file()
        if order.again and (feed := self._feeds.get(source)) is not None and feed.renew(file):
            return
        if source in self._readers:
            os.close(self._readers.pop(source))
        self._readers[source] = file

    def _apply(self, order: ApplyPlan) -> None:
        """Apply a plan and restart only what changed: a feed if its source changed, a pipeline if its feed changed."""
        plan = order.plan
        wanted = {source.name: source for source in plan.sources}
        kept_feeds = {
            name: feed
            for name, feed in self._feeds.items()
            if wanted.get(name) == feed.plan and name not in self._readers
        }
        pipelines = {each.name: each for each in order.running()}
        self._model_files.expect(model_files := files_of_pipelines(pipelines.values()))
        kept = {
            name: pipeline
            for name, pipeline in self._pipelines.items()
            if name in pipelines and kept_feeds.get(pipelines[name].source) is pipeline.feed
        }
        gone, inactive = self._pipelines.keys() - kept.keys(), set(order.inactive)
        self._finish([self._pipelines[name] for name in gone])
        self._end((self._pipelines[name] for name in gone - inactive), "config_changed")
        self._end((self._pipelines[name] for name in gone & inactive), "inactive")
        self._end(self._feeds[name] for name in self._feeds.keys() - kept_feeds.keys())
        for name in (self._pipelines.keys() | self._held.keys()) - {each.name for each in plan.pipelines}:
            self._outlet.forget(name)
        self._held = {
            each.name: Held(each, self._outlet, inactive=each.name in order.inactive)
            for each in plan.pipelines
            if each.name not in pipelines
        }
        feeds = {name: kept_feeds.get(name) or make_feed(source) for name, source in wanted.items()}
        fresh = {
            name: Worker(
                each,
                feeds[each.source],
                self._outlet,
                self._lights.of(name),
                watched=name in order.trials,
                turns=self._turns,
                pool=self._pool,
                files=self._model_files,
                stalls=self._stalls,
                learned=self._references.get(name),
            )
            for name, each in pipelines.items()
            if name not in kept
        }
        self._plan, self._order, self._feeds = plan, order.order, feeds
        self._pipelines = {**kept, **fresh}
        for name, pipeline in kept.items():
            pipeline.change(pipelines[name], watched=name in order.trials, alone=name in order.alone)
        self._model_files.keep(model_files)
        parents: dict[str, Worker | Held] = {**self._pipelines, **self._held}
        for name, parent in parents.items():
            crops = (feed for feed in feeds.values() if isinstance(feed, CropsFeed))
            parent.cascade.join(feed for feed in crops if feed.plan.parent == name)
        self._restrain()
        for pipeline in fresh.values():
            pipeline.start()
        for name in feeds.keys() - kept_feeds.keys():
            self._start_feed(feeds[name])

    def _restrain(self) -> None:
        for name, pipeline in self._pipelines.items():
            pipeline.restrain(self._limits.get(name))

    def _start_feed(self, feed: Feed) -> None:
        try:
            if feed.plan.live:
                feed.start(reader_capture(feed.plan, self._readers.pop(feed.plan.name)))
            elif not isinstance(feed, CropsFeed):
                feed.start(local_capture(feed.plan))
        except EdgeInferError as error:
            feed.trouble(str(error), ended=True)

    def _finish(self, ending: list[Worker]) -> None:
        """Let pipelines that end process the rows and lines that wait for them, for `FINISH` seconds at most.

        The readers that the plan replaces have ended by now, and all their readings have arrived. `Worker.close`
        reports the readings that are not processed in this time.
        """
        until, quiet = time.monotonic() + FINISH, 0
        while quiet < QUIET_LOOKS and time.monotonic() < until:
            quiet = 0 if any(worker.backlog() for worker in ending) else quiet + 1
            if quiet < QUIET_LOOKS and any(worker.feed.keeps_all for worker in ending):
                time.sleep(REST)

    def _end(self, parts: Iterable[Worker | Feed], reason: Reason = "stopped", patience: float = PATIENCE) -> None:
        """End pipelines and feeds. Open events of the pipelines end with ``reason``."""
        ending = list(parts)
        for part in ending:  # stop all first, so that slow parts are waited for in parallel
            part.stop()
        deadline = time.monotonic() + patience
        for part in ending:
            left = max(0.0, deadline - time.monotonic())
            part.close(left, reason) if isinstance(part, Worker) else part.close(left)
            if isinstance(part, Worker) and part.drift.watches:
                self._references[part.name] = part.drift.last_reference()
                with suppress(ChannelClosedError):
                    self._control.send(self._references[part.name])

    def _why(self, question: WhyQuestion) -> WhyAnswer:
        return answer(question, {name: (worker.plan, worker.decisions) for name, worker in self._pipelines.items()})

    def _drift(self) -> DriftAnswer:
        found = {name: worker.drift.report() for name, worker in self._pipelines.items()}
        return DriftAnswer({name: report for name, report in found.items() if report is not None})

    def _keep_references(self) -> None:
        """Send the drift references that are due to the supervisor, which stores them."""
        for name, worker in self._pipelines.items():
            if (reference := worker.drift.reference()) is not None:
                self._references[name] = reference
                self._control.send(reference)

    def _scores(self, pipeline: str) -> ScoresAnswer:
        worker = self._pipelines.get(pipeline)
        if worker is None:
            return ScoresAnswer(pipeline, error=f"pipeline {pipeline} is not running")
        return worker.scores()

    def _grabbed(self, order: Grab) -> GrabDone:
        """Write a picture into the file that came with the order; return the result for the supervisor."""
        file = self._control.take_file()
        try:
            found = self._grab(order)
            if isinstance(found, str):
                return GrabDone(order.source, shortened(found), number=order.number)
            data, look = found
            memfd.write_all(file, data)
            os.ftruncate(file, len(data))  # the file is as long as the longest picture
        except (OSError, EdgeInferError, cv2.error) as error:
            return GrabDone(order.source, shortened(f"cannot write the picture: {error}"), number=order.number)
        finally:
            os.close(file)
        return GrabDone(order.source, look=look, number=order.number)

    def _grab(self, order: Grab) -> str | tuple[bytes, Look | None]:
        """Return the picture and, for a small picture, its description.

        Return the reason as text if there is no picture.
        """
        source = order.source
        feed = self._feeds.get(source)
        frame = feed.newest() if feed else None
        if feed is None and self._plan and any(each.source == source for each in self._plan.pipelines):
            return f"source {source} is closed: its pipelines are inactive now; edge-infer status shows why"
        if feed is None:
            return f"there is no source {source!r}; {suggestion(source, list(self._feeds))}"
        if frame is None:
            return f"source {source} has delivered no frame yet; edge-infer status shows its state"
        if not isinstance(frame, Frame):
            return f"it is of kind {feed.plan.kind}, which delivers {feed.plan.gives} and no pictures"
        return self._picture(order, frame)

    def _picture(self, order: Grab, frame: Frame) -> tuple[bytes, Look | None]:
        """Return the encoded picture and, for a small picture, its description."""
        masks = self._plan.masks(order.source) if self._plan else ()
        if not order.side:
            return png(frame, masks), None
        small = small_picture(frame, masks, order.side)
        since = time.monotonic() - STALE
        workers = {name: worker for name, worker in self._pipelines.items() if worker.plan.source == order.source}
        found = {name: worker.newest(since) for name, worker in workers.items()}
        findings = {name: result for name, result in found.items() if result is not None}
        sizes = {name: worker.input_size() for name, worker in workers.items()}
        inputs = {name: size for name, size in sizes.items() if size is not None}
        ts = timestamp(frame.wall)
        return small.jpeg, Look(*small.size, frame.size, ts, small.light, small.sharpness, findings, inputs)

    def _report(self) -> EngineReport:
        return EngineReport(
            boot=self._boot,
            digest=self._plan.digest if self._plan else "",
            pipelines={
                **{name: pipeline.health() for name, pipeline in self._pipelines.items()},
                **{name: held.health() for name, held in self._held.items()},
            },
            sources={name: feed.health() for name, feed in self._feeds.items()},
            running={name: pipeline.running() for name, pipeline in self._pipelines.items()},
            order=self._order,
            stuck=tuple(name for name, pipeline in self._pipelines.items() if pipeline.stuck(STUCK_AFTER)),
            loading=tuple(name for name, pipeline in self._pipelines.items() if pipeline.loading()),
            runtime=_runtime(),
            sandbox=self._sandbox,
            kept=self._outlet.kept,
            tallies=self._outlet.tallies(),
            counts={name: pipeline.counts() for name, pipeline in self._pipelines.items()},
            use=ProcessUse(*self._own_use.read()),
            drift={name: health for name, each in self._pipelines.items() if (health := each.drift.health())},
            drift_scores={name: scores for name, each in self._pipelines.items() if (scores := each.drift.scores())},
        )

    def _close(self) -> None:
        # Feeds first: items that a pipeline has not finished by then are not acknowledged, so the next engine receives
        # them.
        self._end([*self._feeds.values(), *self._pipelines.values()], patience=LAST_PATIENCE)
        self._model_files.close()
        for way in self._readers.values():
            os.close(way)
        self._readers.clear()
        try:
            self._leave_all(time.monotonic() + LAST_WORDS)
        except ChannelClosedError:
            log.warning("%d results and events not acknowledged: the publisher has ended", self._outlet.kept)
        settle_all(math.inf)

    def _leave_all(self, deadline: float) -> None:
        """Write all messages that no publisher has acknowledged into the channel once more.

        The publisher that read them may have died, and its successor starts after this process has ended.
        """
        again = False
        while (left := deadline - time.monotonic()) > 0:
            if not self._outlet.flush():
                readable((), [self._results.fd], left)
                continue
            self._acks_at = 0.0
            self._handle_acks()
            if again or not self._outlet.kept:
                return
            self._outlet.again()
            again = True


def _runtime() -> str:
    """Return name and version of the runtime; only the name if the version has an unusual form."""
    name = backend_name()
    return name if re.fullmatch(RUNTIME, name) else name.partition(" ")[0]
