"""Payloads that leave the device: one frozen record for each kind of topic, with exactly one JSON form.

The publisher decodes and validates each of them twice. ``edge-infer schema NAME`` prints the same definitions as JSON
Schema. Coordinates are fractions of the source frame, x to the right, y down. Later versions may add fields to
payloads, but never remove any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Final, Literal

from edge_infer.contract.codec import (
    ABSENT,
    Absent,
    Record,
    at_least,
    at_most,
    between,
    check_decimals,
    matching,
    replace,
)
from edge_infer.errors import LONGEST_SENTENCE

MAX_MESSAGE_BYTES: Final = 1024
"""Maximum bytes of a state, an event and the online status, and of a result unless its pipeline has ``max_payload``."""
MIN_PAYLOAD_BYTES: Final = 512
"""Minimum of ``max_payload``: a result without its items fits into it."""
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
PREFIX_PATTERN: Final = r"(?!\$)[^\x00-\x1f\x7f+#/]+(?:/[^\x00-\x1f\x7f+#/]+)*"
MAX_PREFIX_CHARACTERS: Final = 200
RESERVED_NAMES: Final = frozenset({"status", "info", "config", "model", "health", "command"})
"""Names that a pipeline may not have, because they are topics of the device itself."""

RESERVED_MODEL_NAMES: Final = frozenset({"result", "event", "state"})
"""Names that a model may not have: ``P/model/NAME`` would be taken for a topic of a pipeline ``model``."""

Name = Annotated[str, matching(NAME_PATTERN, 64)]
Timestamp = Annotated[str, matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", 24)]
Boot = Annotated[str, matching(r"[0-9a-f]{6,32}", 32)]
ShortSha = Annotated[str, matching(r"[0-9a-f]{8}", 8)]
Digest = Annotated[str, matching(r"[0-9a-f]{64}", 64)]
Label = Annotated[str, at_most(128)]
Title = Annotated[str, at_most(160)]
Sentence = Annotated[str, at_most(LONGEST_SENTENCE)]
Score = Annotated[float, between(0, 1)]
Fraction = Annotated[float, between(0, 1)]
Rate = Annotated[float, at_least(0)]
Milliseconds = Annotated[float, at_least(0)]
Gain = Annotated[float, between(0, 1000)]
MOST: Final = 2**53
"""Largest integer that every JSON reader represents exactly."""
Count = Annotated[int, between(0, MOST)]
Number = Annotated[int, between(1, MOST)]
Shift = Annotated[float, between(-1, 1)]
FractionBox = tuple[Fraction, Fraction, Fraction, Fraction]
Task = Literal["classification", "detection", "pose", "segmentation", "anomaly", "regression"]
Reason = Literal[
    "starting",
    "source_lost",
    "source_frozen",
    "source_ended",
    "model_changed",
    "engine_failed",
    "stopped",
    "config_changed",
    "removed",
    "inactive",
]
SourceState = Literal["starting", "ok", "lost", "frozen", "black", "ended"]
EventType = Literal["appear", "leave", "enter", "exit", "loiter", "cross", "start", "end", "drift", "drift_end"]
CameraDrift = Literal["covered", "dark", "moved", "defocused", "veiled", "changed"]
"""How the pictures of a camera differ from the reference. ``changed``: in a way that is none of the others."""
OutcomeDrift = Literal[
    "scores_lower", "scores_higher", "more_objects", "fewer_objects", "larger", "smaller", "mix", "values"
]
"""How the findings of a model differ from the reference."""
DriftKind = Literal[CameraDrift, OutcomeDrift]
ModelState = Literal["active", "staging", "probation", "rejected", "rolled_back"]


def timestamp(wall: float) -> str:
    """Return the UTC time with milliseconds, in the format of all payloads; ``wall`` is in seconds since the epoch."""
    moment = datetime.fromtimestamp(wall, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ScoredLabel(Record, frozen=True):
    """One class of a classification."""

    label: Label
    score: Score

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score)


class DetectedObject(Record, frozen=True):
    """One object: its label, score and box ``[xmin, ymin, xmax, ymax]``, and the share of the box that it fills.

    With tracking, ``id`` is the same from frame to frame; an id is never reused in this boot. ``parent`` is the id of
    the cropped object in which this one was found.
    """

    label: Label
    score: Score
    box: FractionBox
    share: Fraction | Absent = ABSENT
    id: Number | Absent = ABSENT
    parent: Number | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score)
        check_decimals(4, *self.box, self.share)


class Parent(Record, frozen=True):
    """The object that a cascade's result is about, as published by the pipeline that detected it.

    ``seq`` is the sequence number of that pipeline's result for the same frame and boot, if it published one. ``id`` is
    the id of the object if objects are tracked, else that of the object in which it was found.
    """

    pipeline: Name
    label: Label
    score: Score
    box: FractionBox
    id: Number | Absent = ABSENT
    seq: Number | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score)
        check_decimals(4, *self.box)


MAX_POINTS: Final = 256
"""Maximum number of keypoints of a body."""


class Pose(Record, frozen=True):
    """One body: keypoints ``[x, y, score]`` in the order of the manifest."""

    score: Score
    points: Annotated[tuple[tuple[Fraction, Fraction, Score], ...], at_most(MAX_POINTS)]

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score, *(score for _, _, score in self.points))
        check_decimals(4, *(place for point in self.points for place in point[:2]))


class Segment(Record, frozen=True):
    """A label and the share of the frame that it fills."""

    label: Label
    share: Fraction

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(4, self.share)


class Anomaly(Record, frozen=True):
    """Distance of a frame from normal frames, and the threshold from which on it counts as anomalous."""

    score: Annotated[float, at_least(0)]
    threshold: Annotated[float, at_least(0)]
    state: Literal["normal", "anomalous"]

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score, self.threshold)


class Value(Record, frozen=True):
    """A measured value; null, with ``implausible``, when the model returned an impossible value."""

    name: Label
    value: float | None
    unit: Annotated[str, at_most(32)]
    implausible: Literal[True] | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(6, self.value)


def _declared(values: tuple[Value, ...] | Absent | None) -> list[str]:
    return [word for value in values for word in (value.name, value.unit)] if isinstance(values, tuple) else []


_OUTCOMES: Final[Mapping[Task, str]] = {
    "classification": "classes",
    "detection": "objects",
    "pose": "poses",
    "segmentation": "segments",
    "anomaly": "anomaly",
    "regression": "values",
}


class Result(Record, frozen=True):
    """The inference result of one frame. Its key (device, pipeline, boot, seq) shows gaps and duplicates.

    ``still``: nothing moved in the frame, so the model did not run and this is the previous outcome.
    """

    v: Literal[1]
    ts: Timestamp
    boot: Boot
    seq: Number
    model: Title
    sha: ShortSha
    task: Task
    ms: Annotated[float, between(0, 1e9)] | Absent = ABSENT
    classes: Annotated[tuple[ScoredLabel, ...], at_most(100)] | Absent = ABSENT
    objects: Annotated[tuple[DetectedObject, ...], at_most(1000)] | Absent = ABSENT
    poses: Annotated[tuple[Pose, ...], at_most(100)] | Absent = ABSENT
    segments: Annotated[tuple[Segment, ...], at_most(256)] | Absent = ABSENT
    anomaly: Anomaly | Absent = ABSENT
    values: Annotated[tuple[Value, ...], at_most(100)] | Absent = ABSENT
    parent: Parent | Absent = ABSENT
    more: Number | Absent = ABSENT
    clock: Literal["unsynced"] | Absent = ABSENT
    replay: Literal[True] | Absent = ABSENT
    still: Literal[True] | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError unless the record carries exactly the outcome of its task."""
        check_decimals(1, self.ms)
        carried = (self.classes, self.objects, self.poses, self.segments, self.anomaly, self.values)
        others = carried.count(ABSENT)
        if others != len(carried) - 1 or getattr(self, _OUTCOMES[self.task]) is ABSENT:
            raise ValueError(f"a {self.task} result must contain the outcome of its task and no other")

    def words(self) -> list[str]:
        """Return every text in the outcome: labels, names and units, which the model or its manifest declares."""
        lists = (self.classes, self.objects, self.segments)
        return [item.label for items in lists if items is not ABSENT for item in items] + _declared(self.values)

    def shorter(self) -> Result | None:
        """Return a copy without the last item of its list, with ``more`` raised by one. None if no item is there."""
        more = 1 + (0 if self.more is ABSENT else self.more)
        for key in ("classes", "objects", "poses", "segments"):
            items = getattr(self, key)
            if isinstance(items, tuple) and items:
                changes: dict[str, Any] = {key: items[:-1], "more": more}
                return replace(self, **changes)
        return None


class LineCounts(Record, frozen=True):
    """Numbers of objects that crossed a line to its left and to its right, seen from its start to its end."""

    left: Count
    right: Count


class Answer(Record, frozen=True):
    """The outcome of a cascade for one object; ``label`` and ``id`` are those of the pipeline that detected it.

    It has the same one outcome field as a state of the task. A null class means that no class reached the threshold.
    """

    label: Label
    id: Number | Absent = ABSENT
    class_: Label | Absent | None = ABSENT
    counts: Annotated[Mapping[Label, Count], at_most(1000)] | Absent = ABSENT
    anomaly: Anomaly | Absent = ABSENT
    values: Annotated[tuple[Value, ...], at_most(100)] | Absent = ABSENT

    def words(self) -> list[str]:
        """Return every text in the outcome."""
        chosen = [self.class_] if isinstance(self.class_, str) else []
        return chosen + list(self.counts or ()) + _declared(self.values)


class State(Record, frozen=True):
    """The current state, by labels and counts; null, with a reason, while it is unknown.

    ``since`` is when the current counts and zones, class or reason began. ``ids`` lists the ids of the counted objects
    by label, if objects are tracked and the list fits.

    In a cascade the outcome summarises all objects: counts of classes, the worst anomaly, the newest values.
    ``answers`` has the outcome of each object.
    """

    v: Literal[1]
    ts: Timestamp
    boot: Boot
    model: Title
    sha: ShortSha
    since: Timestamp | Absent = ABSENT
    counts: Annotated[Mapping[Label, Count], at_most(1000)] | Absent | None = ABSENT
    ids: Annotated[Mapping[Label, Annotated[tuple[Number, ...], at_most(1000)]], at_most(1000)] | Absent = ABSENT
    class_: Label | Absent | None = ABSENT
    anomaly: Anomaly | Absent | None = ABSENT
    values: Annotated[tuple[Value, ...], at_most(100)] | Absent | None = ABSENT
    zones: Annotated[Mapping[Name, Annotated[Mapping[Label, Count], at_most(1000)]], at_most(100)] | Absent = ABSENT
    lines: Annotated[Mapping[Name, LineCounts], at_most(100)] | Absent = ABSENT
    answers: Annotated[tuple[Answer, ...], at_most(100)] | Absent = ABSENT
    reason: Reason | Absent = ABSENT
    more: Number | Absent = ABSENT
    clock: Literal["unsynced"] | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one outcome is present, and a reason only with null."""
        carried = [said for said in (self.counts, self.class_, self.anomaly, self.values) if said is not ABSENT]
        if len(carried) != 1:
            raise ValueError("a state must contain one of counts, class, anomaly and values")
        if self.reason is not ABSENT and carried[0] is not None:
            raise ValueError("a reason belongs to a state that is null")
        if not isinstance(self.counts, Mapping) and (self.zones is not ABSENT or self.lines is not ABSENT):
            raise ValueError("zones and lines belong to a state with counts")
        if not isinstance(self.counts, Mapping) and self.ids is not ABSENT:
            raise ValueError("ids belong to a state with counts")
        if self.answers is not ABSENT and self.reason is not ABSENT:
            raise ValueError("answers belong to a state that is known")

    def words(self) -> list[str]:
        """Return every text in the outcome: labels, names and units, which the model or its manifest declares."""
        counted = list(self.counts) if isinstance(self.counts, Mapping) else []
        chosen = [self.class_] if isinstance(self.class_, str) else []
        zones = self.zones.values() if isinstance(self.zones, Mapping) else ()
        counted += [word for answer in self.answers or () for word in answer.words()] + list(self.ids or ())
        return counted + chosen + _declared(self.values) + [label for counts in zones for label in counts]

    def places(self) -> list[str]:
        """Return the names of zones and lines, which the configuration declares."""
        return [name for group in (self.zones, self.lines) if isinstance(group, Mapping) for name in group]


STATE_KEYS: Final[Mapping[Task, str]] = {
    "classification": "class_",
    "detection": "counts",
    "pose": "counts",
    "segmentation": "counts",
    "anomaly": "anomaly",
    "regression": "values",
}
"""Outcome field of a state, for each task; its value is null while the state is unknown."""
CASCADE_KEYS: Final[Mapping[Task, str]] = {**STATE_KEYS, "classification": "counts"}
"""Outcome field of a state in a cascade, where several classes may apply at once."""


MAX_SKIPPED: Final = 128
"""Maximum number of sequence numbers that one event skips."""


class Event(Record, frozen=True):
    """An event: something in the scene that began, changed or ended.

    A ``leave`` of the same ``id`` ends an ``appear``; an ``exit`` of the same ``id`` and ``zone`` ends an ``enter``; an
    ``end`` of the same ``label`` ends a ``start``; a ``drift_end`` of the same ``kind`` ends a ``drift``. ``shift`` is
    how far the content of the picture moved to the right and down, in fractions of the frame. ``since`` is when the
    subject of the event began. ``score`` is the best score so far. For an anomaly it is the distance, which may be more
    than 1. ``reason`` is present if something other than the scene ended the event. ``skipped`` is how many numbers
    before ``seq`` the sender skipped on purpose; no messages are lost.
    """

    v: Literal[1]
    ts: Timestamp
    boot: Boot
    seq: Number
    type: EventType
    label: Label | Absent = ABSENT
    id: Number | Absent = ABSENT
    zone: Name | Absent = ABSENT
    line: Name | Absent = ABSENT
    direction: Literal["left", "right"] | Absent = ABSENT
    score: Annotated[float, between(0, 1e9)] | Absent = ABSENT
    box: FractionBox | Absent = ABSENT
    since: Timestamp | Absent = ABSENT
    reason: Reason | Absent = ABSENT
    kind: DriftKind | Absent = ABSENT
    shift: tuple[Shift, Shift] | Absent = ABSENT
    skipped: Annotated[int, between(1, MAX_SKIPPED)] | Absent = ABSENT
    clock: Literal["unsynced"] | Absent = ABSENT
    replay: Literal[True] | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(3, self.score)
        check_decimals(4, *(() if self.box is ABSENT else self.box))
        check_decimals(2, *(() if self.shift is ABSENT else self.shift))
        if (self.kind is ABSENT) == (self.type in ("drift", "drift_end")):
            raise ValueError("an event of drift has a kind, and no other event has one")
        if self.shift is not ABSENT and self.kind != "moved":
            raise ValueError("only a moved camera has a shift")

    def places(self) -> list[str]:
        """Return the names of zones and lines, which the configuration declares."""
        return [name for name in (self.zone, self.line) if name is not ABSENT]


class Latency(Record, frozen=True):
    """Milliseconds from capture to outcome over the last health interval."""

    p50: Milliseconds
    p95: Milliseconds
    p99: Milliseconds

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(1, self.p50, self.p95, self.p99)


class MotionHealth(Record, frozen=True):
    """Frames and inferences that a pipeline with ``motion`` has skipped since the boot.

    ``still`` counts frames without motion. ``saved`` is the share of inferences that were skipped; each tile counts as
    one.
    """

    still: Count
    saved: Fraction

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(4, self.saved)


class PipelineHealth(Record, frozen=True):
    """Health of one pipeline since the last health message; ``dropped`` and ``produced`` count from the boot.

    ``held_back`` counts the events that the limits of the pipeline suppressed. ``faults`` counts the frames that could
    not be processed, and the model outputs that are not finite.
    """

    fps: Rate
    latency_ms: Latency | None
    dropped: Count
    produced: Count
    error: Sentence | Absent = ABSENT
    held_back: Count | Absent = ABSENT
    faults: Count | Absent = ABSENT
    motion: MotionHealth | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(2, self.fps)


class DriftHealth(Record, frozen=True):
    """Drift of a pipeline: whether its camera's pictures and its model's findings match the reference.

    A part is absent if the pipeline does not have it. ``learned`` is the completed share of the reference while it is
    being learned.
    """

    camera: Literal["learning", "ok", CameraDrift] | Absent = ABSENT
    outcome: Literal["learning", "ok", OutcomeDrift] | Absent = ABSENT
    learned: Fraction | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(2, self.learned)

    @property
    def present(self) -> bool:
        """Whether a drift is present."""
        return any(part not in (ABSENT, "learning", "ok") for part in (self.camera, self.outcome))


class SourceHealth(Record, frozen=True):
    """Health of one source; ``fps`` is its delivered rate, which is limited to the rate that its pipelines process.

    ``faults`` counts readings that were dropped because they were broken, cut off or overrun. ``rate`` is the number of
    signal samples per second. Samples are delivered in blocks, which ``fps`` counts.
    """

    state: SourceState
    fps: Rate
    error: Sentence | Absent = ABSENT
    faults: Count | Absent = ABSENT
    rate: Rate | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(2, self.fps, self.rate)


class OutboxHealth(Record, frozen=True):
    """The delivery account: ``produced`` = ``delivered`` + ``pending`` + the sum of ``lost``, which counts by reason.

    ``degraded`` is true while the publisher cannot store messages on disk.
    """

    pending: Count
    bytes: Count
    delivered: Count
    lost: Annotated[Mapping[Name, Count], at_most(32)]
    degraded: bool
    produced: Count = 0


class EgressHealth(Record, frozen=True):
    """Counts of the egress guard since the publisher started.

    ``rejected`` counts the messages that the publisher refused because they did not fit the closed schema. ``bytes``
    counts the bytes that it published: payloads, and topics below that of the device.
    """

    rejected: Count
    bytes: Count | Absent = ABSENT


class BoardHealth(Record, frozen=True):
    """CPU load 0..1, memory in use 0..1, degrees Celsius, firmware throttling; null if the board does not report it."""

    cpu: Fraction | None
    memory: Fraction | None
    temperature: float | None
    throttled: bool | None

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(4, self.cpu, self.memory)


GovernorReason = Literal["temperature", "throttled", "voltage", "battery", "load"]
"""Reason for reduced frame rates. ``throttled`` and ``voltage`` are current reports of the firmware or the kernel."""


class GovernorHealth(Record, frozen=True):
    """Frame rates (per second) to which the governor limits pipelines, and the latest reason."""

    limits: Annotated[Mapping[Name, Rate], at_most(256)]
    reason: GovernorReason | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(2, *self.limits.values())


class Health(Record, frozen=True):
    """Health of the device, sent every 30 s."""

    v: Literal[1]
    ts: Timestamp
    boot: Boot
    pipelines: Annotated[Mapping[Name, PipelineHealth], at_most(256)]
    sources: Annotated[Mapping[Name, SourceHealth], at_most(256)]
    outbox: OutboxHealth
    egress: EgressHealth
    board: BoardHealth
    clock: Literal["unsynced"] | Absent = ABSENT
    governor: GovernorHealth | Absent = ABSENT
    more: Number | Absent = ABSENT
    """Number of pipelines and sources that did not fit."""
    watched: Literal[True] | Absent = ABSENT
    """A person is looking at pictures of a source now. A change is published at once."""
    drift: Annotated[Mapping[Name, DriftHealth], at_most(256)] | Absent = ABSENT
    """Drift of the pipelines that watch for it."""


class PipelineInfo(Record, frozen=True):
    """The source and model that a pipeline uses, and the digest of the model file."""

    source: Name
    model: Title
    sha: ShortSha


class RetainedTopics(Record, frozen=True):
    """Number and digest of the retained topics below the device's own topic; Home Assistant's are not included.

    The digest is the beginning of the SHA-256 of the sorted names, such as ``door/state``, joined by line feeds. A
    subscriber compares both with the topics that it has received.
    """

    count: Count
    digest: Annotated[str, matching(r"[0-9a-f]{16}", 16)]

    @classmethod
    def of(cls, names: Iterable[str]) -> RetainedTopics:
        """Return the number and the digest of these topic names."""
        ordered = sorted(names)
        return cls(len(ordered), hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:16])


class ChannelBound(Record, frozen=True):
    """The maximum data that a compromised engine can hide in valid results, states, events and health messages.

    This is for all pipelines together. In any period it can hide ``bytes_per_second`` times the seconds of the period,
    and ``burst_bytes`` once: pipelines that have been quiet may publish several messages at once. Both are calculated
    from the configuration; null: nothing limits the rate of a pipeline, or the calculation failed. ``picture_seconds``
    is how long a picture of 7,000 bytes would take after a quiet time.
    """

    bytes_per_second: Rate | None
    picture_seconds: Annotated[int, between(0, MOST)] | Absent = ABSENT
    burst_bytes: Annotated[int, between(0, MOST)] | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(2, self.bytes_per_second)


class Info(Record, frozen=True):
    """The running setup: versions, board, configuration digest, sandbox self-test, pipelines and their models.

    ``fast_path`` is the speed-up by the runtime's fast path (XNNPACK), as measured since the start. A value below 1.2
    means that the fast path does not work.
    """

    v: Literal[1]
    ts: Timestamp
    boot: Boot
    versions: Annotated[Mapping[Annotated[str, at_most(64)], Annotated[str, at_most(128)]], at_most(32)]
    board: Sentence
    config: Digest
    sandbox: Annotated[Mapping[Annotated[str, at_most(64)], Sentence], at_most(64)]
    pipelines: Annotated[Mapping[Name, PipelineInfo], at_most(256)]
    more: Number | Absent = ABSENT
    """Number of pipelines that did not fit."""
    fast_path: Gain | Absent = ABSENT
    tried: Annotated[Mapping[Annotated[str, at_most(64)], Sentence], at_most(64)] | Absent = ABSENT
    """What each process has tried, to find out whether a rule in ``sandbox`` is in force."""
    topics: RetainedTopics | Absent = ABSENT
    channel: ChannelBound | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(1, self.fast_path)


class ConfigStatus(Record, frozen=True):
    """Outcome of the last reading of the configuration; ``digest`` is that of the last file that could be read.

    If a file is missing or cannot be read, this is the file read before; after a restart it is the file applied last.
    """

    state: Literal["applied", "rejected"]
    digest: Digest
    ts: Timestamp
    errors: Annotated[tuple[Sentence, ...], at_most(100)] = ()


class ShadowStatus(Record, frozen=True):
    """Comparison of a shadow model with the active model on a share of a pipeline's frames. It contains no findings.

    The values are computed over ``frames`` frames since the shadow began:

    - ``agreement``: the share of frames with the same outcome (counts by label, class, state, or values in steps)
    - ``matched``: the share of boxes that both models found
    - ``difference``: the mean difference of scores, distances, shares or values where both models found the same; of
      classes only the best one is compared
    - ``latency``: the time that the shadow takes as a multiple of the active model's
    - ``skipped``: frames of its share that it skipped so that it does not delay other work
    """

    model: Name
    sha: ShortSha
    state: Literal["starting", "running", "off"]
    frames: Count = 0
    skipped: Count = 0
    errors: Count = 0
    agreement: Fraction | None = None
    matched: Fraction | Absent = ABSENT
    difference: Annotated[float, at_least(0)] | Absent = ABSENT
    latency: Annotated[float, at_least(0)] | Absent = ABSENT
    reason: Sentence | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(4, self.agreement, self.matched, self.difference)
        check_decimals(2, self.latency)


class DelegateStatus(Record, frozen=True):
    """The delegate library of a model and its share of the operators; with a ``reason`` the CPU runs all of them."""

    library: Annotated[str, at_most(255)]
    share: Fraction
    reason: Sentence | Absent = ABSENT

    def __post_init__(self) -> None:
        """Raise ValueError for a number with too many decimals."""
        check_decimals(4, self.share)


class ModelStatus(Record, frozen=True):
    """Status of a configured model and the file in use; ``delegate`` and ``shadow`` are by pipeline."""

    state: ModelState
    version: Annotated[str, at_most(64)] | None
    sha: ShortSha | None
    reason: Sentence | Absent = ABSENT
    previous: ShortSha | Absent = ABSENT
    candidate: ShortSha | Absent = ABSENT
    delegate: Annotated[Mapping[Name, DelegateStatus], at_most(256)] | Absent = ABSENT
    shadow: Annotated[Mapping[Name, ShadowStatus], at_most(256)] | Absent = ABSENT


PAYLOADS: Final[Mapping[str, type]] = {
    "result": Result,
    "event": Event,
    "state": State,
    "health": Health,
    "info": Info,
    "config-status": ConfigStatus,
    "model": ModelStatus,
}
"""Record that ``edge-infer schema NAME`` prints, by name. (``config`` is the schema of the configuration file.)"""
