"""The output of a pipeline: its results and states, the events of tracked objects, and the scores that it found."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_infer.contract.codec import ABSENT, replace
from edge_infer.contract.messages import Reason, Result, State, timestamp
from edge_infer.engine.cascade.answers import Answers
from edge_infer.engine.cascade.parent import Cascade
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.model.serving import Serving
from edge_infer.engine.output.outcome import EARLY, Outcome
from edge_infer.engine.output.result_sender import Outward
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.frames.frame import Captured, Instant
from edge_infer.ipc.messages import SCORE_STEPS, ScoresAnswer
from edge_infer.platform.clock import uptime

LOOK_ROOM: Final = 4096
"""Maximum bytes of the findings that are shown to a person at the device."""


class PipelineOutput:
    """Output of one pipeline, called by the pipeline's thread. Another thread may end its open events."""

    def __init__(self, pipeline: str, outlet: Outward) -> None:
        self.cascade = Cascade(pipeline)
        self._pipeline = pipeline
        self._outlet = outlet
        self._following = threading.Lock()
        self._ahead = 0.0  # the monotonic clock minus the clock of the frames, in seconds
        self._nothing: Reason | None = None
        self._state: State | None = None  # the last state that was sent
        self._since: tuple[object, Instant] = (None, Instant(0.0, 0.0))  # the current essence and its start
        self._hushed = False
        self._held_back = 0  # events held back by previous trackers
        self._newest: tuple[Findings, float, float] | None = None  # with its capture times, monotonic and wall
        self.scores = ScoreCounts()

    def mute(self) -> None:
        """Suppress all output except end events: a slow frame may still be in progress."""
        self._hushed = True

    def held_back(self, serving: Serving) -> int:
        """Return the number of events that a limit has held back."""
        return self._held_back + serving.follow.held_back

    def follow(self, serving: Serving, findings: Findings, frame: Captured) -> Findings:
        """Track the findings across frames and return tracked findings; changes are sent as events at once."""
        with self._following:
            if self._hushed:
                return findings
            now = frame.instant
            self._ahead = frame.monotonic - now.moment
            followed, news = serving.follow(findings, now, frame.parent, frame.covers)
            if news:
                self.tell(news, serving)
            return followed

    def publish(self, serving: Serving, outcome: Outcome, frame: Captured) -> int | None:
        """Send the state and the result of a frame if they are due.

        Return the sequence number of the result; None if none was sent.

        For a crop no state is sent here.
        """
        if self._hushed:
            return None
        now, policy = frame.moment, serving.publication
        self._nothing = None
        self.scores.note(outcome.findings)
        if outcome.about is None:
            self._newest = outcome.findings, frame.monotonic, frame.wall
            if policy.state_due(outcome.standing, now):
                self._say(outcome.state(self._holds(outcome.lasting, frame.instant)), outcome.at)
        told = policy.result_due(outcome.essence, now, outcome.about, captured=frame.monotonic)
        serving.follow.published(outcome.findings, frame.wall, told=told, over_budget=policy.over_budget)
        return self._outlet.hand_over(self._pipeline, outcome.result, outcome.at) if told else None

    def newest(self, serving: Serving, since: float) -> Result | None:
        """Return the findings of the newest frame; None if that frame is older than ``since`` (monotonic clock)."""
        if self._newest is None or self._newest[1] < since:
            return None
        findings, _, wall = self._newest
        return findings.result(serving.compose.head(wall, ABSENT), 1, LOOK_ROOM)

    def settle(self, serving: Serving, frame: Captured) -> Answers | None:
        """Finish a frame after all its parts: send a cascade's state, and pass the findings to the child pipelines."""
        if self._hushed:
            return None
        answers = self._answer(serving, frame) if serving.plan.crops is not None else None
        self.cascade.hand_on(frame)
        return answers

    def _answer(self, serving: Serving, frame: Captured) -> Answers | None:
        """Return a cascade's current answers, and send its state and events if they are due."""
        with self._following:
            if self._hushed:
                return None
            now = frame.instant
            self._ahead = frame.monotonic - now.moment
            answers, news = serving.follow.settled(now)
            self.tell(news, serving)
        if answers is not None:
            self._nothing = None
            serving.publication.keep(serving.follow.known())
            if serving.publication.state_due(answers.essence if answers.warm else EARLY, now.moment):
                since = self._holds(answers.essence if answers.warm else EARLY, now)
                self._say(serving.compose.known(answers, frame, since), uptime(frame.monotonic))
        return answers

    def nothing(self, serving: Serving, reason: Reason) -> None:
        """Send a null state, once per reason and then every minute.

        End the open events and forget the last findings.
        """
        if self._hushed:
            return
        self.cascade.silent(reason)
        if reason != self._nothing:
            serving.publication.reset()
            serving.gate.forget()
            self.end(serving, reason)
        self._nothing = reason
        if serving.publication.state_due(reason, time.monotonic()):
            now = self._now()
            self._say(serving.compose.nothing(reason, now.wall, self._holds(reason, now)), uptime())

    def again(self, serving: Serving) -> None:
        """Repeat the last state with the current time if it is due, because the next frame may come late."""
        now = self._now()
        if not self._hushed and self._state is not None and serving.publication.state_again(now.moment):
            self._say(replace(self._state, ts=timestamp(now.wall), since=timestamp(now.of(self._since[1]))), uptime())

    def _holds(self, essence: object, now: Instant) -> str:
        """Return the timestamp since which ``essence`` holds."""
        if essence != self._since[0]:
            self._since = essence, now
        return timestamp(now.of(self._since[1]))

    def _say(self, state: State, at: float) -> None:
        self._state = state
        self._outlet.state(self._pipeline, state, at)

    def end(self, serving: Serving, reason: Reason) -> None:
        """End all open events."""
        with self._following:
            self.tell(serving.follow.end(reason, self._now()), serving)

    def go_on(self, before: Serving, fresh: Serving) -> Reason | None:
        """Keep tracking across a model change.

        If the change affects tracking, end all open events and return the reason.
        """
        reason = fresh.ends(before)
        with self._following:
            if reason is None:
                fresh.follow = before.follow
            else:
                self._held_back += before.follow.held_back
                self.tell(before.follow.end(reason, self._now()), before)
                fresh.follow.inherit(before.follow)
        return reason

    def _now(self) -> Instant:
        """Return the current time on the clock of the frames."""
        return Instant(time.monotonic() - self._ahead, time.time())

    def tell(self, news: tuple[Happening, ...], serving: Serving) -> None:
        """Send events."""
        precision = serving.compose.precision
        for happening in news:
            captured = uptime(happening.when.moment + self._ahead)
            self._outlet.happened(self._pipeline, happening.numbered(self._outlet.boot, precision), captured)


# Histogram of the scores that a pipeline found during the last hour; it helps to choose a threshold.

MINUTES: Final = 60


class ScoreCounts:
    """Counts by minute. The pipeline's thread writes; another thread reads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._minutes: deque[tuple[int, array[int]]] = deque(maxlen=MINUTES)
        self._minute, self._counts = -1, array("L")  # the newest entry

    def note(self, findings: Findings) -> None:
        """Count the scores of a frame; a frame without a score is not counted."""
        scores = scores_of(findings)
        if not scores:
            return
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._counts = minute, array("L", bytes(array("L").itemsize * (SCORE_STEPS + 1)))
            self._minutes.append((minute, self._counts))
        for score in scores:
            limited = score if 0.0 <= score <= 1.0 else min(max(score, 0.0), 1.0)
            self._counts[int(limited * SCORE_STEPS)] += 1

    def answer(self, pipeline: str, known_from: float) -> ScoresAnswer:
        """Return the counts of the last hour; ``known_from`` is the score below which findings are not known."""
        now = self._clock()
        first = int(now // 60) - MINUTES
        kept = [counts for minute, counts in list(self._minutes) if minute > first]
        totals = tuple(sum(column) for column in zip(*kept, strict=True)) or (0,) * (SCORE_STEPS + 1)
        return ScoresAnswer(pipeline, round(min(now - self._began, MINUTES * 60.0), 1), known_from, totals)


def scores_of(findings: Findings) -> list[float]:
    """Return the score of every object or pose of a frame, or the score of its best class."""
    if isinstance(findings, ClassificationFindings):
        return [findings.classes[0].score] if findings.classes else []
    if isinstance(findings, Followed):
        findings = findings.detections
    if isinstance(findings, Detections):
        return [each.score for each in findings.objects]
    return [body.score for body in findings.bodies] if isinstance(findings, Poses) else []
