"""What the rooms say to each other: one frozen record a message, checked on both sides.

engine -> publisher: `EngineHello`, `ResultHandover`, `EventHandover`, `StateUpdate`; back: `PublisherHello`, `Acked`.
engine -> supervisor: `EngineReport`, `GrabDone`, `WhyAnswer`, `Offence`; back: `ModelFile`, `ApplyPlan`,
`AttachReader`, `Grab`, `WhyQuestion`, `Restrain`, `Stop`.
publisher -> supervisor: `PublisherReport`, `Offence`; back: `ApplyPlan`, `Announce`, `EngineUp`, `EngineReport`,
`EngineDown`, `Restrain`, `Stop`.
reader -> engine: `FrameFormat` (with the memory), `FrameReady`, `SamplesReady`, `LineReady`, `StreamCounts`,
`ReaderTrouble`; back: `ReaderHello`, `SlotFree`, `FramesWanted`.
reader -> supervisor: `ReaderReport`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from edge_infer.codec import JsonValue, Record, ShortText, at_least, at_most, between, field, matching
from edge_infer.config.plan import Color, FilePath, PipelinePlan, Plan
from edge_infer.messages import (
    Boot,
    Count,
    Digest,
    Event,
    Fraction,
    GovernorHealth,
    Name,
    Number,
    OutboxHealth,
    PipelineHealth,
    Reason,
    Result,
    Sentence,
    ShadowStatus,
    SourceHealth,
    State,
)

RUNTIME: Final = r"(?:(?:ai-edge-litert|tflite-runtime)(?: [0-9]{1,3}(?:\.[0-9]{1,3}){1,2})?)?"
"""Name and version of the runtime, the one text of the engine that leaves the device as it is."""
Uptime = Annotated[float, between(0, 1e10)]
"""Seconds since the kernel started (see `edge_infer.boot.uptime`)."""
Wall = Annotated[float, between(0, 253_402_300_799)]
"""Seconds since the epoch, until the end of the year 9999."""
NumberedKind = Literal["result", "event"]
"""What is counted, each on its own, by pipeline and boot."""
Walls = Annotated[Mapping[Annotated[str, at_most(64)], Sentence], at_most(64)]
"""What became of each wall of a room, by its name."""


class ResultHandover(Record, frozen=True):
    """A result, which has to arrive: kept by the engine until `Acked`; ``at`` is the uptime of its capture."""

    pipeline: Name
    message: Result
    at: Uptime | None = None


class EventHandover(Record, frozen=True):
    """The same of an event."""

    pipeline: Name
    message: Event
    at: Uptime | None = None


Handover: TypeAlias = ResultHandover | EventHandover


def handover(pipeline: str, message: Result | Event, at: float | None = None) -> Handover:
    """Return the record that hands a numbered message over."""
    if isinstance(message, Result):
        return ResultHandover(pipeline, message, at)
    return EventHandover(pipeline, message, at)


class StateUpdate(Record, frozen=True):
    """The newest state of a pipeline, of this uptime; only the last one counts."""

    pipeline: Name
    state: State
    at: Uptime | None = None


class PublisherHello(Record, frozen=True):
    """A publisher has started: say again what was not acknowledged, and every state."""


class Tally(Record, frozen=True):
    """How far the numbers of a pipeline are in one boot: ``given`` by the engine, called ``safe`` by a publisher.

    ``lost`` is how many a publisher has counted as lost when it said so.
    """

    pipeline: Name
    kind: NumberedKind
    given: Count
    safe: Count = 0
    lost: Count = 0


Tallies = Annotated[tuple[Tally, ...], at_most(512)]
MAX_NAMES: Final = 512
"""Sources or pipelines in a report; more than that and a status has no room for them."""


class EngineHello(Record, frozen=True):
    """Answers `PublisherHello`: from here on everything above the safe numbers of this boot comes again, in order.

    What was read before this answer will be said again; a number that is left out after it is lost. ``again``: it has
    answered a publisher before this one, which may have sent some of it.
    """

    boot: Boot
    tallies: Tallies = ()
    again: bool = False


class Acked(Record, frozen=True):
    """All numbered messages of this pipeline and boot up to ``seq`` are safe: with the broker, on the disk, or lost.

    ``lost`` is how many have been counted as lost so far: the engine hands that on to a restarted publisher.
    """

    pipeline: Name
    boot: Boot
    kind: NumberedKind
    seq: int
    lost: Count = 0


class ApplyPlan(Record, frozen=True):
    """The configuration that holds from now on; ``order`` counts these orders.

    Pipelines in ``trials`` run a model on probation, those in ``alone`` let go of theirs before they load the next, and
    those in ``held`` do not run now.
    """

    plan: Plan
    order: Count = 0
    trials: tuple[Name, ...] = ()
    alone: tuple[Name, ...] = ()
    held: tuple[Name, ...] = ()

    def running(self) -> tuple[PipelinePlan, ...]:
        """The pipelines that run now."""
        return tuple(each for each in self.plan.pipelines if each.name not in self.held)


class ModelFile(Record, frozen=True):
    """The open file that comes with this message is the one at ``path``, for plans that name it.

    With an ``error``, a sentence about it, none comes.
    """

    path: FilePath
    error: Sentence = ""


class Restrain(Record, frozen=True):
    """How the governor holds pipelines back from now on; those that it does not name are as configured. None: off."""

    governor: GovernorHealth | None = None


class AttachReader(Record, frozen=True):
    """The socket that comes with this message leads to the reader of ``source``."""

    source: Name


class WhyQuestion(Record, frozen=True):
    """What was decided between two times (seconds since the epoch), in a pipeline or all, about a label or all."""

    since: float
    until: float
    pipeline: Annotated[str, at_most(64)] | None = None
    label: Annotated[str, at_most(128)] | None = None


class WhyAnswer(Record, frozen=True):
    """Sentences, the oldest first, at most the newest 500; ``notes`` say what they cannot tell, ``error`` why none."""

    lines: Annotated[tuple[Sentence, ...], at_most(500)]
    notes: Annotated[tuple[Sentence, ...], at_most(64)] = ()
    error: Sentence = ""


class Grab(Record, frozen=True):
    """Write one picture of ``source`` as PNG into the file that comes with this message."""

    source: Name


class GrabDone(Record, frozen=True):
    """What became of a `Grab`; ``error`` is empty when the picture was written."""

    source: Name
    error: Sentence = ""


class Offence(Record, frozen=True):
    """Another process floods the sender of this, or breaks the rules of the wire again and again: it has to be ended.

    ``source`` is that of the reader, where ``by`` is one. ``what`` it sends stands in the log.
    """

    by: Literal["engine", "publisher", "reader"]
    what: Sentence
    source: Annotated[str, at_most(64)] = ""


class Stop(Record, frozen=True):
    """Finish what is under way and end; ``replaced``: another process takes this one's place, the other rooms go on."""

    replaced: bool = False


class Delegated(Record, frozen=True):
    """Which share of a model's operators a delegate runs; with a ``failure`` the processor does it all."""

    share: Fraction
    failure: Sentence = ""


class Running(Record, frozen=True):
    """What a pipeline runs: the identity of its model (null: none), since when, and how many frames it has seen.

    ``fault`` is what went wrong with a model on probation; ``refused`` and ``why`` are of a model that could not be
    loaded. ``busy`` is how long the frame under way has taken so far. For the last switch: seconds that loading took,
    that other threads waited for it at most, and that lay between the last outcome before and the first one after.
    """

    sha: Digest | None
    seconds: Annotated[float, at_least(0)] = 0.0
    frames: Count = 0
    fault: Sentence = ""
    refused: Digest | None = None
    why: Sentence = ""
    busy: Annotated[float, at_least(0)] = 0.0
    load: Annotated[float, at_least(0)] = 0.0
    pause: Annotated[float, at_least(0)] = 0.0
    gap: Annotated[float, at_least(0)] = 0.0
    shadow: ShadowStatus | None = None
    delegate: Delegated | None = None


class EngineReport(Record, frozen=True):
    """How the engine does, once a second: proof of progress and what health and status are made of.

    ``stuck`` names pipelines whose thread has been inside one frame for longer than 10 s, ``loading`` those whose model
    or shadow is being loaded; ``order`` is that of the plan that ``running`` is about.
    """

    boot: Boot
    digest: ShortText
    pipelines: Annotated[Mapping[Name, PipelineHealth], at_most(MAX_NAMES)]
    sources: Annotated[Mapping[Name, SourceHealth], at_most(MAX_NAMES)]
    running: Annotated[Mapping[Name, Running], at_most(MAX_NAMES)]
    order: Count = 0
    stuck: tuple[Name, ...] = ()
    loading: tuple[Name, ...] = ()
    runtime: Annotated[str, matching(RUNTIME, 64)] = ""
    sandbox: Walls = field(default_factory=dict)
    kept: Count = 0
    tallies: Tallies = ()


class EngineUp(Record, frozen=True):
    """An engine starts under this boot id. Nothing is taken from one whose boot was not told before."""

    boot: Boot


class EngineDown(Record, frozen=True):
    """The engine of this boot has died: what it last said no longer holds. ``tallies`` are those it reported last."""

    reason: Reason
    boot: Boot
    tallies: Tallies = ()


class Announce(Record, frozen=True):
    """A retained payload of the device itself, by topic below ``<prefix>/<device>/``."""

    topic: Annotated[str, matching(r"info|config|model/[A-Za-z0-9][A-Za-z0-9_-]{0,63}", 80)]
    payload: JsonValue


class PublisherReport(Record, frozen=True):
    """How the publisher does, once a second; ``broker`` is a sentence for the operator."""

    connected: bool
    broker: Sentence
    outbox: OutboxHealth
    rejected: Count
    sandbox: Walls = field(default_factory=dict)


class ReaderHello(Record, frozen=True):
    """An engine has attached: send the memory again, and all slots are free."""


class FrameFormat(Record, frozen=True):
    """The memory that comes with this message holds ``slots`` frames of this shape, one after the other.

    ``memory`` names it in what follows, so that a `SlotFree` for an earlier memory frees nothing in this one.
    """

    memory: Count
    slots: int
    height: int
    width: int
    color: Color


class FrameReady(Record, frozen=True):
    """A frame lies in ``slot`` of ``memory``, which belongs to the engine until `SlotFree`.

    ``wall`` and ``monotonic`` are capture times in seconds; ``number`` counts captured frames from 1, so gaps are
    frames that no slot was free for; ``repeated`` is true when the frame is bit-equal to the one sent before it.
    """

    memory: Count
    slot: int
    number: Number
    wall: Wall
    monotonic: Uptime
    repeated: bool
    black: bool


class SlotFree(Record, frozen=True):
    """The engine has done with ``slot`` of ``memory``."""

    memory: Count
    slot: int


class FramesWanted(Record, frozen=True):
    """So many frames a second are looked at, until a new `FrameFormat` than ``memory``; None: all of them."""

    memory: Count
    looks: Annotated[float, between(0.001, 1e6)] | None
    """More than an `fps` can be: half of what a pipeline without one does, where the governor holds it back."""


class SamplesReady(Record, frozen=True):
    """A stretch of a signal: ``values`` are ``n x channels`` float32, little-endian, in base64.

    ``number`` counts what was captured from 1; a missing number is a gap, and so is ``gap``. ``faults`` is how much the
    reader has left out so far because it could not be used.
    """

    number: Number
    wall: Wall
    monotonic: Uptime
    rate: Annotated[float, between(1e-6, 1e9)]
    channels: Annotated[int, between(1, 4096)]
    values: Annotated[str, at_most(4 << 20)]
    gap: bool
    repeated: bool
    faults: Count = 0


class LineReady(Record, frozen=True):
    """A line of text; ``faults`` as with samples."""

    number: Number
    wall: Wall
    monotonic: Uptime
    text: Annotated[str, at_most(65536)]
    faults: Count = 0


class StreamCounts(Record, frozen=True):
    """The counts of samples or lines where no reading carries them: the last ``number``, and ``faults``."""

    number: Count = 0
    faults: Count = 0


class ReaderTrouble(Record, frozen=True):
    """The device gives no frames and the reader tries again; or, with ``ended``, there will be no more."""

    text: Sentence
    ended: bool = False


class ReaderReport(Record, frozen=True):
    """The reader's proof of progress, once a second: how long the current call into the device has taken."""

    busy: float
    frames: Count
    error: Sentence = ""
    sandbox: Walls = field(default_factory=dict)
