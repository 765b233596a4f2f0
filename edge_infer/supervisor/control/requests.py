"""Requests over the control socket: explanations of decisions, pictures, models, pauses and drift."""

from __future__ import annotations

import grp
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.codec import ABSENT, JsonValue, decode, encode, replace
from edge_infer.contract.messages import NAME_PATTERN, DriftHealth
from edge_infer.errors import EdgeInferError, WireError, shortened
from edge_infer.ipc.messages import GrabDone, Look, WhyAnswer, WhyQuestion
from edge_infer.plan.records import Plan
from edge_infer.platform import memfd
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.supervisor.control.files import MAX_PICTURE_BYTES, SentPicture
from edge_infer.supervisor.control.peer import ChangeLimit, Peer, UserBuckets, user_name
from edge_infer.supervisor.control.server import MAX_ECHO, Request
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.rollout.rollout import ModelRollout
from edge_infer.yamlfile.error_text import suggestion
from edge_infer.yamlfile.scalars import plain

# Questions about the record of decisions that the engine has not answered yet.

EXPLAIN_SECONDS: Final = 10.0
MAX_WAITING_QUESTIONS: Final = 8
MAX_NOTES: Final = 64


class PendingExplainRequests:
    """Passes questions to the engine, which answers them in order."""

    def __init__(self, house: ProcessSupervisor, resting: Callable[[], Mapping[str, str]]) -> None:
        """``resting`` returns the pipelines that are inactive or in quarantine, each with the reason."""
        self._house = house
        self._resting = resting
        self._waiting: deque[tuple[float, Request, str | None]] = deque()  # deadline, request, pipeline in question

    def begin(self, request: Request) -> None:
        """Pass a question to the engine, or answer it with an error."""
        asked = {key: request.body.get(key) for key in ("since", "until", "pipeline", "label")}
        try:
            question = decode(WhyQuestion, asked)
        except WireError as error:
            why = plain(str(error), MAX_ECHO)
            request.answer({"error": f"a question needs since and until, and may name a pipeline and a label: {why}"})
            return
        if question.since > question.until:
            request.answer({"error": "invalid period of a question; expected since before until"})
        elif len(self._waiting) >= MAX_WAITING_QUESTIONS:
            request.answer({"error": "the daemon is busy with other requests; try again in a moment"})
        elif not self._house.ask_engine(question):
            request.answer({"error": "the engine is not running; try again in a moment"})
        else:
            self._waiting.append((time.monotonic() + EXPLAIN_SECONDS, request, question.pipeline))

    def go_on(self) -> None:
        """Answer the questions that the engine has answered, and those that are overdue."""
        for answer in self._house.take_whys():
            self._answer(answer)
        while self._waiting and self._waiting[0][0] < time.monotonic():
            self._waiting.popleft()[1].answer({"error": f"the engine did not answer within {EXPLAIN_SECONDS:.0f} s"})

    def close(self) -> None:
        """Close the connections of all waiting requests."""
        for _, request, _ in self._waiting:
            request.close()
        self._waiting.clear()

    def _answer(self, answer: WhyAnswer) -> None:
        if self._waiting:
            _, request, asked = self._waiting.popleft()
            if asked in {each.name for each in self._house.pipelines()}:
                answer = replace(answer, error="")  # the engine has no record for a pipeline that does not run
            notes = (*answer.notes, *self._at_rest(asked), *self._held_back(asked))
            answer = replace(answer, notes=notes[:MAX_NOTES])
            request.answer({"error": answer.error} if answer.error else encode(answer))

    def _at_rest(self, asked: str | None) -> Iterator[str]:
        """Yield a note for each pipeline that does not run now, because the engine has no record for it."""
        for name, why in self._resting().items():
            if asked in (None, name):
                yield shortened(f"{name}: it is inactive and has no record: {why}")

    def _held_back(self, asked: str | None) -> Iterator[str]:
        """Yield a note for each pipeline with a frame rate limited by the governor."""
        governor = self._house.restraint.governor
        if governor is None:
            return
        why = "" if governor.reason is ABSENT else f" ({governor.reason})"
        for name, fps in governor.limits.items():
            if asked in (None, name):
                yield f"{name}: the governor limits it to {fps:g} fps now{why}"


# Permission to get pictures over the control socket, for users who may connect to it.

GROUP: Final = "edge-infer-pictures"


def pictures_refusal(peer: Peer) -> str | None:
    """Return the reason why ``peer`` may not get pictures; None if it may.

    Root, the daemon's user, the page and members of `GROUP` may.

    Only members of that group may connect to the page.
    """
    if peer.uid in (0, os.geteuid()) or peer.is_page:
        return None
    try:
        number = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return f"there is no group {GROUP}, so only root may request pictures; run the command with sudo"
    if number in peer.groups:
        return None
    return (
        f"only members of the group {GROUP} may request pictures: sudo usermod -aG {GROUP} {peer.user}, then log "
        "in again"
    )


# Requests for pictures that the engine has not delivered yet.

log = logging.getLogger(__name__)

PICTURE_SECONDS: Final = 10.0
"""Seconds within which the engine must deliver a picture."""
LATE: Final = f"the engine did not answer within {PICTURE_SECONDS:.0f} s"
LATE_SECONDS: Final = 30.0
"""Seconds for which a picture counts as in progress, if the engine reports no outcome."""
MAX_WAITING_PICTURES: Final = 8
MAX_WAITING_OF_USER: Final = 6
"""Maximum number of waiting requests of one user; the page's process makes up to this many at once."""
MAX_HELD_PICTURES: Final = 3
"""Maximum number of finished pictures in memory that clients have not read, one for each user."""
GRABS_AT_ONCE, GRABS_PER_SECOND = 10, 1.0
"""Limit of full-size pictures for each user."""
LOOK_SIDE: Final = 640
"""Maximum side length in pixels of the pictures that a person looks at."""
MAX_LOOK_BYTES: Final = 1 << 20
LOOKS_PER_SECOND, LOOKS_AT_ONCE = 2.0, 3
MAX_VIEWERS: Final = 8
"""Maximum number of simultaneous viewers of pictures."""
LINES_AT_ONCE, LINES_PER_SECOND = 20, 0.1
"""Limit of the log lines about viewers, for each requesting user: the page's process chooses the viewers."""
WATCHED_SECONDS: Final = 3.0
"""Seconds after a picture during which the person still counts as looking."""


class Viewers:
    """The current viewers of pictures, by user id; for the health message and the log."""

    def __init__(self, house: ProcessSupervisor) -> None:
        self._house = house
        self._last: dict[tuple[int, str], float] = {}  # time of the last picture, by user and source
        self._series: dict[tuple[int, str], str] = {}  # name of the user; empty if no log line named the user
        self._lines = UserBuckets(LINES_AT_ONCE, LINES_PER_SECOND)
        self._asked: dict[tuple[int, str], int] = {}  # user who requested the series: the page does so for others
        self._left_out: dict[int, int] = {}  # number of lines that were not logged, by requesting user

    def admits(self, uids: Collection[int]) -> bool:
        """Return whether these people may also look at pictures, so that there are at most `MAX_VIEWERS`."""
        return len({*uids, *(uid for uid, _ in self._series)}) <= MAX_VIEWERS

    def shown(self, uid: int, source: str, asked: int) -> None:
        """Record a picture of a series for a user; log the first one. ``asked`` is the requesting user."""
        if (uid, source) not in self._series:
            self._asked[uid, source] = asked
            self._series[uid, source] = self._log("showing", source, uid)
        self.seen(uid, source)

    def seen(self, uid: int, source: str) -> None:
        """Record that a user gets a picture of a source now."""
        self._last[uid, source] = time.monotonic()
        self._house.watch(watched=True)

    def go_on(self) -> None:
        """Log the viewers that have left, and how many lines were not logged."""
        now = time.monotonic()
        for uid, source in [each for each, last in self._last.items() if now > last + WATCHED_SECONDS]:
            del self._last[uid, source]
            if (uid, source) in self._series:
                self._log("stopped showing", source, uid, self._series.pop((uid, source)))
                del self._asked[uid, source]
        for asked in [asked for asked in self._left_out if self._lines.take(asked)]:
            log.info("%d log lines about viewers of pictures were not written (rate limit)", self._left_out.pop(asked))
        self._house.watch(watched=bool(self._last))

    def _log(self, what: str, source: str, uid: int, name: str = "") -> str:
        """Log a line about a user within the limit; return the user's name, which is looked up only for a line."""
        if not self._lines.take(asked := self._asked[uid, source]):
            self._left_out[asked] = self._left_out.get(asked, 0) + 1
            return name
        name = name or user_name(uid)
        log.info("%s pictures of source %s to %s", what, source, name)
        return name


@dataclass(slots=True)
class _PictureInWork:
    """A picture that the engine writes into ``file``. ``wanted`` is None once the request has been answered."""

    number: int
    file: int
    until: float
    wanted: _WantedPicture | None

    def end(self) -> None:
        """Close the file; may be called twice."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


@dataclass(slots=True)
class _WantedPicture:
    """A request, with the time at which it is overdue."""

    until: float
    source: str
    request: Request

    @property
    def small(self) -> bool:
        """Whether it asks for a small picture, of a series that a person looks at."""
        return self.request.body.get("do") == "look"


class PendingPictures:
    """Passes requests for pictures to the engine, one at a time, and sends the pictures to the clients.

    The engine writes a picture into a file of bounded size in the memory of the daemon, and no client gets this file.
    The supervisor handles no pixels. It logs which user receives pictures of which source.
    """

    def __init__(self, house: ProcessSupervisor) -> None:
        self._house = house
        self._viewers = Viewers(house)
        self._looks = TokenBucket(LOOKS_AT_ONCE, LOOKS_PER_SECOND)
        self._grabs = UserBuckets(GRABS_AT_ONCE, GRABS_PER_SECOND)
        self._waiting: list[_WantedPicture] = []
        self._in_work: _PictureInWork | None = None
        self._sending: list[tuple[int, SentPicture]] = []  # with the user
        self._number = 0

    def begin(self, request: Request) -> None:
        """Queue the request, or answer it with an error.

        It is ``grab`` for a full-size picture, or ``look`` for a small one.
        """
        source, small = request.body.get("source"), request.body.get("do") == "look"
        own = sum(each.request.peer.uid == request.peer.uid for each in self._waiting)
        if not isinstance(source, str) or not re.fullmatch(NAME_PATTERN, source):
            request.answer({"error": "a picture needs the name of a source"})
        elif why := pictures_refusal(request.peer):
            request.answer({"error": why})
        elif len(self._waiting) >= MAX_WAITING_PICTURES or own >= MAX_WAITING_OF_USER:
            request.answer({"error": f"{len(self._waiting)} requests for pictures are waiting; try again in a moment"})
        elif small and not self._looks.take():
            request.answer({"busy": f"the daemon shows at most {LOOKS_PER_SECOND:.0f} pictures a second; try again"})
        elif not small and not self._grabs.take(request.peer.uid):
            request.answer(
                {
                    "error": f"too many pictures: after {GRABS_AT_ONCE} in a row the daemon gives one a second; try "
                    "again in a moment"
                }
            )
        else:
            self._waiting.append(_WantedPicture(time.monotonic() + PICTURE_SECONDS, source, request))
            self._order_next()

    def go_on(self) -> None:
        """Answer the finished and the overdue requests, and order the next picture."""
        for done in self._house.take_grabs():
            if self._in_work is not None and done.number == self._in_work.number:
                self._finish(done, self._in_work)
        self._viewers.go_on()
        now = time.monotonic()
        if self._in_work is not None:
            self._look_after(self._in_work, now)
        for wanted in [wanted for wanted in self._waiting if wanted.until < now]:
            self._waiting.remove(wanted)
            wanted.request.answer({"error": "an earlier picture is not finished or not read; try again in a moment"})
        self._order_next()

    def close(self) -> None:
        """Close the connections of all waiting requests."""
        for wanted in self._waiting:
            wanted.request.close()
        self._waiting.clear()
        if self._in_work is not None:
            if self._in_work.wanted is not None:
                self._in_work.wanted.request.close()
            self._in_work.end()
            self._in_work = None

    def _order_next(self) -> None:
        """Order the next picture if none is in progress. Each user must have read the previous picture."""
        self._sending = [each for each in self._sending if not each[1].closed]
        slow = {uid for uid, _ in self._sending}
        for wanted in list(self._waiting):
            if self._in_work is not None or len(self._sending) >= MAX_HELD_PICTURES:
                return
            if wanted.request.peer.uid not in slow:
                self._waiting.remove(wanted)
                self._order(wanted)

    def _order(self, wanted: _WantedPicture) -> None:
        if wanted.small and wanted.request.peer.is_page and not self._viewers.admits(_viewers(wanted.request)):
            wanted.request.answer({"busy": f"{MAX_VIEWERS} people look at pictures already; try again later"})
            return
        try:
            file = memfd.bounded("picture", MAX_LOOK_BYTES if wanted.small else MAX_PICTURE_BYTES)
        except OSError as error:
            wanted.request.answer({"error": f"the daemon has no memory for a picture: {error.strerror}"})
            return
        self._number += 1
        self._in_work = _PictureInWork(self._number, file, time.monotonic() + LATE_SECONDS, wanted)
        if not self._house.grab(wanted.source, file, LOOK_SIDE if wanted.small else 0, self._number):
            self._give_up(self._in_work, "the engine is not running; try again in a moment")

    def _look_after(self, work: _PictureInWork, now: float) -> None:
        """Answer the request for a picture if it is late or its engine has ended."""
        if self._house.picture != work.number:
            self._give_up(work, "the engine has ended while it made the picture; try again in a moment")
        elif now > work.until:
            self._give_up(work, LATE)
        elif work.wanted is not None and now > work.wanted.until:
            work.wanted.request.answer({"error": LATE})
            work.wanted = None

    def _give_up(self, work: _PictureInWork, why: str) -> None:
        self._in_work = None
        self._house.forget_picture(work.number)
        work.end()
        if work.wanted is not None:
            work.wanted.request.answer({"error": why})

    def _finish(self, done: GrabDone, work: _PictureInWork) -> None:
        wanted = work.wanted
        if done.error or wanted is None:
            self._give_up(work, done.error)
            return
        try:
            memfd.seal(work.file)
            size = os.fstat(work.file).st_size
        except OSError:
            size = 0
        if not size or wanted.small != (done.look is not None):
            self._give_up(work, "the engine made something that is not a picture; see its log")
            return
        self._in_work, request = None, wanted.request
        if wanted.small:
            for uid in _viewers(request):
                self._viewers.shown(uid, wanted.source, request.peer.uid)
        else:
            log.info("sent a picture of source %s to %s", wanted.source, request.user)
            self._viewers.seen(request.uid, wanted.source)
        picture = SentPicture(work.file, size)
        self._sending.append((request.peer.uid, picture))
        request.answer_with({"ok": True} if done.look is None else _described(done.look), picture)


def _described(look: Look) -> dict[str, JsonValue]:
    """Return the description of a small picture, for the answer."""
    found = encode(look)
    assert isinstance(found, dict)
    return found


def _viewers(request: Request) -> tuple[int, ...]:
    """Return the user ids of the viewers of a picture: those that the page's process names, otherwise the requester."""
    named = request.body.get("viewers")
    if not request.peer.is_page or not isinstance(named, list):
        return (request.uid,)
    uids = {uid for uid in named[: MAX_VIEWERS + 1] if type(uid) is int and 0 <= uid < 1 << 32}
    return tuple(sorted(uids)) or (request.uid,)


# Requests about models over the control socket: history, rollback and retry.


class ModelRequests:
    """Answers every request at once; ``status`` later shows the effects."""

    def __init__(self, swap: ModelRollout, read: Callable[[], None], limit: ChangeLimit) -> None:
        """``read`` reloads the configuration. A retry needs this for a model that could not even be applied."""
        self._swap = swap
        self._limit = limit
        self._read = read

    def begin(self, request: Request) -> None:
        """Handle the ``action`` ``history``, ``rollback`` or ``retry``; the last two need a ``name``."""
        action, name = request.body.get("action"), request.body.get("name")
        if isinstance(name, str):
            name = plain(name, MAX_ECHO)  # no model name is longer
        try:
            if action in ("rollback", "retry"):
                self._limit.count(request.uid)
            if action == "history":
                request.answer({"history": [encode(each) for each in self._swap.record.history]})
            elif action == "rollback" and isinstance(name, str):
                request.answer({"done": self._swap.roll_back(name, request.user)})
            elif action == "retry" and isinstance(name, str):
                request.answer({"done": self._retry(name, request.user)})
            else:
                request.answer(
                    {"error": f"this daemon does not know the model request {plain(repr(action), MAX_ECHO)}"}
                )
        except EdgeInferError as error:
            request.answer({"error": str(error)})

    def _retry(self, name: str, user: str) -> str:
        rejected = any(each.state == "rejected" for each in self._swap.record.refused.get(name, ()))
        done = self._swap.retry(name, user)
        if rejected:
            self._read()
            return f"{name}: the daemon reads the configuration again; edge-infer status shows the result"
        return done


# Pausing and resuming pipelines by command.

MAX_PAUSE_SECONDS: Final = 10 * 365 * 86400.0


class PauseRequests:
    """Answers every request at once; the engine pauses or resumes the pipeline within two seconds."""

    def __init__(self, swap: ModelRollout, limit: ChangeLimit) -> None:
        self._swap = swap
        self._limit = limit

    def begin(self, request: Request) -> None:
        """Handle ``pause`` and ``resume`` of a pipeline.

        A pause lasts ``seconds`` or, without a number, until it is ended.
        """
        wanted, name, seconds = (request.body.get(key) for key in ("do", "pipeline", "seconds"))
        fits = seconds is None or (
            isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds <= MAX_PAUSE_SECONDS
        )
        if not isinstance(name, str) or not fits:
            request.answer({"error": "a pause needs a pipeline, and may have seconds between 0 and ten years"})
        elif self._swap.plan is None:
            request.answer({"error": "the daemon has no configuration yet; try again in a moment"})
        else:
            self._answer(request, self._swap.plan, str(wanted), plain(name, MAX_ECHO), seconds)

    def _answer(self, request: Request, plan: Plan, wanted: str, name: str, seconds: float | None) -> None:
        schedule, user = self._swap.schedule, request.user
        try:
            self._limit.count(request.uid)
            if wanted == "pause":
                request.answer({"done": schedule.pause(plan, name, seconds, user)})
            else:
                request.answer({"done": schedule.resume(plan, name, user)})
        except EdgeInferError as error:
            request.answer({"error": str(error)})


# Acceptance of drift that is intended: the reference is learned again.


class DriftRequests:
    """Handles ``drift accept``; questions about drift go to `PendingRecalls`."""

    def __init__(self, house: ProcessSupervisor, limit: ChangeLimit) -> None:
        self._house = house
        self._limit = limit

    def begin(self, request: Request) -> None:
        """Learn the drifting parts of one or all pipelines again; with ``whole`` learn all of their parts again."""
        wanted, whole = request.body.get("pipeline"), request.body.get("whole") is True
        known = [each.name for each in self._house.pipelines() if each.drift is not None]
        if not known:
            request.answer({"error": "no pipeline watches for drift: add drift: true to the configuration"})
        elif wanted is not None and wanted not in known:
            name = plain(repr(wanted), MAX_ECHO)
            request.answer({"error": f"no pipeline {name} watches for drift; {suggestion(str(wanted), known)}"})
        else:
            try:
                self._limit.count(request.uid)
                names = known if wanted is None else [str(wanted)]
                request.answer({"done": "; ".join(self._accept(names, request, whole=whole))})
            except EdgeInferError as error:
                request.answer({"error": str(error)})

    def _accept(self, names: list[str], request: Request, *, whole: bool) -> list[str]:
        """Have the engine learn the drifting parts of these pipelines again; return a sentence for each pipeline.

        With ``whole`` it learns all of their parts again. Raises `EdgeInferError` if there is nothing to learn again.
        """
        engine, sentences = self._house.heard.engine, []
        if engine is None:
            raise EdgeInferError("the engine is not running; try again in a moment")
        for name in names:
            health = engine.drift.get(name, DriftHealth())
            camera, outcome = (
                part is not ABSENT and (whole or part not in ("ok", "learning"))
                for part in (health.camera, health.outcome)
            )
            if (camera or outcome) and self._house.accept_drift(name, camera=camera, outcome=outcome):
                parts = " and ".join(part for part, due in (("the camera", camera), ("the answers", outcome)) if due)
                log.info("pipeline %s: the engine learns %s again (requested by %s)", name, parts, request.user)
                sentences.append(
                    f"{name}: the engine learns {parts} again, and reports no drift of that until it has finished"
                )
        if not any(name in engine.drift for name in names):
            raise EdgeInferError(f"the engine does not watch {', '.join(names)} now: edge-infer drift shows why")
        if not sentences:
            raise EdgeInferError(
                f"there is no drift in {', '.join(names)}; to learn all of a pipeline again: edge-infer drift "
                f"accept {names[0]} --whole"
            )
        return sentences
