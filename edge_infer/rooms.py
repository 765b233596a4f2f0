"""What the rooms say to each other: one frozen record a message, checked on both sides.

engine -> publisher: `EngineHello`, `Handover`, `StateUpdate`; back: `PublisherHello`, `Acked`.
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
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from edge_infer.codec import JsonValue, Range, Size, Text
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
Uptime = Annotated[float, Range(0, 1e10)]
"""Seconds since the kernel started (see `edge_infer.boot.uptime`)."""
Wall = Annotated[float, Range(0, 253_402_300_799)]
"""Seconds since the epoch, until the end of the year 9999."""
NumberedKind = Literal["result", "event"]
"""What is counted, each on its own, by pipeline and boot."""
Walls = Annotated[Mapping[Annotated[str, Text(most=64)], Sentence], Size(64)]
"""What became of each wall of a room, by its name."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A numbered message that has to arrive: kept by the engine until `Acked`; ``at`` is the uptime of its capture."""

    pipeline: Name
    message: Result | Event
    at: Uptime | None = None


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """The newest state of a pipeline, of this uptime; only the last one counts."""

    pipeline: Name
    state: State
    at: Uptime | None = None


@dataclass(frozen=True, slots=True)
class PublisherHello:
    """A publisher has started: say again what was not acknowledged, and every state."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far the numbers of a pipeline are in one boot: ``given`` by the engine, called ``safe`` by a publisher.

    ``lost`` is how many a publisher has counted as lost when it said so.
    """

    pipeline: Name
    kind: NumberedKind
    given: Count
    safe: Count = 0
    lost: Count = 0


Tallies = Annotated[tuple[Tally, ...], Size(512)]
MAX_NAMES: Final = 512
"""Sources or pipelines in a report; more than that and a status has no room for them."""


@dataclass(frozen=True, slots=True)
class EngineHello:
    """Answers `PublisherHello`: from here on everything above the safe numbers of this boot comes again, in order.

    What was read before this answer will be said again; a number that is left out after it is lost. ``again``: it has
    answered a publisher before this one, which may have sent some of it.
    """

    boot: Boot
    tallies: Tallies = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Acked:
    """All numbered messages of this pipeline and boot up to ``seq`` are safe: with the broker, on the disk, or lost.

    ``lost`` is how many have been counted as lost so far: the engine hands that on to a restarted publisher.
    """

    pipeline: Name
    boot: Boot
    kind: NumberedKind
    seq: int
    lost: Count = 0


@dataclass(frozen=True, slots=True)
class ApplyPlan:
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


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The open file that comes with this message is the one at ``path``, for plans that name it.

    With an ``error``, a sentence about it, none comes.
    """

    path: FilePath
    error: Sentence = ""


@dataclass(frozen=True, slots=True)
class Restrain:
    """How the governor holds pipelines back from now on; those that it does not name are as configured. None: off."""

    governor: GovernorHealth | None = None


@dataclass(frozen=True, slots=True)
class AttachReader:
    """The socket that comes with this message leads to the reader of ``source``."""

    source: Name


@dataclass(frozen=True, slots=True)
class WhyQuestion:
    """What was decided between two times (seconds since the epoch), in a pipeline or all, about a label or all."""

    since: float
    until: float
    pipeline: Annotated[str, Text(most=64)] | None = None
    label: Annotated[str, Text(most=128)] | None = None


@dataclass(frozen=True, slots=True)
class WhyAnswer:
    """Sentences, the oldest first, at most the newest 500; ``notes`` say what they cannot tell, ``error`` why none."""

    lines: Annotated[tuple[Sentence, ...], Size(500)]
    notes: Annotated[tuple[Sentence, ...], Size(64)] = ()
    error: Sentence = ""


@dataclass(frozen=True, slots=True)
class Grab:
    """Write one picture of ``source`` as PNG into the file that comes with this message."""

    source: Name


@dataclass(frozen=True, slots=True)
class GrabDone:
    """What became of a `Grab`; ``error`` is empty when the picture was written."""

    source: Name
    error: Sentence = ""


@dataclass(frozen=True, slots=True)
class Offence:
    """Another process floods the sender of this, or breaks the rules of the wire again and again: it has to be ended.

    ``source`` is that of the reader, where ``by`` is one. ``what`` it sends stands in the log.
    """

    by: Literal["engine", "publisher", "reader"]
    what: Sentence
    source: Annotated[str, Text(most=64)] = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what is under way and end; ``replaced``: another process takes this one's place, the other rooms go on."""

    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Delegated:
    """Which share of a model's operators a delegate runs; with a ``failure`` the processor does it all."""

    share: Fraction
    failure: Sentence = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What a pipeline runs: the identity of its model (null: none), since when, and how many frames it has seen.

    ``fault`` is what went wrong with a model on probation; ``refused`` and ``why`` are of a model that could not be
    loaded. ``busy`` is how long the frame under way has taken so far. For the last switch: seconds that loading took,
    that other threads waited for it at most, and that lay between the last outcome before and the first one after.
    """

    sha: Digest | None
    seconds: Annotated[float, Range(0)] = 0.0
    frames: Count = 0
    fault: Sentence = ""
    refused: Digest | None = None
    why: Sentence = ""
    busy: Annotated[float, Range(0)] = 0.0
    load: Annotated[float, Range(0)] = 0.0
    pause: Annotated[float, Range(0)] = 0.0
    gap: Annotated[float, Range(0)] = 0.0
    shadow: ShadowStatus | None = None
    delegate: Delegated | None = None


@dataclass(frozen=True, slots=True)
class EngineReport:
    """How the engine does, once a second: proof of progress and what health and status are made of.

    ``stuck`` names pipelines whose thread has been inside one frame for longer than 10 s, ``loading`` those whose model
    or shadow is being loaded; ``order`` is that of the plan that ``running`` is about.
    """

    boot: Boot
    digest: str
    pipelines: Annotated[Mapping[Name, PipelineHealth], Size(MAX_NAMES)]
    sources: Annotated[Mapping[Name, SourceHealth], Size(MAX_NAMES)]
    running: Annotated[Mapping[Name, Running], Size(MAX_NAMES)]
    order: Count = 0
    stuck: tuple[Name, ...] = ()
    loading: tuple[Name, ...] = ()
    runtime: Annotated[str, Text(RUNTIME, 64)] = ""
    sandbox: Walls = field(default_factory=dict)
    kept: Count = 0
    tallies: Tallies = ()


@dataclass(frozen=True, slots=True)
class EngineUp:
    """An engine starts under this boot id. Nothing is taken from one whose boot was not told before."""

    boot: Boot


@dataclass(frozen=True, slots=True)
class EngineDown:
    """The engine of this boot has died: what it last said no longer holds. ``tallies`` are those it reported last."""

    reason: Reason
    boot: Boot
    tallies: Tallies = ()


@dataclass(frozen=True, slots=True)
class Announce:
    """A retained payload of the device itself, by topic below ``<prefix>/<device>/``."""

    topic: Annotated[str, Text(r"info|config|model/[A-Za-z0-9][A-Za-z0-9_-]{0,63}", 80)]
    payload: JsonValue


@dataclass(frozen=True, slots=True)
class PublisherReport:
    """How the publisher does, once a second; ``broker`` is a sentence for the operator."""

    connected: bool
    broker: Sentence
    outbox: OutboxHealth
    rejected: Count
    sandbox: Walls = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReaderHello:
    """An engine has attached: send the memory again, and all slots are free."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The memory that comes with this message holds ``slots`` frames of this shape, one after the other.

    ``memory`` names it in what follows, so that a `SlotFree` for an earlier memory frees nothing in this one.
    """

    memory: Count
    slots: int
    height: int
    width: int
    color: Color


@dataclass(frozen=True, slots=True)
class FrameReady:
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


@dataclass(frozen=True, slots=True)
class SlotFree:
    """The engine has done with ``slot`` of ``memory``."""

    memory: Count
    slot: int


@dataclass(frozen=True, slots=True)
class FramesWanted:
    """So many frames a second are looked at, until a new `FrameFormat` than ``memory``; None: all of them."""

    memory: Count
    looks: Annotated[float, Range(0.001, 1e6)] | None
    """More than an `fps` can be: half of what a pipeline without one does, where the governor holds it back."""


@dataclass(frozen=True, slots=True)
class SamplesReady:
    """A stretch of a signal: ``values`` are ``n x channels`` float32, little-endian, in base64.

    ``number`` counts what was captured from 1; a missing number is a gap, and so is ``gap``. ``faults`` is how much the
    reader has left out so far because it could not be used.
    """

    number: Number
    wall: Wall
    monotonic: Uptime
    rate: Annotated[float, Range(1e-6, 1e9)]
    channels: Annotated[int, Range(1, 4096)]
    values: Annotated[str, Text(most=4 << 20)]
    gap: bool
    repeated: bool
    faults: Count = 0


@dataclass(frozen=True, slots=True)
class LineReady:
    """A line of text; ``faults`` as with samples."""

    number: Number
    wall: Wall
    monotonic: Uptime
    text: Annotated[str, Text(most=65536)]
    faults: Count = 0


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """The counts of samples or lines where no reading carries them: the last ``number``, and ``faults``."""

    number: Count = 0
    faults: Count = 0


@dataclass(frozen=True, slots=True)
class ReaderTrouble:
    """The device gives no frames and the reader tries again; or, with ``ended``, there will be no more."""

    text: Sentence
    ended: bool = False


@dataclass(frozen=True, slots=True)
class ReaderReport:
    """The reader's proof of progress, once a second: how long the current call into the device has taken."""

    busy: float
    frames: Count
    error: Sentence = ""
    sandbox: Walls = field(default_factory=dict)
