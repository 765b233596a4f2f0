"""What the rooms get of a configuration: small frozen records, already checked, with absolute paths.

No pydantic and no YAML behind this door. A plan crosses to the rooms as JSON and is compared by value, so that a
reload restarts only what changed. Secrets are never in it: only the paths of the files that hold them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from edge_infer.codec import JsonValue, OneOf, PartlyCompared, Record, ShortText, at_least, at_most, field, replace
from edge_infer.messages import CASCADE_KEYS, STATE_KEYS, Label, Name, Sentence, Task

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "letterbox", "crop"]
Scaling = Literal["exact", "fast"]
Rotation = Literal[0, 90, 180, 270]
Flip = Literal["horizontal", "vertical"]
Gives = Literal["image", "samples", "text"]
"""What a source gives and a model takes."""
FeatureKind = Literal["waveform", "mfcc", "log_mel", "micro", "spectrum", "raw"]
Gravity = Literal["remove", "rotate"]
Mel = Literal["htk", "slaney"]
Logarithm = Literal["none", "ln", "db"]
Ahead = Literal["auto", "always", "never"]
"""Whether the next frame is prepared while one is in the model; ``auto``: unless the model is too quick for that."""
OnFailure = Literal["refuse", "cpu"]
"""What is done when a delegate fails: the model is refused, or runs on the processor."""
Publish = Literal["change", "every", "off", "interval"]
Anchor = Literal["bottom", "center"]
"""The point of a box that is in a zone or on a side of a line: the middle of its lower edge, or of all of it."""
FilePath = Annotated[str, at_most(8192)]
MAX_RATE: Final = 256 << 10
LEAST_PATIENCE: Final = 1.0
"""Seconds that a frame may always take where no budget is given."""
Polygon = tuple[tuple[float, float], ...]
"""Corners as fractions of the frame."""


class TlsPlan(Record, frozen=True):
    """Files of a TLS connection; without ``ca_file`` the system's authorities hold."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None


class MqttPlan(Record, frozen=True):
    """How to reach the broker. ``topic`` is ``<prefix>/<device>``, below which everything is published.

    ``max_rate`` is in bytes a second.
    """

    host: ShortText
    port: int
    tls: TlsPlan | None
    username: ShortText | None
    password_file: FilePath | None
    topic: ShortText
    qos: Literal[0, 1]
    client_id: ShortText
    max_rate: int = MAX_RATE


class OutboxPlan(Record, frozen=True):
    """How much may wait for the broker: ``max_size`` bytes on the disk, ``max_age`` seconds."""

    max_size: int = 256 << 20
    max_age: float = 7 * 86400.0


class InputPlan(Record, frozen=True):
    """How a frame becomes the model's input tensor.

    ``real = (value_of_0..255 - mean) / std`` for each colour channel, and the tensor's own quantization applies to
    ``real``; ``None`` for both: where the tensor says how it is quantized that alone holds (see
    ``engine/preprocess/image.py``).

    ``border`` is the brightness (0..255) of the bars beside a letterboxed picture; the family of the model knows it.
    With ``tiles`` (columns, rows) the frame goes in one part after the other; ``overlap`` is the share of a tile that
    its neighbour shows, too. ``scaling`` is how a frame is made smaller: by the filter of the reference outcomes, or by
    one close to it that costs a tenth (see `preprocess/scale.py`).
    """

    takes: ClassVar[Gives] = "image"

    color: Color = "rgb"
    resize: Resize = "stretch"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    border: int = 0
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    scaling: Scaling = "exact"


class FilterPlan(Record, frozen=True):
    """Filters of a signal before anything else is made of it, frequencies in Hz (see `preprocess/filters.py`)."""

    highpass: float | None = None
    lowpass: float | None = None
    gravity: Gravity | None = None


class SignalPlan(PartlyCompared, frozen=True, eq=False):
    """How a signal becomes the input tensor; durations in seconds, frequencies in Hz (see `preprocess/signal.py`).

    ``scale`` multiplies the samples, and with ``peak`` those of each window are divided by the largest of them. For
    ``mean`` and ``std`` of the features there is one number, or one for each value of a frame. Without a ``rate``
    samples are taken as they come, without a ``stride`` a window begins half of one after the one before. With
    ``columns``, counted from 0, only these values of a sample go in; a source then gives at least ``width`` of them.
    Otherwise it gives ``values`` (0: any number, which becomes one; or not known).
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"values"})
    takes: ClassVar[Gives] = "samples"

    features: FeatureKind
    rate: float | None = None
    window: float | None = None
    hop: float | None = None
    stride: float | None = None
    channels: int = 1
    bins: int | None = None
    coefficients: int | None = None
    low: float = 0.0
    high: float | None = None
    mel: Mel = "htk"
    power: Literal[1, 2] = 1
    log: Logarithm | None = None
    floor: float = 1e-6
    scale: float = 1.0
    peak: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    filter: FilterPlan = field(default_factory=FilterPlan)
    columns: tuple[int, ...] = ()
    width: int = 0
    values: int = 0


class TextPlan(Record, frozen=True):
    """How a line of text becomes a row of ``length`` word ids (see `preprocess/text.py`).

    ``vocabulary`` is the path of a file of words, or of a model file inside which ``vocabulary_file`` is one; its bytes
    have the digest ``vocabulary_sha256``. ``pattern`` is what is between two words, for ``regex`` only. ``mask`` and
    ``segments`` are the names of further inputs: which ids are of the text (1), and of which text of two (0 for all).
    """

    takes: ClassVar[Gives] = "text"

    tokenizer: Literal["regex", "wordpiece"]
    vocabulary: FilePath
    vocabulary_sha256: ShortText
    length: int
    vocabulary_file: ShortText | None = None
    pattern: ShortText | None = None
    lowercase: bool = False
    mask: ShortText | None = None
    segments: ShortText | None = None


if TYPE_CHECKING:
    ModelInput = InputPlan | SignalPlan | TextPlan
else:

    class ModelInput(OneOf):
        """How whatever a source gives becomes the model's input tensor; told apart by a key that only one has."""

        by_key = {"vocabulary": TextPlan, "features": SignalPlan, "": InputPlan}  # noqa: RUF012 - it is never changed


class FurtherInput(Record, frozen=True):
    """An input beside the one that ``ModelPlan.input`` is about, by the tensor's name.

    With a ``plan`` the same frame goes in, as it says. Without, always the same ``values``, real ones: one for the
    whole tensor, or one for each of its numbers.
    """

    name: ShortText
    values: tuple[float, ...] = ()
    plan: ModelInput | None = None


class DecoderPlan(Record, frozen=True):
    """A decoder by name, the ``module:Class`` behind it, and its parameters from the manifest."""

    kind: ShortText
    target: ShortText
    options: Mapping[ShortText, JsonValue] = field(default_factory=dict)


class NmsPlan(Record, frozen=True):
    """Non-maximum suppression: boxes of one label that overlap more than ``iou`` are one; at most ``max`` remain."""

    iou: float = 0.5
    max: int = 100


class ValuePlan(Record, frozen=True):
    """One value of a regression: ``scale`` times the model's number; ``step`` is what counts as a change.

    Outside ``min`` and ``max``, or changing faster than ``max_rate`` a second, it is implausible.
    """

    name: ShortText
    unit: ShortText = ""
    scale: float = 1.0
    step: float = 0.0
    min: float | None = None
    max: float | None = None
    max_rate: float | None = None

    def decimals(self) -> int:
        """How many the value has on the wire: those of its step, 2 for 0.25 and 0 for 5; six without a step."""
        if not self.step:
            return 6
        return next((n for n in range(6) if math.isclose(self.step, round(self.step, n), rel_tol=1e-6)), 6)


class Measured(Record, frozen=True):
    """What the probe measured on this board: seconds for a frame, bytes of memory, seconds to load it.

    ``budget`` is the manifest's, for a frame; ``runtime`` names what ran it; ``run`` is the quickest run of the
    model alone, which hardly depends on what else the board did.
    """

    latency: float | None = None
    memory: int | None = None
    budget: float | None = None
    load: float | None = None
    runtime: Annotated[str, at_most(64)] = ""
    run: float | None = None


class ModelPlan(PartlyCompared, frozen=True, eq=False):
    """One model, resolved: the bytes (a copy under its digest), and how to feed and read it.

    ``state`` names outputs and the inputs that they become in the next run, ``further`` what goes into inputs beside
    the one that ``input`` is about, ``outputs`` those that the decoder looks at, in its order (none: all). ``shapes``
    are those of inputs whose size the file leaves open. ``manifest`` is a digest of what its manifest says, without one
    of nothing (empty: a version of this program that noted none). ``entry`` is a digest of what the configuration says
    of it, ``origin`` tells people where its bytes come from, ``question`` is a digest of all that the answer depends
    on, and ``measured`` differs from one try to the next: none of these makes it another model.
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"entry", "origin", "question", "measured"})
    name: ShortText
    title: ShortText
    version: ShortText | None
    sha256: ShortText
    path: Annotated[str, at_most(4096)]
    task: Task
    decoder: DecoderPlan
    labels: tuple[Label, ...]
    input: ModelInput
    threshold: float
    nms: NmsPlan
    values: tuple[ValuePlan, ...] = ()
    state: tuple[tuple[ShortText, ShortText], ...] = ()
    further: tuple[FurtherInput, ...] = ()
    shapes: tuple[tuple[ShortText, tuple[int, ...]], ...] = ()
    outputs: tuple[ShortText, ...] = ()
    manifest: ShortText = ""
    entry: ShortText = ""
    origin: Sentence = ""
    question: ShortText = ""
    measured: Measured = Measured()

    @property
    def identity(self) -> str:
        """A digest of its bytes, its manifest and its labels: another one is another model, which goes on probation."""
        if not self.manifest:
            return self.sha256
        labels = "\n".join(self.labels)  # of a file that neither the manifest nor the configuration has a digest of
        return hashlib.sha256(f"{self.sha256} {self.manifest}\n{labels}".encode()).hexdigest()

    def patience(self) -> float:
        """Seconds that a frame may take: the budget, without one ten times what was measured, at least a second."""
        looks = math.prod(self.input.tiles) if isinstance(self.input, InputPlan) else 1
        if self.measured.budget is not None:
            return self.measured.budget * looks
        return max(LEAST_PATIENCE, 10.0 * looks * (self.measured.latency or 0.0))


class SourcePlan(Record, frozen=True):
    """One source. ``options`` are the keys of its kind, decoded into its own record by ``target``, which opens it.

    ``live`` sources get a reader of their own, and only ``network`` ones may open inet sockets there. Two equal
    readings in a row of a ``noisy`` source show that it is stuck. The reader of one inherits the daemon's ``stdin``.
    ``stills`` are single pictures, not a stream. So many seconds of ``pause`` between two readings are what was asked
    for. ``holds_writer``: nothing of it is dropped, because whoever writes waits. Without a ``target`` nothing is
    read: its frames are those of the pipeline ``parent``.
    """

    name: ShortText
    kind: ShortText
    target: ShortText
    live: bool
    network: bool
    options: Mapping[ShortText, JsonValue]
    fps: float | None = None
    rotate: Rotation = 0
    flip: Flip | None = None
    gives: Gives = "image"
    noisy: bool = True
    stdin: bool = False
    stills: bool = False
    parent: Name | None = None
    pause: Annotated[float, at_least(0)] = 0.0
    holds_writer: bool = False


class CropsPlan(Record, frozen=True):
    """What of another pipeline's frames goes into a model: its objects of these ``labels`` (None: all).

    Each box is widened by the share ``margin`` on every side; at most ``most`` of a frame are looked at. One that has
    an id of its own is looked at again after ``again`` seconds, or when its area has grown by the share ``grown``.
    ``followed``: what is cut out has an id, by itself or as part of something that has.
    """

    pipeline: Name
    labels: tuple[Label, ...] | None = None
    margin: float = 0.1
    most: int = 5
    again: float = 5.0
    grown: float = 0.5
    followed: bool = False


class TrackPlan(Record, frozen=True):
    """Following objects: ``lost`` seconds unseen end one, ``confirm`` seconds seen make one."""

    lost: float = 1.0
    confirm: float = 0.2


class ZonePlan(Record, frozen=True):
    """An area to watch, for objects of these ``labels`` (None: all); ``loiter`` seconds in it are told."""

    name: ShortText
    polygon: Polygon
    labels: tuple[Label, ...] | None = None
    anchor: Anchor = "bottom"
    loiter: float | None = None


class LinePlan(Record, frozen=True):
    """A line to cross, from ``start`` to ``end`` in fractions of the frame."""

    name: ShortText
    start: tuple[float, float]
    end: tuple[float, float]
    labels: tuple[Label, ...] | None = None
    anchor: Anchor = "bottom"


class EventsPlan(Record, frozen=True):
    """When something is told: it lasts ``min_duration`` seconds, its like was told ``min_interval`` seconds ago.

    What is open ends ``hysteresis`` below the threshold; ``most`` is how many events a minute may have.
    """

    min_duration: float = 0.5
    min_interval: float = 0.0
    hysteresis: float = 0.1
    most: float = 60.0


class MotionPlan(Record, frozen=True):
    """Looking only where something moves: in at least ``area`` (a share of the picture) by at least ``threshold``.

    The threshold is a share of full brightness; ``still_check`` seconds after the last look there is one anyway.
    """

    threshold: float = 0.06
    area: float = 0.001
    still_check: float = 10.0


class ShadowPlan(Record, frozen=True):
    """A second model that sees a ``share`` (0..1) of a pipeline's frames and is only compared with the first."""

    model: ModelPlan
    threshold: float
    share: float = 0.2


class DelegatePlan(Record, frozen=True):
    """A library that runs a model's graph in the place of the processor: an absolute path, or a name to search for.

    At least the share ``min_delegated`` of the graph's operators has to run there. With ``on_failure`` ``cpu`` the
    processor does it all once the library has failed, and from the beginning where it is ``unusable``, for this reason.
    """

    library: FilePath
    options: tuple[tuple[ShortText, ShortText], ...] = ()
    min_delegated: float = 0.9
    on_failure: OnFailure = "refuse"
    unusable: Sentence = ""


class PipelinePlan(Record, frozen=True):
    """One source, one model, and what to do with the outcome. Durations in seconds.

    With ``crops`` its source is what another pipeline has found. ``affinity`` are the CPUs that its threads run on,
    none: all.
    """

    name: ShortText
    source: ShortText
    model: ModelPlan
    threshold: float
    fps: float | None = None
    labels: tuple[Label, ...] | None = None
    top_k: int = 5
    max_payload: int = 1024
    threads: int = 1
    mask: tuple[Polygon, ...] = ()
    publish: Publish = "change"
    interval: float = 0.0
    heartbeat: float = 60.0
    track: TrackPlan | None = None
    zones: tuple[ZonePlan, ...] = ()
    lines: tuple[LinePlan, ...] = ()
    events: EventsPlan | None = None
    shadow: ShadowPlan | None = None
    ahead: Ahead = "auto"
    priority: int = 0
    crops: CropsPlan | None = None
    motion: MotionPlan | None = None
    affinity: tuple[int, ...] = ()
    delegate: DelegatePlan | None = None

    def of_shadow(self) -> PipelinePlan:
        """The same with the shadow's model in the place of its own, on the processor, and no shadow."""
        assert self.shadow is not None
        return replace(self, model=self.shadow.model, threshold=self.shadow.threshold, shadow=None, delegate=None)

    @property
    def state_key(self) -> str:
        """What a state of it says, null while nothing is known."""
        return (CASCADE_KEYS if self.crops else STATE_KEYS)[self.model.task]

    @property
    def floor(self) -> float:
        """The least score that is looked at: what is open holds a little below the threshold.

        A small threshold is halved at most, so that not everything passes. The distance of an anomaly is looked at
        whatever it is.
        """
        if self.events is None or self.model.task == "anomaly":
            return self.threshold
        return max(self.threshold / 2, self.threshold - self.events.hysteresis)


class GovernorPlan(Record, frozen=True):
    """When frame rates are lowered: degrees Celsius, a share of all cores (None: whatever the load is).

    ``shed`` are the pipelines that give way, the first first.
    """

    max_temperature: float = 80.0
    max_load: float | None = None
    shed: tuple[Name, ...] = ()


class Plan(PartlyCompared, frozen=True, eq=False):
    """A whole configuration. ``digest`` is the SHA-256 of the file's bytes.

    ``names`` are models that the configuration has in use and that something else may serve for. ``made_by`` is the
    version of the program that made it. With ``merged`` the publisher lives in the supervisor's process.
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"made_by"})
    digest: ShortText
    device: ShortText
    state_dir: FilePath
    mqtt: MqttPlan
    sources: tuple[SourcePlan, ...]
    pipelines: tuple[PipelinePlan, ...]
    names: tuple[ShortText, ...] = ()
    discovery: Literal["off", "homeassistant"] = "off"
    outbox: OutboxPlan = field(default_factory=OutboxPlan)
    merged: bool = False
    governor: GovernorPlan | None = None
    made_by: ShortText = ""

    def spoken_of(self) -> tuple[str, ...]:
        """The names of all models that there is something to say about."""
        return tuple(dict.fromkeys([*(model.name for model in self.models()), *self.names]))

    def masks(self, source: str) -> tuple[Polygon, ...]:
        """What any pipeline of a source shall not see, its cascades included: nobody is shown it."""
        root = self.root(source)
        return tuple(polygon for each in self.pipelines if self.root(each.source) == root for polygon in each.mask)

    def parents(self, pipeline: PipelinePlan) -> Iterator[PipelinePlan]:
        """The pipeline whose objects a cascade looks at; nothing for a pipeline of another source."""
        return (each for each in self.pipelines if pipeline.crops and each.name == pipeline.crops.pipeline)

    def below(self, pipeline: PipelinePlan) -> tuple[PipelinePlan, ...]:
        """A pipeline and its cascades, each after its parent."""
        children = (each for each in self.pipelines if each.crops and each.crops.pipeline == pipeline.name)
        return (pipeline, *(each for child in children for each in self.below(child)))

    def way(self, root: PipelinePlan, name: str) -> tuple[PipelinePlan, ...] | None:
        """From a pipeline down to the cascade of this name; None where that is not below it."""
        found = next((each for each in self.below(root) if each.name == name), None)
        way: tuple[PipelinePlan, ...] = () if found is None else (found,)
        while way and way[0] is not root:
            way = (*self.parents(way[0]), *way)
        return way or None

    def root(self, source: str) -> str:
        """The source whose frames these are: of crops, that of the pipeline that they are cut out for."""
        by_name = {pipeline.name: pipeline for pipeline in self.pipelines}
        parents = {each.name: by_name.get(each.parent) for each in self.sources if each.parent}
        while (parent := parents.get(source)) is not None:
            source = parent.source
        return source

    def models(self) -> tuple[ModelPlan, ...]:
        """The models in use, each once, by name."""
        return tuple({pipeline.model.name: pipeline.model for pipeline in self.pipelines}.values())

    def shadows(self) -> tuple[ModelPlan, ...]:
        """The models that are compared with those."""
        return tuple(pipeline.shadow.model for pipeline in self.pipelines if pipeline.shadow is not None)


class Problem(Record, frozen=True):
    """One thing wrong with a configuration: where, what, and what would be right.

    ``outside``: the file itself is right, but something that it names (a model, a credentials file) cannot be used.
    """

    file: FilePath
    line: int
    path: Annotated[str, at_most(2048)]
    text: Annotated[str, at_most(4096)]
    outside: bool = False

    def __str__(self) -> str:
        """``FILE:LINE: path.to.key: what is wrong and what would be right``."""
        return f"{self.file}:{self.line}: {self.path + ': ' if self.path else ''}{self.text}"


class Unfit(Record, frozen=True):
    """A model that a configuration names and that cannot be used: its bytes, if they could be read, and why.

    ``tried``: it ran, and was found wanting; otherwise something about it is to be put right first.
    """

    name: Name
    sha256: ShortText | None
    entry: ShortText
    title: Annotated[str, at_most(160)]
    reason: Sentence
    tried: bool = False


class Compiled(Record, frozen=True):
    """What became of a configuration file: the plan, or everything that is wrong with it.

    ``digest`` is the SHA-256 of the file's bytes, of nothing where there is no file. ``warnings`` are what the
    operator should know and what stops nothing. ``machine``: what was wrong is that of this machine (no room, a
    read-only disk) and may pass by itself. ``seen`` is how the file looked (`look`) before and after it was read, empty
    where it changed. ``elsewhere`` is the state directory that the file names, where it is another one than the process
    that read it may write to: it has gone no further then.
    """

    digest: ShortText
    plan: Plan | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    unfit: tuple[Unfit, ...] = ()
    machine: bool = False
    seen: tuple[int, ...] = ()
    elsewhere: Annotated[str, at_most(4096)] = ""
