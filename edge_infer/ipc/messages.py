"""Messages between the processes: one frozen record for each, validated on both sides.

engine -> publisher: `EngineHello`, `ResultHandover`, `EventHandover`, `StateSnapshot`; back: `PublisherHello`, `Acked`.

engine -> supervisor: `EngineReport`, `GrabDone`, `WhyAnswer`, `EventsAnswer`, `ScoresAnswer`, `Offence`, and the
records of `edge_infer.ipc.drift`; back:
`ModelFile`, `ApplyPlan`, `AttachReader`, `Grab`, `WhyQuestion`, `EventsQuestion`, `ScoresQuestion`, `Restrain`,
`SetLogLevel`, `Stop`.

publisher -> supervisor: `PublisherReport`, `Offence`; back: `EarlierPlan`, `ApplyPlan`, `Announce`, `EngineUp`,
`EngineReport`, `EngineDown`, `Restrain`, `Watched`, `SetLogLevel`, `Stop`.

reader -> engine: `FrameFormat` (with the memory), `FrameReady`, `SamplesReady`, `LineReady`, `StreamCounts`,
`ReaderTrouble`; back: `ReaderHello`, `SlotFree`, `FramesWanted`.

reader -> supervisor: `ReaderReport`; back: `SetLogLevel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from edge_infer.contract.codec import JsonValue, Record, ShortText, at_least, at_most, between, field, matching, replace
from edge_infer.contract.messages import (
    Boot,
    Count,
    Digest,
    DriftHealth,
    EgressHealth,
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
    Timestamp,
)
from edge_infer.errors import WireError
from edge_infer.plan.records import Color, FilePath, PipelinePlan, Plan

RUNTIME: Final = r"(?:(?:ai-edge-litert|tflite-runtime)(?: [0-9]{1,3}(?:\.[0-9]{1,3}){1,2})?)?"
"""Pattern of the runtime's name and version, the only text of the engine that leaves the device unchanged."""
Uptime = Annotated[float, between(0, 1e10)]
"""Seconds since the kernel started (see `edge_infer.platform.clock.uptime`)."""
Wall = Annotated[float, between(0, 253_402_300_799)]
"""Seconds since the epoch, at most until the end of the year 9999."""
STARTING_UP: Final = "starting"
"""Sentence about the broker before the publisher has tried to connect."""
NumberedKind = Literal["result", "event"]
"""Kind of numbered message; each kind has its own sequence for each pipeline and boot."""
Walls = Annotated[Mapping[Annotated[str, at_most(64)], Sentence], at_most(64)]
"""Status of each sandbox rule of a process, by the name of the rule."""


class ResultHandover(Record, frozen=True):
    """A result that must be delivered; the engine keeps it until `Acked`.

    ``at`` is the uptime at which its frame was captured.
    """

    pipeline: Name
    message: Result
    at: Uptime | None = None


class EventHandover(Record, frozen=True):
    """An event that must be delivered; otherwise the same as `ResultHandover`."""

    pipeline: Name
    message: Event
    at: Uptime | None = None


Handover: TypeAlias = ResultHandover | EventHandover


def handover(pipeline: str, message: Result | Event, at: float | None = None) -> Handover:
    """Return the record in which a numbered message is sent to the publisher."""
    if isinstance(message, Result):
        return ResultHandover(pipeline, message, at)
    return EventHandover(pipeline, message, at)


class StateSnapshot(Record, frozen=True):
    """The newest state of a pipeline, at uptime ``at``; it replaces any earlier state."""

    pipeline: Name
    state: State
    at: Uptime | None = None


class PublisherHello(Record, frozen=True):
    """A publisher has started: the engine must resend every unacknowledged message and every state."""


class Tally(Record, frozen=True):
    """Progress of one series of sequence numbers: those of one pipeline, one kind and one boot.

    ``given`` is the highest number that the engine has used, ``safe`` the highest that a publisher has acknowledged.
    ``lost`` is the number of acknowledged messages that the publisher has counted as lost.
    """

    pipeline: Name
    kind: NumberedKind
    given: Count
    safe: Count = 0
    lost: Count = 0


MAX_TALLIES: Final = 512
Tallies = Annotated[tuple[Tally, ...], at_most(MAX_TALLIES)]
MAX_NAMES: Final = 512
"""Maximum number of sources or pipelines in a report, because a status message has no space for more."""


class EngineHello(Record, frozen=True):
    """Reply to `PublisherHello`: the engine now resends everything above the safe numbers of this boot, in order.

    Messages received before this reply will be sent again. A number that is missing after this reply is lost.
    ``again``: the engine has already replied to an earlier publisher, which may have sent some of these messages to the
    broker.
    """

    boot: Boot
    tallies: Tallies = ()
    again: bool = False


class Acked(Record, frozen=True):
    """All messages of this series up to ``seq`` need no resending: they are at the broker, on the disk, or lost.

    ``lost`` is the number of messages counted as lost so far; the engine sends this number to a restarted publisher.
    """

    pipeline: Name
    boot: Boot
    kind: NumberedKind
    seq: int
    lost: Count = 0


class ApplyPlan(Record, frozen=True):
    """The configuration to apply from now on; ``order`` counts these messages.

    Pipelines in ``trials`` run a model on probation. Pipelines in ``alone`` release their model before they load the
    next one. Pipelines in ``held`` and ``inactive`` do not run now; the sources of inactive ones are closed, unless
    another pipeline needs them.
    """

    plan: Plan
    order: Count = 0
    trials: tuple[Name, ...] = ()
    alone: tuple[Name, ...] = ()
    held: tuple[Name, ...] = ()
    inactive: tuple[Name, ...] = ()

    def running(self) -> tuple[PipelinePlan, ...]:
        """Return the pipelines that run now."""
        return tuple(each for each in self.plan.pipelines if each.name not in {*self.held, *self.inactive})

    def for_engine(self) -> ApplyPlan:
        """Return the order without the sources that the engine must not open: only inactive pipelines need them."""
        plan = self.plan
        asked = {each.name: {each.source, plan.root(each.source)} for each in plan.pipelines}
        needed = {source for name, sources in asked.items() if name not in self.inactive for source in sources}
        idle = {source for name in self.inactive for source in asked.get(name, ())} - needed
        sources = tuple(each for each in plan.sources if each.name not in idle)
        pipelines = tuple(replace(each, active=()) for each in plan.pipelines)  # only the supervisor evaluates hours
        return replace(self, plan=replace(plan, sources=sources, pipelines=pipelines))


class EarlierPlan(Record, frozen=True):
    """For a new publisher: the previous plan, because an engine may still hand over messages of that plan.

    ``replaced`` is the uptime at which the current plan replaced it.
    """

    plan: Plan
    replaced: Uptime


class ModelFile(Record, frozen=True):
    """The open file that comes with this message is the model file at ``path``, for plans that name this path.

    If ``error`` contains a sentence, no file comes with the message.
    """

    path: FilePath
    error: Sentence = ""


class Restrain(Record, frozen=True):
    """The governor's frame rate limits from now on; pipelines that are not named run as configured.

    None: the governor is off.
    """

    governor: GovernorHealth | None = None


class SetLogLevel(Record, frozen=True):
    """The level of log lines from now on."""

    level: Literal["debug", "info", "warning", "error"]


class AttachReader(Record, frozen=True):
    """The socket that comes with this message is connected to the reader of ``source``.

    ``again``: the reader is restarted, and this socket replaces the one that the engine has.
    """

    source: Name
    again: bool = False


class WhyQuestion(Record, frozen=True):
    """A request to explain the decisions of a period (seconds since the epoch).

    Without ``pipeline`` it is about all pipelines, without ``label`` about all labels.
    """

    since: float
    until: float
    pipeline: Annotated[str, at_most(64)] | None = None
    label: Annotated[str, at_most(128)] | None = None


class WhyAnswer(Record, frozen=True):
    """The explanation: the newest sentences, at most 500, the oldest first.

    ``notes`` describe the limits of the explanation. If there is no explanation, ``error`` is the reason.
    """

    lines: Annotated[tuple[Sentence, ...], at_most(500)]
    notes: Annotated[tuple[Sentence, ...], at_most(64)] = ()
    error: Sentence = ""


class Grab(Record, frozen=True):
    """A request to write one picture of ``source`` as PNG into the supervisor's file that comes with this message.

    With ``side``, the picture is a JPEG with sides of at most ``side`` pixels, and a `Look` describes it. The
    `GrabDone` has the same ``number``.
    """

    source: Name
    side: Annotated[int, between(0, 4096)] = 0
    number: Count = 0


class Look(Record, frozen=True):
    """A small picture, and the results for the source's frames around its time.

    ``width`` and ``height`` are those of the picture, ``size`` those of the frame. ``light`` is the mean brightness
    outside the masks (None: all is masked). ``sharpness`` grows with the contrast of fine details outside the masks; it
    has no unit. ``findings`` are the newest results by pipeline, ``inputs`` the width and height of the models' input
    pictures.
    """

    width: Count
    height: Count
    size: tuple[Count, Count]
    ts: Timestamp
    light: Fraction | None
    sharpness: Annotated[float, at_least(0)]
    findings: Annotated[Mapping[Name, Result], at_most(256)]
    inputs: Annotated[Mapping[Name, tuple[Count, Count]], at_most(256)]


class GrabDone(Record, frozen=True):
    """Outcome of the `Grab` with this number; ``error`` is empty if the picture was written."""

    source: Name
    error: Sentence = ""
    look: Look | None = None
    number: Count = 0


MAX_RECENT_EVENTS: Final = 200


class EventsQuestion(Record, frozen=True):
    """A request for the last events of all pipelines."""


class RecentEvent(Record, frozen=True):
    """An event with its pipeline."""

    pipeline: Name
    event: Event


class EventsAnswer(Record, frozen=True):
    """The last events since the engine started, the oldest first."""

    events: Annotated[tuple[RecentEvent, ...], at_most(MAX_RECENT_EVENTS)]


class ScoresQuestion(Record, frozen=True):
    """A request for the scores of a pipeline in the last hour."""

    pipeline: Name


SCORE_STEPS: Final = 100


class ScoresAnswer(Record, frozen=True):
    """Histogram of the scores of objects, poses or best classes in the last ``seconds``.

    ``counts[i]`` is for scores from ``i / 100`` on. Scores below ``known_from`` are not processed, so
    they are not counted. If there are no counts, ``error`` is the reason.
    """

    pipeline: Name
    seconds: Annotated[float, at_least(0)] = 0.0
    known_from: float = 0.0
    counts: Annotated[tuple[Count, ...], at_most(SCORE_STEPS + 1)] = ()
    error: Sentence = ""


class Watched(Record, frozen=True):
    """Whether a person is looking at pictures now."""

    watched: bool


class Offence(Record, frozen=True):
    """A report that another process floods the sender or repeatedly violates the protocol, and must be ended.

    ``by`` is the kind of that process, ``source`` the source of a reader. ``what`` describes the excess data for the
    log.
    """

    by: Literal["engine", "publisher", "reader"]
    what: Sentence
    source: Annotated[str, at_most(64)] = ""


class Stop(Record, frozen=True):
    """A request to finish the current work and exit.

    ``replaced``: a new process takes over, while the other processes keep running.
    """

    replaced: bool = False


class Delegated(Record, frozen=True):
    """The share of a model's operators that a delegate runs. With a ``failure``, the CPU runs all operators."""

    share: Fraction
    failure: Sentence = ""


class Running(Record, frozen=True):
    """The model that a pipeline runs: its digest (null: none), the seconds since its start, and the frames since then.

    ``fault`` is an error of a model on probation. ``refused`` and ``why`` describe a model that could not be loaded.
    ``busy`` is the seconds that the current run of a model on probation has taken so far.

    Three durations describe the last replacement of the model, in seconds. ``load`` is the loading time. ``pause`` is
    the longest time for which loading blocked another thread. ``gap`` is the time from the last outcome before the
    replacement to the first outcome after it; 0 if this engine had no earlier outcome.
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


class ProcessUse(Record, frozen=True):
    """Resources that a process uses: seconds of processor time since ``began``, and bytes of memory (0 if unknown).

    See `edge_infer.platform.process_use.OwnUse`.
    """

    began: Uptime = 0.0
    cpu: Annotated[float, at_least(0)] = 0.0
    pss: Count = 0


LATENCY_BOUNDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Upper bounds of the latency histogram in seconds; one additional count is for longer latencies."""


class PipelineCounts(Record, frozen=True):
    """Frames of a pipeline by outcome since ``began``, and the latencies of the frames on which the model ran.

    ``still`` frames were skipped because nothing moved. ``latencies`` counts frames by `LATENCY_BOUNDS`; ``seconds`` is
    the sum of the latencies.
    """

    began: Uptime = 0.0
    looked: Count = 0
    still: Count = 0
    dropped: Count = 0
    failed: Count = 0
    latencies: Annotated[tuple[Count, ...], at_most(len(LATENCY_BOUNDS) + 1)] = ()
    seconds: Annotated[float, at_least(0)] = 0.0


DriftScores = Annotated[Mapping[Literal["camera", "answers"], Annotated[float, between(0, 1e6)]], at_most(2)]
"""Ratio of the worst signal to its threshold, for the camera and for the findings of a pipeline; 1: reached."""


class EngineReport(Record, frozen=True):
    """The engine's heartbeat, once a second: proof of progress, and the data of health and status.

    ``stuck`` names pipelines with a thread that has been busy with one frame for too long. ``loading`` names pipelines
    while their model or shadow is loaded. ``order`` is the number of the `ApplyPlan` that ``running`` describes.
    """

    boot: Boot
    digest: ShortText
    pipelines: Annotated[Mapping[Name, PipelineHealth], at_most(MAX_NAMES)]
    sources: Annotated[Mapping[Name, SourceHealth], at_most(MAX_NAMES)]
    running: Annotated[Mapping[Name, Running], at_most(MAX_NAMES)]
    order: Count = 0
    stuck: Annotated[tuple[Name, ...], at_most(MAX_NAMES)] = ()
    loading: Annotated[tuple[Name, ...], at_most(MAX_NAMES)] = ()
    runtime: Annotated[str, matching(RUNTIME, 64)] = ""
    sandbox: Walls = field(default_factory=dict)
    kept: Count = 0
    tallies: Tallies = ()
    counts: Annotated[Mapping[Name, PipelineCounts], at_most(MAX_NAMES)] = field(default_factory=dict)
    use: ProcessUse = ProcessUse()
    drift: Annotated[Mapping[Name, DriftHealth], at_most(MAX_NAMES)] = field(default_factory=dict)
    drift_scores: Annotated[Mapping[Name, DriftScores], at_most(MAX_NAMES)] = field(default_factory=dict)


class EngineUp(Record, frozen=True):
    """An engine starts with this id. The publisher ignores engines that the supervisor has not announced.

    ``rested``: the engine starts with full budgets (`edge_infer.plan.channel_rates.RESTED_AFTER`). ``fresh``: it starts
    now, and the publisher that receives this runs already.
    """

    boot: Boot
    rested: bool = False
    fresh: bool = False


class EngineDown(Record, frozen=True):
    """The engine with this id has died, so its last states no longer hold.

    ``tallies`` are the last tallies that the engine reported.
    """

    reason: Reason
    boot: Boot
    tallies: Tallies = ()


class Announce(Record, frozen=True):
    """A retained payload of the device itself, by topic below ``<prefix>/<device>/``."""

    topic: Annotated[str, matching(r"info|config|model/[A-Za-z0-9][A-Za-z0-9_-]{0,63}", 80)]
    payload: JsonValue


class PublisherReport(Record, frozen=True):
    """The publisher's heartbeat, once a second; ``broker`` is a sentence for the operator.

    ``faulty``: the broker does not get all messages, although the publisher may be ``connected``. ``outbox`` is null
    until the stored delivery account has been read from the disk.
    """

    connected: bool
    broker: Sentence
    outbox: OutboxHealth | None
    egress: EgressHealth
    sandbox: Walls = field(default_factory=dict)
    use: ProcessUse = ProcessUse()
    faulty: bool = False


class ReaderHello(Record, frozen=True):
    """A new engine has attached: the reader must send its memory again, and all slots are free."""


class FrameFormat(Record, frozen=True):
    """The memory that comes with this message holds `FRAME_SLOTS` consecutive frames of this shape.

    ``memory`` identifies this memory in later messages, so that a `SlotFree` for an earlier memory frees nothing here.
    """

    memory: Count
    height: int
    width: int
    color: Color


class FrameReady(Record, frozen=True):
    """A frame is in ``slot`` of ``memory``; the slot belongs to the engine until `SlotFree`.

    ``wall`` and ``monotonic`` are capture times in seconds. ``number`` counts captured frames from 1. A gap means that
    there was no free slot for some frames. ``repeated`` is true when the frame is bit-equal to the one sent before it.
    """

    memory: Count
    slot: int
    number: Number
    wall: Wall
    monotonic: Uptime
    repeated: bool
    black: bool


class SlotFree(Record, frozen=True):
    """The engine no longer uses ``slot`` of ``memory``."""

    memory: Count
    slot: int


class FramesWanted(Record, frozen=True):
    """The number of frames a second that the engine processes; None: all of them.

    The rate applies until a `FrameFormat` with a memory other than ``memory``.
    """

    memory: Count
    looks: Annotated[float, between(0.001, 1e6)] | None
    """The upper limit exceeds that of `fps`, because the governor may limit a pipeline without `fps` to half of its
    actual rate."""


MAX_CHANNELS: Final = 4096
"""Maximum number of values of a sample."""


class SamplesReady(Record, frozen=True):
    """A block of a signal: ``values`` are ``n x channels`` float32, little-endian, in base64.

    ``number`` counts captured blocks from 1. A missing number is a gap in the signal; ``gap`` also marks a gap.
    ``faults`` counts the invalid data that the reader has dropped so far.
    """

    number: Number
    wall: Wall
    monotonic: Uptime
    rate: Annotated[float, between(1e-6, 1e7)]
    channels: Annotated[int, between(1, MAX_CHANNELS)]
    values: Annotated[str, at_most(4 << 20)]
    gap: bool
    repeated: bool
    faults: Count = 0


class LineReady(Record, frozen=True):
    """A line of text; ``faults`` as in `SamplesReady`."""

    number: Number
    wall: Wall
    monotonic: Uptime
    text: Annotated[str, at_most(65536)]
    faults: Count = 0


class StreamCounts(Record, frozen=True):
    """The last ``number`` and the ``faults`` of samples or lines; sent when there is no reading to carry them."""

    number: Count = 0
    faults: Count = 0


class StreamBegin(Record, frozen=True):
    """The reader's answer to `ReaderHello`: readings after ``settled`` follow, including those sent before.

    The channel may still contain readings for an earlier engine. All of them are sent again, in order, after this
    record.
    """

    settled: Count = 0


class ReadingsDone(Record, frozen=True):
    """The engine has finished all samples or lines up to ``number``, so the reader may discard its copies of them."""

    number: Count


ENDED: Final = "the source has ended"
"""Text of the `ReaderTrouble` of a source that has ended in order, such as a file on standard input."""


class ReaderTrouble(Record, frozen=True):
    """The device delivers no frames, and the reader tries again. With ``ended`` there will be no more frames.

    With ``open`` the reader has the source open, and more readings may follow: ``text`` is empty, or it is the reason
    why no program can find the source any more.
    """

    text: Sentence
    ended: bool = False
    open: bool = False


class ReaderReport(Record, frozen=True):
    """The reader's heartbeat, once a second; ``busy``: seconds of the current device call beyond its ``patience``."""

    busy: float
    frames: Count
    error: Sentence = ""
    sandbox: Walls = field(default_factory=dict)
    use: ProcessUse = ProcessUse()


# Shape of the shared memory for frames, and its limits.

LARGEST_SIDE: Final = 16_384

FRAME_SLOTS: Final = 5
"""Number of slots. Three are in transit (see `edge_infer.engine.input.frame_receiver`). The engine may lease two: for
the frame that a model processes, and for the next one in preparation.

A reader cannot choose another number. With fewer slots one frame could take all the memory that a source may have.
"""


def frame_shape(wanted: FrameFormat) -> tuple[int, ...]:
    """Return the shape of the whole memory, ``[slots, height, width(, 3)]``; raises `WireError` if it is impossible."""
    sides = (wanted.height, wanted.width)
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise WireError(f"a frame of {wanted.width}x{wanted.height} pixels")
    channels = () if wanted.color == "gray" else (3,)
    return (FRAME_SLOTS, *sides, *channels)
