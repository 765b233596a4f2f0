"""The daemon: start-up, main loop and shutdown.

It handles signals, the control socket and the notifications to systemd.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from edge_infer import __version__
from edge_infer.contract.codec import ABSENT, encode, replace
from edge_infer.contract.messages import ChannelBound, ConfigStatus, Info, PipelineInfo, RetainedTopics, timestamp
from edge_infer.contract.topics import retained_names
from edge_infer.ipc.messages import EngineReport
from edge_infer.plan.channel_bound import device_bound
from edge_infer.plan.device_limits import INFO_AT_ONCE, INFO_EVERY
from edge_infer.plan.records import Plan
from edge_infer.platform.board import board_name
from edge_infer.platform.config_files import FOLDER
from edge_infer.platform.event_loop import readable
from edge_infer.platform.rate_limits import LogThrottle, TokenBucket
from edge_infer.sandbox import privileges
from edge_infer.sandbox.selftest import TRIED
from edge_infer.supervisor.control.checks import Checks
from edge_infer.supervisor.control.log_level import LogLevel
from edge_infer.supervisor.control.page_requests import BoardWatch, PendingRecalls, page_refusal, scene
from edge_infer.supervisor.control.peer import ChangeLimit
from edge_infer.supervisor.control.requests import (
    DriftRequests,
    ModelRequests,
    PauseRequests,
    PendingExplainRequests,
    PendingPictures,
)
from edge_infer.supervisor.control.server import MAX_ECHO, ControlSocket, Request, socket_path
from edge_infer.supervisor.governor.governor import Tempo
from edge_infer.supervisor.governor.governor_loop import GovernorLoop
from edge_infer.supervisor.metrics.metrics_file import MetricsWriter
from edge_infer.supervisor.processes.orphans import Orphans, end_left_by_config
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.redaction import EngineWords
from edge_infer.supervisor.reload.reload import Reload
from edge_infer.supervisor.rollout.fast_path import FastPath
from edge_infer.supervisor.rollout.model_status import standing
from edge_infer.supervisor.rollout.rollout import ModelRollout
from edge_infer.supervisor.rollout.shadows import Figures
from edge_infer.supervisor.signals import Signals
from edge_infer.supervisor.statedir import all_aside, leave_temporary, locked
from edge_infer.supervisor.status import Status, compose, headline
from edge_infer.supervisor.systemd_notify import Notifier
from edge_infer.yamlfile.scalars import plain

log = logging.getLogger(__name__)

READY_AFTER: Final = 15.0
"""Seconds after which the daemon tells systemd that it is ready even without a report of the engine, which may still be
starting, or restarting."""
MAX_FILES: Final = 4096
"""Limit of open files. Far fewer are open, but child processes may have a part of this number in transit between
them."""
STATUS_EVERY: Final = 5.0


class Daemon:
    """Runs one configuration file. `run` covers the whole life of the daemon."""

    def __init__(self, config: Path, log_level: str, board: Path = Path("/"), tempo: Tempo | None = None) -> None:
        """Set up. The governor reads ``proc`` and ``sys`` below ``board``, at the intervals of ``tempo``."""
        self._notifier = Notifier(os.environ)
        self._signals = Signals()
        self._house = ProcessSupervisor(log_level, (str(config.absolute()), str(config.absolute().parent / FOLDER)))
        self._swap = ModelRollout(self._house)
        changes = ChangeLimit()
        self._reload = Reload(config, self._house, self._swap, lambda: end_left_by_config(self._own()), changes)
        self._models = ModelRequests(self._swap, self._reload.begin, changes)
        self._pauses = PauseRequests(self._swap, changes)
        self._grabs = PendingPictures(self._house)
        self._whys = PendingExplainRequests(self._house, self._swap.resting)
        self._recalls = PendingRecalls(self._house)
        self._drift = DriftRequests(self._house, changes)
        self._board = BoardWatch(board)
        self._checks = Checks(config, lambda: self._reload.plan.state_dir if self._reload.plan is not None else None)
        self._log_level = LogLevel(self._house, log_level, changes)
        self._governing = GovernorLoop(self._house, board, tempo or Tempo())
        self._metrics = MetricsWriter(self._house, self._swap, self._reload, board)
        self._figures = Figures()
        self._fast_path = FastPath()
        self._helpers = (self._reload, self._checks, self._fast_path)  # each of these starts short-lived processes
        self._since = time.monotonic()
        self._ready = False
        self._said_info: tuple[str, Plan, dict[str, str], float | None, tuple[str, ...]] | None = None
        self._infos = TokenBucket(INFO_AT_ONCE, 1 / INFO_EVERY)
        self._words = EngineWords()
        self._told_config: ConfigStatus | None = None
        self._rarely = LogThrottle(math.inf)
        self._status_at = self._watchdog_at = 0.0

    def run(self) -> int:
        """Start, loop and shut down; return the exit code. Raises `ConfigError` and `StartError` before the start."""
        # This process holds the ends of all channels. No process of the same user may take them or read the records.
        privileges.forbid_core_dumps()
        privileges.allow_files(MAX_FILES)
        privileges.forbid_dumping()
        privileges.forbid_new_privileges()  # so no child process can change its user, see `peer.identify`
        with ExitStack() as stack:
            orphans = stack.enter_context(Orphans())
            stack.enter_context(self._signals)
            first = self._reload.read_first(self._signals)
            if first is None:
                return 0
            plan, compiled = first
            stack.enter_context(locked(Path(plan.state_dir)))
            leave_temporary(Path(plan.state_dir))
            self._reload.try_out(plan)
            control = stack.enter_context(ControlSocket(socket_path(plan.state_dir), self._handle))
            stack.callback(self._house.close)
            stack.callback(self._reload.close)
            stack.callback(self._grabs.close)
            stack.callback(self._whys.close)
            stack.callback(self._recalls.close)
            stack.callback(self._checks.close)
            stack.callback(self._fast_path.close)
            self._swap.open(Path(plan.state_dir))
            self._house.end_trial_of_folder(plan.state_dir)
            self._house.references.open(Path(plan.state_dir))
            self._house.references.tidy(each.name for each in plan.pipelines if each.drift is not None)
            self._reload.start(plan, compiled)
            lost = False
            while not self._signals.stop and not lost:
                self._turn(control)
                orphans.reap(self._own())
                lost = self._house.lost()
            log.info("stopping")
            self._reload.look_at_proof(stops=not lost)
            self._notifier.stopping()
            orderly = self._house.close()
            self._house.end_trial_of_folder(plan.state_dir)
            self._swap.close()
            self._metrics.close()
        return 0 if orderly and not lost else 1

    def _own(self) -> set[int]:
        """Return the running children that this process itself has started."""
        return {*self._house.pids(), *(pid for each in self._helpers for pid in each.pids())}

    def _turn(self, control: ControlSocket) -> None:
        files = [self._signals.fileno(), *control.files(), *self._house.files()]
        files += [file for each in self._helpers for file in each.files()]
        due = min(self._house.next_due(), self._reload.due(), self._governing.due(), self._metrics.due())
        timeout = max(0.0, min(1.0, due - time.monotonic()))
        self._house.stalls.wait(timeout)
        ready = set(readable(files, [*self._house.unsent(), *control.unsent()], timeout))
        self._house.stalls.woke()
        if self._signals.stop:
            return  # systemd also signals the readers: none of them may be started again
        for death in self._house.serve():
            self._swap.engine_died(death)
        self._swap.hear()
        self._house.restart_due()
        for file in ready.intersection(control.files()):
            control.serve(file)
        control.flush()
        if self._signals.take_reload():
            self._reload.begin()
        self._reload.look()
        self._reload.go_on()
        self._grabs.go_on()
        self._whys.go_on()
        self._recalls.go_on()
        self._checks.go_on()
        self._log_level.go_on()
        self._house.references.look()
        self._governing.look(self._swap.plan, measuring=bool(self._fast_path.pids()))
        self._metrics.look(self._swap.plan)
        if self._swap.plan is not None:
            self._fast_path.look(Path(self._swap.plan.state_dir), calm=self._reload.calm())
        self._announce_safely()
        self._tell_systemd()
        self._reload.look_at_proof()

    def _handle(self, request: Request) -> None:
        wanted = request.body.get("do")
        if (refusal := page_refusal(request)) is not None:
            request.answer({"error": refusal})
        elif wanted == "reload":
            self._reload.begin(request)
        elif wanted == "status":
            request.answer(encode(self._status()))
        elif wanted == "metrics":
            request.answer({"metrics": self._metrics.text()})
        elif wanted in ("grab", "look"):
            self._grabs.begin(request)
        elif wanted == "drift" and request.body.get("action") == "accept":
            self._drift.begin(request)
        elif wanted in ("events", "scores", "drift"):
            self._recalls.begin(request)
        elif wanted == "overview":
            device = self._reload.plan.device if self._reload.plan is not None else ""
            overview = self._board.overview(request.user, device, self._status(), watched=self._house.watched)
            request.answer(encode(overview))
        elif wanted == "scene" and self._reload.plan is not None:
            request.answer(encode(scene(self._reload.plan)))
        elif wanted == "drawing":
            self._reload.expect_edit()
            request.answer({"expected": True})
        elif wanted == "why":
            self._whys.begin(request)
        elif wanted == "check":
            self._checks.begin(request)
        elif wanted == "log":
            self._log_level.begin(request)
        elif wanted == "models":
            self._models.begin(request)
        elif wanted in ("pause", "resume"):
            self._pauses.begin(request)
        else:
            request.answer(
                {"error": f"edge-infer {__version__} does not know the request {plain(repr(wanted), MAX_ECHO)}"}
            )

    def _announce_safely(self) -> None:
        """Announce the device. A plan of a compromised process that cannot be announced does not end the daemon."""
        try:
            self._announce()
        except Exception:
            if self._rarely.due("announce"):
                log.exception("cannot publish info or the status of a model (logged once)")

    def _announce(self) -> None:
        """Publish the device information as soon as the engine runs the current plan."""
        report, plan = self._house.heard.engine, self._swap.plan
        if report is None or plan is None or report.digest != plan.digest:
            return
        walls, gain, models = self._house.walls(), self._fast_path.gain, standing(self._swap, report)
        said, before = (report.boot, plan, walls, gain, tuple(models)), self._said_info
        if said != before and (before is None or before[1] != plan or self._infos.take()):
            self._said_info = said
            topics = retained_names((each.name for each in plan.pipelines), models)
            report = replace(report, runtime=self._house.runtime())
            self._house.announce("info", _info(report, plan, walls, gain, RetainedTopics.of(topics)))
        decided = self._swap.decisions()
        for name, status in models.items():
            told = self._figures.settled(name, self._words.outward(status), time.monotonic(), decided)
            self._house.announce(f"model/{name}", told)

    def _status(self) -> Status:
        report = self._house.heard.engine
        models = standing(self._swap, report) if report else {}
        gain, inactive = self._fast_path.gain, self._swap.inactive
        plan = self._reload.plan
        return compose(
            self._house,
            self._reload.status,
            models,
            self._since,
            fast_path=gain,
            inactive=inactive,
            put_aside=tuple(map(str, all_aside(plan.state_dir))) if plan is not None else (),
            state_dir=plan.state_dir if plan is not None else None,
        )

    def _tell_systemd(self) -> None:
        now = time.monotonic()
        if now >= self._status_at or self._told_config is not self._reload.status:
            self._status_at, self._told_config = now + STATUS_EVERY, self._reload.status
            line = headline(self._status())
            if self._ready:
                self._notifier.status(line)
            elif self._house.heard.engine is not None or now - self._since > READY_AFTER:
                self._ready = True
                self._notifier.ready(line)
            else:
                self._status_at = now + 0.1
        interval = self._notifier.watchdog_interval()
        if interval is not None and now >= self._watchdog_at and self._house.alive():
            self._watchdog_at = now + interval / 4  # the remaining time is for a card that takes seconds to write
            self._notifier.watchdog()


def _info(report: EngineReport, plan: Plan, walls: dict[str, str], gain: float | None, topics: RetainedTopics) -> Info:
    versions = {
        "edge-infer": __version__,
        "runtime": report.runtime,
        "python": platform.python_version(),
        "kernel": platform.release()[:128],
    }
    pipelines = {
        pipeline.name: PipelineInfo(pipeline.source, pipeline.model.title, pipeline.model.sha256[:8])
        for pipeline in plan.pipelines
    }
    now = timestamp(time.time())
    fast_path = ABSENT if gain is None else gain
    tried = {wall: TRIED[wall] for wall in walls if wall in TRIED}
    return Info(
        1,
        now,
        report.boot,
        versions,
        board_name(),
        plan.digest,
        walls,
        pipelines,
        fast_path=fast_path,
        tried=tried,
        topics=topics,
        channel=_bound(plan),
    )


def _bound(plan: Plan) -> ChannelBound:
    """Return the limit of hidden data. It is unknown if a compromised model trial has returned invalid numbers."""
    try:
        return device_bound(plan)
    except Exception as error:  # noqa: BLE001 - whatever the numbers are, they cost this figure alone
        log.warning(
            "cannot calculate the bound of hidden data, so `channel.bytes_per_second` in the message `info` is null: "
            "%s",
            error,
        )
        return ChannelBound(None)
