"""The plan, which every process receives: small frozen records that are validated and contain absolute paths.

This module imports neither pydantic nor YAML. A plan is sent to the processes as JSON and compared by value, so that a
reload restarts only the changed parts. A plan never contains secrets, only the paths of their files.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal
from urllib.parse import quote_plus

from edge_infer.contract.codec import (
    JsonValue,
    OneOf,
    PartlyCompared,
    Record,
    ShortText,
    at_least,
    at_most,
    field,
    matching,
    replace,
)
from edge_infer.contract.messages import (
    CASCADE_KEYS,
    MAX_MESSAGE_BYTES,
    MAX_PREFIX_CHARACTERS,
    MIN_PAYLOAD_BYTES,
    NAME_PATTERN,
    PREFIX_PATTERN,
    RESERVED_NAMES,
    STATE_KEYS,
    Label,
    Name,
    Sentence,
    Task,
)
from edge_infer.contract.precision import Detail
from edge_infer.plan.keys import key

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "letterbox", "crop"]
Scaling = Literal["exact", "fast"]
Rotation = Literal[0, 90, 180, 270]
Flip = Literal["horizontal", "vertical"]
Gives = Literal["image", "samples", "text"]
"""The kind of input that a source gives and a model takes."""
FeatureKind = Literal["waveform", "mfcc", "log_mel", "micro", "spectrum", "raw"]
Gravity = Literal["remove", "rotate"]
Mel = Literal["htk", "slaney"]
Logarithm = Literal["none", "ln", "db"]
Ahead = Literal["auto", "always", "never"]
"""Whether the next frame is prepared while the model runs; ``auto``: yes, unless the model is too fast for it."""
OnFailure = Literal["refuse", "cpu"]
"""Action when a delegate fails: refuse the model, or run it on the processor."""
Publish = Literal["change", "every", "off", "interval"]
Anchor = Literal["bottom", "center"]
"""The point of a box that must lie in a zone or on a side of a line: the middle of its lower edge, or of the whole
box."""
FilePath = Annotated[str, at_most(8192)]
_NAME: Final = re.compile(NAME_PATTERN)
MAX_RATE: Final = 256 << 10
LEAST_PATIENCE: Final = 1.0
"""Seconds that a frame may always take if the manifest gives no budget."""
Polygon = tuple[tuple[float, float], ...]
"""Corners as fractions of the frame."""


class TlsPlan(Record, frozen=True):
    """Files of a TLS connection; without ``ca_file`` the system's authorities are trusted."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None


class MqttPlan(Record, frozen=True):
    """The connection to the broker. ``topic`` is ``<prefix>/<device>``, and every message is published below it.

    ``max_rate`` is in bytes per second.
    """

    host: ShortText
    port: int
    tls: TlsPlan | None
    username: ShortText | None
    password_file: FilePath | None
    topic: Annotated[str, matching(f"{PREFIX_PATTERN}/{NAME_PATTERN}", MAX_PREFIX_CHARACTERS + 65)]
    qos: Literal[0, 1]
    client_id: ShortText
    max_rate: int = MAX_RATE


class OutboxPlan(Record, frozen=True):
    """Limits of the queue for the broker, in bytes and seconds."""

    max_size: Annotated[int, key("size", 1 << 20, 1 << 40, examples=("64M",))] = 256 << 20
    """Bytes that may wait on the disk; the oldest messages are dropped first, and counted."""
    max_age: Annotated[float, key("duration", "1s", "3650d", examples=("24h",))] = 7 * 86400.0
    """How long a message may wait; counted while the board is on."""


class InputPlan(Record, frozen=True):
    """How a frame becomes the model's input tensor.

    ``real = (value_of_0..255 - mean) / std`` for each colour channel, and the tensor's own quantization applies to
    ``real``. If both are ``None``, only the quantization of the tensor applies (see ``engine/preprocess/image.py``).

    ``border`` is the brightness (0..255) of the bars beside a letterboxed picture; the family of the model determines
    it. With ``tiles`` (columns, rows) the model runs on the parts of the frame one after the other; ``overlap`` is the
    share of a tile that its neighbour also covers. ``scaling`` is the filter that makes a frame smaller: ``exact`` is
    the filter of the reference results, ``fast`` is a close approximation at a tenth of the cost (see
    `preprocess/scale.py`).
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
    """Filters that run on a signal before any other step, frequencies in Hz (see `preprocess/row_filters.py`)."""

    highpass: float | None = None
    lowpass: float | None = None
    gravity: Gravity | None = None


class SignalPlan(PartlyCompared, frozen=True, eq=False):
    """How a signal becomes the input tensor; durations in seconds, frequencies in Hz (see `preprocess/signal.py`).

    ``scale`` multiplies the samples; ``peak`` divides the samples of each window by their largest absolute value.
    ``mean`` and ``std`` normalize the features; they have one number, or one for each value of a frame. Without a
    ``rate`` samples are not resampled. Without a ``stride`` a window begins half a window after the previous one or,
    with ``whole``, at the end of the previous one.

    With ``columns``, counted from 0, the model takes only these values of a sample, and a source must give at least
    ``width`` values. Otherwise it must give ``values`` values (0: unknown, or any number, which are averaged to one).
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"values"})
    takes: ClassVar[Gives] = "samples"

    features: FeatureKind
    rate: float | None = None
    window: float | None = None
    hop: float | None = None
    stride: float | None = None
    whole: bool = False
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

    ``vocabulary`` is the path of a file of words, or of a model file that contains one as ``vocabulary_file``; its
    bytes have the digest ``vocabulary_sha256``. ``pattern`` matches the text between two words, for ``regex`` only.
    ``mask`` and ``segments`` name further inputs. The mask is 1 for each id of the text. The segments input numbers the
    text to which an id belongs; it is always 0, because there is only one text.
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
        """How a source's data becomes the model's input tensor; one distinguishing key selects the class."""

        by_key = {"vocabulary": TextPlan, "features": SignalPlan, "": InputPlan}  # noqa: RUF012 - it is never changed


class FurtherInput(Record, frozen=True):
    """An input of the model in addition to the one that ``ModelPlan.input`` describes, by the name of its tensor.

    With a ``plan`` it receives the same frame, prepared by that plan. Otherwise it always receives the same ``values``,
    given as real numbers: one number for the whole tensor, or one for each of its elements.
    """

    name: ShortText
    values: tuple[float, ...] = ()
    plan: ModelInput | None = None


class DecoderPlan(Record, frozen=True):
    """A decoder: its name, its ``module:Class``, and its parameters from the manifest."""

    kind: ShortText
    target: ShortText
    options: Mapping[ShortText, JsonValue] = field(default_factory=dict)


class NmsPlan(Record, frozen=True):
    """Settings of non-maximum suppression.

    Boxes of one label that overlap more than ``iou`` count as one object; at most ``max`` objects remain.
    """

    iou: float = 0.5
    max: int = 100


NMS_TASKS: Final[tuple[Task, ...]] = ("detection", "pose")
"""Tasks to which `NmsPlan` applies, because their results can overlap."""


class Overrides(Record, frozen=True):
    """Settings of a model that the keys of a pipeline can override; None: not overridden.

    ``iou`` and ``max`` are fields of `NmsPlan`; ``resize`` to ``overlap`` are fields of `InputPlan`.
    """

    threshold: float | None = None
    iou: float | None = None
    max: int | None = None
    resize: Resize | None = None
    color: Color | None = None
    scaling: Scaling | None = None
    tiles: tuple[int, int] | None = None
    overlap: float | None = None

    @classmethod
    def of(cls, model: ModelPlan) -> Overrides:
        """Return the current settings of a model."""
        plan, found = model.input, cls(model.threshold, model.nms.iou, model.nms.max)
        if not isinstance(plan, InputPlan):
            return found
        return replace(found, **{key: getattr(plan, key) for key in _OF_PICTURES})

    def onto(self, model: ModelPlan) -> ModelPlan:
        """Return the model with these settings, except those that it cannot use.

        The model's input must have the same number of colours, and only a detector can use tiles.
        """
        plan, nms = model.input, model.nms
        if isinstance(plan, InputPlan):
            given = {key: value for key in _OF_PICTURES if (value := getattr(self, key)) is not None}
            if (given.get("color", plan.color) == "gray") != (plan.color == "gray"):
                del given["color"]
            if model.task != "detection":
                given = {key: value for key, value in given.items() if key not in {"tiles", "overlap"}}
            plan = replace(plan, **given)
        return replace(
            model,
            threshold=model.threshold if self.threshold is None else self.threshold,
            input=plan,
            nms=NmsPlan(nms.iou if self.iou is None else self.iou, nms.max if self.max is None else self.max),
        )


_OF_PICTURES: Final = ("resize", "color", "scaling", "tiles", "overlap")


class ValuePlan(Record, frozen=True):
    """One value of a regression: ``scale`` times the model's number; ``step`` is the smallest change that counts.

    The value is implausible outside ``min`` and ``max``, or if it changes by more than ``max_rate`` per second.
    """

    name: ShortText
    unit: ShortText = ""
    scale: float = 1.0
    step: float = 0.0
    min: float | None = None
    max: float | None = None
    max_rate: float | None = None

    def decimals(self) -> int:
        """Return the number of published decimals: that of the step (2 for 0.25, 0 for 5); six without a step."""
        if not self.step:
            return 6
        return next((n for n in range(6) if math.isclose(self.step, round(self.step, n), rel_tol=1e-6)), 6)

    def rounded(self, value: float) -> float:
        """Return a value as it is published: with these decimals, and without a minus sign for zero."""
        return round(value, self.decimals()) + 0.0


class Measured(Record, frozen=True):
    """Measurements of a trial on this board: seconds per frame, bytes of memory, seconds to load.

    ``budget`` is the number in the manifest, in seconds per frame; ``runtime`` names the interpreter. ``run`` is the
    fastest run of the model alone, which hardly depends on other load of the board.
    """

    latency: float | None = None
    memory: int | None = None
    budget: float | None = None
    load: float | None = None
    runtime: Annotated[str, at_most(64)] = ""
    run: float | None = None


@lru_cache(64)  # the supervisor compares models several times a second
def _identity(sha256: str, manifest: str, labels: tuple[str, ...]) -> str:
    """Return a digest, which includes the labels: a labels file may have no digest in manifest or configuration."""
    text = "\n".join(labels)
    return hashlib.sha256(f"{sha256} {manifest}\n{text}".encode()).hexdigest()


class ModelPlan(PartlyCompared, frozen=True, eq=False):
    """One resolved model: its bytes (a copy under its digest), and how its input is prepared and its output decoded.

    - ``state``: outputs, and the inputs that they become in the next run.
    - ``further``: the content of further inputs, in addition to the one that ``input`` describes.
    - ``outputs``: the outputs that the decoder reads, in its order (none: all).
    - ``shapes``: shapes of inputs without a fixed size in the file.
    - ``manifest``: digest of the manifest's content; without a manifest the digest of no bytes (empty: recorded by a
      program version without this field).
    - ``entry``: digest of the model's configuration entry.
    - ``origin``: where its bytes come from, as text for people.
    - ``question``: digest of everything on which the result of the trial depends.
    - ``measured``: measurements, which differ from one trial to the next.
    - ``signed``: the trusted key (in hexadecimal) of the checked signature; empty if none was required.

    A difference in the last five does not make it another model.
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"entry", "origin", "question", "measured", "signed"})
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
    signed: ShortText = ""

    @property
    def identity(self) -> str:
        """Return a digest of bytes, manifest and labels.

        A model with another digest is another model, which goes on probation.
        """
        return _identity(self.sha256, self.manifest, self.labels) if self.manifest else self.sha256

    def patience(self) -> float:
        """Return the seconds that a frame may take: the budget, otherwise ten times the measured time (at least 1)."""
        if self.measured.budget is not None:
            return self.measured.budget * self._looks()
        return max(LEAST_PATIENCE, self.longest_frame())

    def longest_frame(self) -> float:
        """Return ten times the measured seconds of a frame. Before this time no process counts as hung.

        Return 0 if nothing was measured.
        """
        return 10.0 * self._looks() * (self.measured.latency or 0.0)

    def _looks(self) -> int:
        return math.prod(self.input.tiles) if isinstance(self.input, InputPlan) else 1


class SourcePlan(Record, frozen=True):
    """One source. ``target`` is the class that opens it and interprets ``options``, the keys of its kind.

    - ``live`` sources have a reader process; only ``network`` ones may open inet sockets in it.
    - ``noisy``: two equal readings in a row show that the source is stuck.
    - ``stdin``: its reader inherits the daemon's standard input.
    - ``stills``: single pictures, not a stream.
    - ``pause``: seconds that may pass between two readings without a fault.
    - ``holds_writer``: nothing is dropped, because the program that writes the data waits.
    - ``parent``: for a source without a ``target``, from which nothing is read: the pipeline that provides the frames.
    - ``spelled``: texts of the options that contain values of environment variables, with their spelling for messages.
    """

    name: Name
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
    spelled: Mapping[Annotated[str, at_most(8192)], Annotated[str, at_most(8192)]] = field(default_factory=dict)

    def shown(self, text: str) -> str:
        """Return a message about the source without values of environment variables."""
        return as_spelled(text, self.spelled)

    def without_values(self) -> SourcePlan:
        """Return the plan for a process that does not open the source: without values of environment variables."""
        if not (self.live and self.spelled):
            return self
        return replace(self, options={key: self._spelled(value) for key, value in self.options.items()}, spelled={})

    def _spelled(self, value: JsonValue) -> JsonValue:
        if isinstance(value, (list, tuple)):
            return [self._spelled(part) for part in value]
        if isinstance(value, Mapping):
            return {key: self._spelled(part) for key, part in value.items()}
        return self.shown(value) if isinstance(value, str) else value


_LONG: Final = 8
"""Number of characters from which a value is replaced also within a longer word."""
_MAX_SPELLED: Final = 512
"""Number of characters up to which a value is replaced in other spellings, too: the pattern of each takes 2 KB."""


def as_spelled(text: str, spelled: Mapping[str, str]) -> str:
    """Return the text with another spelling for some words in it; where several fit, the longest is replaced."""
    if not spelled:
        return text
    words, forms = sorted(spelled, key=len, reverse=True), []
    for word in words:
        before, behind = "" if re.match(r"\W", word) else r"(?<!\w)", "" if re.search(r"\W\Z", word) else r"(?!\w)"
        if len(word) >= _LONG and "/" not in word:  # not by chance a part of another word, as a path may be
            before = behind = ""
        form = in_any_spelling(word) if len(word) <= _MAX_SPELLED else re.escape(word)
        forms.append(f"({before}{form}{behind})")
    # Each word has one group, and only that of the word that was found is not None.
    return re.sub("|".join(forms), lambda found: spelled[words[found.groups().index(found[0])]], text)


def in_any_spelling(text: str) -> str:
    """Return a pattern for a text in any form that an address, a page or a log may give it."""
    return "".join(map(_spellings, text))


def _spellings(character: str) -> str:
    data, code = character.encode("utf-8", "surrogatepass"), ord(character)  # also in a path that is no text
    percent = "".join(f"%{byte:02x}" for byte in data)
    page = escape(character), f"&#0*{code};", f"&#x0*{code:x};", f"&#x0*{code:X};"
    log = character.encode("unicode_escape").decode(), "".join(f"\\x{byte:02x}" for byte in data), f"\\u{code:04x}"
    plain = {character, percent, data.decode("latin-1"), quote_plus(character, errors="surrogatepass"), page[0], *log}
    if not character.isalnum():
        plain.add(f"\\{character}")
    if character == "'":
        plain.add("&apos;")  # of XML; `escape` gives the number
    return f"(?:{'|'.join((*map(re.escape, sorted(plain, key=len, reverse=True)), *page[1:]))})"


class CropsPlan(Record, frozen=True):
    """The objects of another pipeline on which the model runs.

    ``followed``: the object in a crop has an id, its own or that of an object around it.
    """

    pipeline: Annotated[Name, key(examples=("door-people",))]
    """The pipeline, with detection, that finds the objects to cut out."""
    labels: Annotated[tuple[Label, ...] | None, key(examples=(["person"],))] = None
    """Only objects with these labels of its model; without it all."""
    margin: Annotated[float, key("number", 0, 2)] = 0.1
    """Share of its width and height by which a box is widened on each side, within the frame."""
    most: Annotated[int, key("integer", 1, 32)] = 5
    """The most crops of a frame: those of the best score."""
    again: Annotated[float, key("duration", "0s", "1d")] = 5.0
    """With `track` in that pipeline: time after which an object is cropped again; `0s` is in every frame."""
    grown: Annotated[float, key("number", 0.01, 100)] = 0.5
    """With `track`: an object is cropped before that time when the area of its box has grown by this share."""
    followed: bool = False


class TrackPlan(Record, frozen=True):
    """Tracking of objects, in seconds."""

    lost: Annotated[float, key("duration", "100ms", "1h")] = 1.0
    """An object that is not detected for this time has left; the time is ten times as long for one that has stood still
    for 5 s."""
    confirm: Annotated[float, key("duration", "0s", "1m")] = 0.2
    """A detection that lasts this long, and occurs in at least three frames, counts as an object and gets an id. With
    `0s` results carry an id from the first frame on; it may turn out to be of no object, and only states and events
    wait for the three frames."""


class ZonePlan(Record, frozen=True):
    """An area to watch; ``loiter`` is in seconds."""

    name: Name
    polygon: Annotated[Polygon, key(examples=([[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1]],))]
    """Corners `[x, y]` in fractions of the frame, in order around the area; the border may not cross itself."""
    labels: Annotated[tuple[Label, ...] | None, key(examples=(["person"],))] = None
    """Only objects with these labels; without it all."""
    anchor: Annotated[Anchor, key()] = "bottom"
    """The point of an object's box that has to be inside: the middle of its lower edge, or of the whole box."""
    loiter: Annotated[float | None, key("duration", "1s", "1d", examples=("30s",))] = None
    """An object that stays this long raises an event `loiter`, once."""


class LinePlan(Record, frozen=True):
    """A line to cross, from ``start`` to ``end`` in fractions of the frame."""

    name: Name
    start: tuple[float, float]
    end: tuple[float, float]
    labels: tuple[Label, ...] | None = None
    anchor: Anchor = "bottom"


class EventsPlan(Record, frozen=True):
    """Limits of events; durations in seconds. ``most`` is the maximum number per minute."""

    min_duration: Annotated[float, key("duration", "0s", "1h")] = 0.5
    """Least duration of an event; anything shorter is no event."""
    min_interval: Annotated[float, key("duration", "0s", "1d")] = 0.0
    """Least time between the starts of two events with the same type, label and zone."""
    hysteresis: Annotated[float, key("number", 0, 0.5)] = 0.1
    """An open event stays open while its score is not more than this below the threshold; for anomalies, this is a
    share of the threshold."""
    most: Annotated[float, key()] = 60.0
    """The most events a minute; further events are dropped, those of objects first, and counted."""


class MotionPlan(Record, frozen=True):
    """Motion detection: the parts of a picture on which the model runs; ``still_check`` is in seconds."""

    threshold: Annotated[float, key("number", 0.01, 0.9)] = 0.06
    """A spot has changed when it is this much brighter or darker than usual, as a share of full brightness."""
    area: Annotated[float, key("number", 0.0001, 0.5)] = 0.001
    """Share of the picture (with tiles: of a tile) that has to change."""
    still_check: Annotated[float, key("duration", "500ms", "1h")] = 10.0
    """Time after the last run of the model until it runs again, even if nothing moves."""


class DriftPlan(Record, frozen=True):
    """Drift detection; durations in seconds."""

    false_alarm: Annotated[float, key("duration", "1d", "100y")] = 365 * 86400.0
    """The expected time between two false alarms of a pipeline, over all of its signals. A longer time needs more
    evidence."""
    learn: Annotated[float, key("duration", "1d", "30d")] = 7 * 86400.0
    """How long the answers of the model are learned. A week includes a weekend. The camera is learned in 2 days."""


class ShadowPlan(Record, frozen=True):
    """A second model that processes a share of a pipeline's frames and is only compared with the first."""

    model: ModelPlan
    threshold: float
    share: Annotated[float, key("number", 0.001, 1)] = 0.2
    """The share of the frames that it runs on, and of the time that it may take."""


class DelegatePlan(Record, frozen=True):
    """A library that runs a model's graph in place of the processor: an absolute path, or a name to search for.

    If ``unusable`` contains a reason, the processor runs the whole graph from the start.
    """

    library: Annotated[FilePath, key(examples=("libedgetpu.so.1",))]
    """A file, or a name that the system looks up in its library folders."""
    options: Annotated[tuple[tuple[ShortText, ShortText], ...], key(examples=({"device": "usb"},))] = ()
    """Options for the library: names and values from its documentation."""
    min_delegated: Annotated[float, key("number", 0, 1)] = 0.9
    """The least share of the model's operators that has to run there; less counts as a failure (`on_failure`)."""
    on_failure: Annotated[OnFailure, key()] = "refuse"
    """Action when the library fails or takes too few operators: `refuse` the model, or `cpu`: run it on the processor
    and report that."""
    unusable: Sentence = ""


MINUTES_A_DAY: Final = 24 * 60


class HoursPlan(Record, frozen=True):
    """Hours in which a pipeline is active: days (Monday is 0), and minutes since midnight in local time.

    If ``end`` is before ``start``, the hours end on the next day.
    """

    days: tuple[int, ...]
    start: int = 0
    end: int = MINUTES_A_DAY


class PipelinePlan(Record, frozen=True):
    """One source, one model, and how results are processed. Durations are in seconds.

    With ``crops`` the source is the objects of another pipeline. ``said`` holds the model settings that the pipeline's
    own keys override. ``own`` holds the model's values of all these settings, so that another model can replace this
    one. Plans of earlier versions have neither field.
    """

    name: Name
    source: Name
    model: ModelPlan
    threshold: float
    fps: float | None = None
    labels: tuple[Label, ...] | None = None
    top_k: Annotated[int, key("integer", 1, 100)] = 5
    """With classification: the most labels in a result."""
    max_payload: Annotated[int, key("size", MIN_PAYLOAD_BYTES, 16384)] = MAX_MESSAGE_BYTES
    """The most bytes of one result; the lowest scores are cut first, and counted in `more`."""
    threads: int = 1
    mask: tuple[Polygon, ...] = ()
    publish: Publish = "change"
    interval: float = 0.0
    heartbeat: Annotated[float, key("duration", "1s", "1d")] = 60.0
    """With `publish: change`: publish the state again, and a result, at least this often."""
    track: TrackPlan | None = None
    zones: tuple[ZonePlan, ...] = ()
    lines: tuple[LinePlan, ...] = ()
    events: EventsPlan | None = None
    shadow: ShadowPlan | None = None
    ahead: Annotated[Ahead, key()] = "auto"
    """Whether to prepare the next frame while the model runs: `always`, `never`, or `auto`: with pictures, unless a run
    of the model takes less than 0.3 ms."""
    priority: Annotated[int, key("integer", -100, 100)] = 0
    """Order when pipelines need more than the cores can give: the higher number goes first."""
    crops: CropsPlan | None = None
    motion: MotionPlan | None = None
    affinity: Annotated[tuple[int, ...], key(examples=([2, 3],))] = ()
    """Numbers of the CPUs that its threads run on, those of the interpreter included; without it all."""
    delegate: DelegatePlan | None = None
    active: Annotated[tuple[HoursPlan, ...], key(examples=({"days": "mon-fri", "from": "22:00", "to": "06:00"},))] = ()
    """Hours in which it is active, `{days: mon-fri, from: 22:00, to: 06:00}` or a list of such, in the time zone of the
    box; without it always."""
    said: Overrides = Overrides()
    own: Overrides = Overrides()
    detail: Annotated[Detail, key()] = "full"
    """How fine the published numbers are: `full`: places to 1/4096 of the frame, scores to 3 decimals; `coarse`: places
    to 1/64, scores to 1 decimal."""
    drift: DriftPlan | None = None

    def of_shadow(self) -> PipelinePlan:
        """Return the same pipeline with the model of its shadow, on the processor and without a shadow."""
        assert self.shadow is not None
        return replace(self, model=self.shadow.model, threshold=self.shadow.threshold, shadow=None, delegate=None)

    @property
    def state_key(self) -> str:
        """Return the key for the content of the pipeline's state; its value is null while the state is unknown."""
        return (CASCADE_KEYS if self.crops else STATE_KEYS)[self.model.task]

    @property
    def floor(self) -> float:
        """Return the lowest score that is processed. A score slightly below the threshold keeps an open event open.

        A small threshold is at most halved, so that not everything passes. Distances of anomalies are always processed.
        """
        if self.events is None or self.model.task == "anomaly":
            return self.threshold
        return max(self.threshold / 2, self.threshold - self.events.hysteresis)


class GovernorPlan(Record, frozen=True):
    """When to lower frame rates; ``shed`` lists the pipelines that are slowed down, in this order."""

    max_temperature: Annotated[float, key("number", 30, 120)] = 80.0
    """Degrees Celsius that the hottest part of the board should stay below. The governor lowers rates from 5 degrees
    below it on, and raises them once the board is 10 degrees below it."""
    max_load: Annotated[float | None, key("number", 0.1, 1, examples=(0.9,))] = None
    """The share of all cores that may be busy, with all processes of the board, over 10 s; without it the governor
    ignores the load."""
    shed: tuple[Name, ...] = ()


class MetricsPlan(Record, frozen=True):
    """The file into which the metrics are written, and the interval in seconds."""

    file: Annotated[FilePath, key()] = "/run/edge-infer/metrics.prom"
    """The file; its folder must exist. The collector reads files that end with `.prom` only."""
    every: Annotated[float, key("duration", "1s", "5m")] = 15.0
    """How often it is written. The shipped alert rules need `30s` or less."""


class Plan(PartlyCompared, frozen=True, eq=False):
    """A whole configuration. ``digest`` is the SHA-256 of the file's bytes.

    ``names`` are the names of the models that the configuration uses; a fallback may run in place of one. ``made_by``
    is the version of the program that made the plan. With ``merged`` the publisher runs in the supervisor's process.
    ``signers`` are keys in hexadecimal; every model must be signed by one of them. None: no signature is required.
    ``private`` are the files of the configuration and its secrets, with the originals of credentials.
    """

    not_compared: ClassVar[frozenset[str]] = frozenset({"made_by"})
    digest: ShortText
    device: Name
    state_dir: FilePath
    mqtt: MqttPlan
    sources: tuple[SourcePlan, ...]
    pipelines: tuple[PipelinePlan, ...]
    names: tuple[Name, ...] = ()
    discovery: Literal["off", "homeassistant"] = "off"
    outbox: OutboxPlan = field(default_factory=OutboxPlan)
    merged: bool = False
    governor: GovernorPlan | None = None
    made_by: ShortText = ""
    metrics: MetricsPlan | None = None
    signers: tuple[ShortText, ...] | None = None
    private: tuple[FilePath, ...] = ()

    def spoken_of(self) -> tuple[str, ...]:
        """Return the names of all models with a published status."""
        return tuple(dict.fromkeys([*(model.name for model in self.models()), *self.names]))

    def masks(self, source: str) -> tuple[Polygon, ...]:
        """Return the masks of all pipelines of a source, including its cascades. Snapshots hide all of these areas."""
        root = self.root(source)
        return tuple(polygon for each in self.pipelines if self.root(each.source) == root for polygon in each.mask)

    def parents(self, pipeline: PipelinePlan) -> Iterator[PipelinePlan]:
        """Yield the pipeline that provides a cascade's objects; yield nothing for a pipeline with another source."""
        return (each for each in self.pipelines if pipeline.crops and each.name == pipeline.crops.pipeline)

    def below(self, pipeline: PipelinePlan) -> tuple[PipelinePlan, ...]:
        """Return a pipeline and its cascades, each after its parent."""
        children = (each for each in self.pipelines if each.crops and each.crops.pipeline == pipeline.name)
        return (pipeline, *(each for child in children for each in self.below(child)))

    def way(self, root: PipelinePlan, name: str) -> tuple[PipelinePlan, ...] | None:
        """Return the pipelines from ``root`` down to the cascade of this name; None if the cascade is not below it."""
        found = next((each for each in self.below(root) if each.name == name), None)
        way: tuple[PipelinePlan, ...] = () if found is None else (found,)
        while way and way[0] is not root:
            way = (*self.parents(way[0]), *way)
        return way or None

    def root(self, source: str) -> str:
        """Return the source that provides the frames.

        For crops it is the source of the frames from which they are cut.
        """
        by_name = {pipeline.name: pipeline for pipeline in self.pipelines}
        parents = {each.name: by_name.get(each.parent) for each in self.sources if each.parent}
        while (parent := parents.get(source)) is not None:
            source = parent.source
        return source

    def without_values(self) -> Plan:
        """Return the plan for processes that open no source that has a reader process."""
        return replace(self, sources=tuple(source.without_values() for source in self.sources))

    def __post_init__(self) -> None:
        """Raise ValueError for names that no configuration gives, and for cascades in a circle.

        In a circle `root` and `below` would not end.
        """
        names = [model.name for model in (*self.models(), *self.shadows())]  # a command names a model after its file
        if wrong := [name for name in names if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r:.80} is not a valid name of a model")
        if RESERVED_NAMES.intersection(each.name for each in self.pipelines):
            raise ValueError("a pipeline has the name of a topic of the device")
        sources = {pipeline.name: pipeline.source for pipeline in self.pipelines}
        above = {each.name: sources.get(each.parent) for each in self.sources if each.parent}
        above |= {
            f"{each.name}#": f"{each.crops.pipeline}#" for each in self.pipelines if each.crops
        }  # not a name of a source
        for name in above:
            seen: set[str] = set()
            place: str | None = name
            while place is not None and place not in seen:
                seen.add(place)
                place = above.get(place)
            if place is not None:
                raise ValueError("its cascades form a circle")

    def models(self) -> tuple[ModelPlan, ...]:
        """Return the models in use, each once, sorted by name."""
        return tuple({pipeline.model.name: pipeline.model for pipeline in self.pipelines}.values())

    def shadows(self) -> tuple[ModelPlan, ...]:
        """Return the models that are used as shadows."""
        return tuple(pipeline.shadow.model for pipeline in self.pipelines if pipeline.shadow is not None)


class Problem(Record, frozen=True):
    """One problem of a configuration: the position, the fault, and the remedy.

    ``line``: 0 if the problem is at no place of the file.
    ``outside``: the file itself is valid, but something that it names (a model, a credentials file) cannot be used.
    ``foreign``: the text was written by a process that tried a model, so it must not leave the device.
    """

    file: FilePath
    line: int
    path: Annotated[str, at_most(2048)]
    text: Annotated[str, at_most(4096)]
    outside: bool = False
    foreign: bool = False

    def __str__(self) -> str:
        """Return ``FILE:LINE: path.to.key: what is wrong and what would be right``."""
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.path + ': ' if self.path else ''}{self.text}"


class Unfit(Record, frozen=True):
    """A model of the configuration that cannot be used: its digest, if the file could be read, and the reason.

    ``tried``: the model ran and failed. Otherwise the user must first correct something in the model or its
    configuration.
    """

    name: Name
    sha256: ShortText | None
    entry: ShortText
    title: Annotated[str, at_most(160)]
    reason: Sentence
    tried: bool = False


class Compiled(Record, frozen=True):
    """The outcome of reading a configuration file: the plan, or all problems.

    - ``digest``: SHA-256 of the file's bytes; empty if the file could not be read.
    - ``warnings``: facts that the operator should know; they do not prevent the plan.
    - ``machine``: the cause is this machine (no space, a read-only disk), so the fault may disappear by itself.
    - ``seen``: metadata of the file (`look`) before and after it was read, empty if they differ.
    - ``lacking``: paths of named files that could not be used; with other permissions the same text may be valid.
    - ``elsewhere``: the state directory that the file names, if the reading process may write only to another one;
      compilation stopped there.
    - ``signers``: the keys in ``security.keys`` (hexadecimal), also if there is no plan. None: no signature is
      required, or this reading could not read all keys.
    """

    digest: ShortText
    plan: Plan | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    unfit: tuple[Unfit, ...] = ()
    machine: bool = False
    seen: tuple[int, ...] = ()
    elsewhere: Annotated[str, at_most(4096)] = ""
    lacking: Annotated[tuple[FilePath, ...], at_most(256)] = ()
    signers: tuple[ShortText, ...] | None = None

    @property
    def unread(self) -> bool:
        """Whether the machine prevented the reading, so that nothing is known about the text of the file."""
        return self.machine and self.plan is None and not any(problem.line for problem in self.problems)
