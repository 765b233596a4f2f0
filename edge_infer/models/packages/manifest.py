"""The manifest of a model package: the maker's description of the file, which `resolve` checks against the file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from edge_infer.contract.codec import JsonValue
from edge_infer.contract.messages import NAME_PATTERN, Task
from edge_infer.plan.records import Color, FeatureKind, FilterPlan, Logarithm, Mel, Resize
from edge_infer.yamlfile.error_text import wrong
from edge_infer.yamlfile.fields import (
    Kind,
    Label,
    choice,
    duration,
    flag,
    integer,
    limit,
    number,
    pixels,
    size,
    text,
    written_as_is,
)
from edge_infer.yamlfile.section import Section

LONGEST_CONSTANT: Final = 1 << 16
"""Maximum count of numbers for an input with a constant value."""
VERSION: Final = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
TASKS: Final[tuple[Task, ...]] = get_args(Task)


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """A decoder family by name, and its parameters."""

    kind: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)


def _decoder(value: Any) -> DecoderChoice:
    if isinstance(value, str) and value:
        return DecoderChoice(value)
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        options = {key: written_as_is(option) for key, option in value.items() if key != "kind"}
        return DecoderChoice(value["kind"], options)
    raise ValueError(wrong("the name of a decoder, or {kind: NAME, …} with its parameters", value))


def inside_folder(value: Any) -> str:
    """Parse a path inside the package's folder, so that a manifest cannot name other files of the machine."""
    found = value.text if hasattr(value, "text") else value
    if not isinstance(found, str) or not found:
        raise ValueError(wrong("the name of a file beside the manifest", value))
    if found.startswith("/") or ".." in found.split("/") or not found.isprintable():
        raise ValueError(f"expected a file in the manifest's own folder, not {found!r}")
    return found


def _beside(value: Any) -> str:
    """Parse the name of a file in the manifest's own folder."""
    found = inside_folder(value)
    if "/" in found:
        raise ValueError(f"expected a file in the same folder as the manifest, not {found!r}")
    return found


def _labels(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, dict):
        raise ValueError(wrong("a list of labels, or the name of a file beside the manifest", value))  # noqa: TRY004
    if not isinstance(value, list):
        return inside_folder(value)
    if not value:
        raise ValueError(
            "expected a list of labels such as [person, dog]; this one is empty, so add labels or remove it"
        )
    return tuple(_label(item) for item in value)


def _label(value: Any) -> str:
    parse = next(kind.parse for kind in Label.__metadata__ if isinstance(kind, Kind))  # type: ignore[attr-defined]
    return str(parse(value))


def _channels(value: Any) -> tuple[float, ...]:
    """Parse one number for all colour channels or features of a frame, or one for each."""
    items = value if isinstance(value, list) else [value]
    if not 1 <= len(items) <= 4096:
        raise ValueError("expected a number, or a list with one number for each colour channel")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (int, float)) or not math.isfinite(item):
            raise ValueError(wrong("a number, or a list with one number for each colour channel", value))
    return tuple(float(item) for item in items)


def _divisors(value: Any) -> tuple[float, ...]:
    found = _channels(value)
    if not all(divisor > 0 for divisor in found):
        raise ValueError(wrong("numbers above 0, because values are divided by them", value))
    return found


def _scale(value: Any) -> float | str:
    """Parse a factor, or the word ``peak``."""
    if value == "peak":
        return "peak"
    return float(_FACTOR.parse(value))


_SHA256: Final = text("64 hexadecimal digits, as sha256sum prints them", "[0-9a-fA-F]{64}")
_FACTOR: Final = number(-1e9, 1e9)
_HERTZ: Final = number(1e-6, 1e6)


def _filter(value: Any) -> FilterPlan:
    """Parse ``gravity``, or a mapping with any of ``{highpass: HZ, lowpass: HZ, gravity: remove | rotate}``."""
    if value == "gravity":
        return FilterPlan(gravity="remove")
    expected = "gravity, or {highpass: HZ, lowpass: HZ, gravity: remove or rotate}"
    if not isinstance(value, dict) or not value or set(value) - {"highpass", "lowpass", "gravity"}:
        raise ValueError(wrong(expected, value))
    gravity = value.get("gravity")
    if gravity not in (None, "remove", "rotate"):
        raise ValueError(wrong(expected, value))
    cuts = {key: float(_HERTZ.parse(value[key])) for key in ("highpass", "lowpass") if key in value}
    return FilterPlan(**cuts, gravity=None if gravity is None else "rotate" if gravity == "rotate" else "remove")


def _outputs(value: Any) -> tuple[str, ...]:
    """Parse names of tensors, each once."""
    names = [item.text if hasattr(item, "text") else item for item in value] if isinstance(value, list) else []
    if (
        not names
        or len(set(map(str, names))) != len(names)
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ValueError(wrong("a list of the names of outputs, as inspect shows them", value))
    return tuple(map(str, names))


def _state(value: Any) -> tuple[tuple[str, str], ...]:
    """Parse ``{OUTPUT: INPUT}``, with the names of tensors."""
    expected = "{OUTPUT: INPUT}, with the names of tensors as inspect shows them"
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and name for pair in value.items() for name in pair
    ):
        raise ValueError(wrong(expected, value))
    return tuple((str(output), str(into)) for output, into in value.items())


def _constant(value: Any) -> tuple[float, ...]:
    """Parse one number for a whole tensor, or all of its numbers in lists of any depth."""
    found = list(_flat(value))
    if not 1 <= len(found) <= LONGEST_CONSTANT:
        raise ValueError(f"expected a number, or a list of 1 to {LONGEST_CONSTANT}, not {len(found)}")
    return tuple(found)


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(wrong("a number, or a list with all numbers of the tensor", value))
    yield float(value)


def _columns(value: Any) -> tuple[int, ...]:
    expected = "a list of different whole numbers, counted from 0, such as [0, 1, 2]"
    if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
        raise ValueError(wrong(expected, value))
    if any(isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < 4096 for item in value):
        raise ValueError(wrong(expected, value))
    return tuple(map(int, value))


def _box(value: Any) -> tuple[float, float, float, float]:
    expected = "a box [xmin, ymin, xmax, ymax] in fractions of the picture"
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(wrong(expected, value))
    if any(isinstance(side, bool) or not isinstance(side, (int, float)) or not 0 <= side <= 1 for side in value):
        raise ValueError(wrong(expected, value))
    xmin, ymin, xmax, ymax = (float(side) for side in value)
    if xmin >= xmax or ymin >= ymax:
        raise ValueError(f"expected {expected}, with xmin < xmax and ymin < ymax")
    return xmin, ymin, xmax, ymax


def _between(value: Any) -> tuple[float, float]:
    try:
        low, high = (_FACTOR.parse(end) for end in (value if isinstance(value, list) else ()))
    except ValueError as error:
        raise ValueError(wrong("the lowest and the highest value, such as [0.4, 0.6]", value)) from error
    return float(low), float(high)


_FILE: Final = Kind(inside_folder, {"type": "string"})


class InputSection(Section):
    """How a frame becomes the input tensor. Missing keys come from the file, then from the decoder's defaults."""

    color: Annotated[Color | None, choice("rgb", "bgr", "gray")] = None
    resize: Annotated[Resize | None, choice("stretch", "letterbox", "crop")] = None
    mean: Annotated[tuple[float, ...] | None, Kind(_channels)] = None
    std: Annotated[tuple[float, ...] | None, Kind(_divisors)] = None
    size: Annotated[tuple[int, int] | None, pixels()] = None
    tokenizer: Annotated[Literal["regex", "wordpiece"] | None, choice("regex", "wordpiece")] = None
    vocabulary: Annotated[str | None, _FILE] = None
    length: Annotated[int | None, integer(1, 1 << 24)] = None
    pattern: Annotated[str | None, text("a regular expression that matches the text between two words")] = None
    lowercase: Annotated[bool | None, flag()] = None
    features: Annotated[FeatureKind | None, choice(*get_args(FeatureKind))] = None
    rate: Annotated[float | None, number(1e-3, 1e6)] = None
    window: Annotated[float | None, duration("0.01ms", "1h")] = None
    hop: Annotated[float | None, duration("0.01ms", "1h")] = None
    stride: Annotated[float | None, duration("0.01ms", "1d")] = None
    channels: Annotated[int | None, integer(1, 4096)] = None
    columns: Annotated[tuple[int, ...] | None, Kind(_columns)] = None
    bins: Annotated[int | None, integer(1, 4096)] = None
    coefficients: Annotated[int | None, integer(1, 4096)] = None
    low: Annotated[float | None, number(0, 1e6)] = None
    high: Annotated[float | None, number(0, 1e6)] = None
    mel: Annotated[Mel | None, choice(*get_args(Mel))] = None
    power: Annotated[Literal[1, 2] | None, choice(1, 2)] = None
    log: Annotated[Logarithm | None, choice(*get_args(Logarithm))] = None
    floor: Annotated[float | None, number(1e-30, 1e6)] = None
    scale: Annotated[float | str | None, Kind(_scale)] = None
    filter: Annotated[FilterPlan | None, Kind(_filter)] = None


class FurtherSection(InputSection):
    """Content of a further input: a constant ``value``, or the frame with settings of its own."""

    value: Annotated[tuple[float, ...] | None, Kind(_constant)] = None


def merged(main: InputSection, said: FurtherSection) -> InputSection:
    """Return the settings of the main input, overridden by the settings of a further input."""
    values = {key: getattr(section, key) for section in (main, said) for key in section.model_fields_set}
    return InputSection.model_construct({*values}, **values)


class ValueSection(Section):
    """One number of a regression: its name and its range."""

    name: Label
    unit: Annotated[str, text("a unit such as l or °C", most=32)] = ""
    scale: Annotated[float, number(-1e12, 1e12)] = 1.0
    step: Annotated[float, number(0, 1e12)] = 0.0
    min: Annotated[float | None, number(-1e12, 1e12)] = None
    max: Annotated[float | None, number(-1e12, 1e12)] = None
    max_rate: Annotated[float | None, number(0, 1e12)] = None


class NmsSection(Section):
    """Non-maximum suppression; missing keys take the decoder family's defaults."""

    iou: Annotated[float | None, number(0, 1)] = None
    max: Annotated[int | None, integer(1, 1000)] = None


class Expectation(Section):
    """One finding that the model must give for a golden input.

    ``box`` is for detectors, and must overlap with at least ``iou``. ``score``, or the share of a segment, may differ
    by at most ``within``. For anomalies ``label`` is ``normal`` or ``anomalous``; for regressions it is the name of a
    value. The distance or the value lies ``between`` two numbers.
    """

    label: Label
    box: Annotated[tuple[float, float, float, float] | None, Kind(_box)] = None
    iou: Annotated[float, number(0, 1)] = 0.5
    score: Annotated[float | None, number(0, 1)] = None
    within: Annotated[float, number(0, 1)] = 0.05
    between: Annotated[tuple[float, float] | None, Kind(_between)] = None


class Golden(Section):
    """An input and the findings that the model must give above its threshold; an empty list means none.

    If every expectation has a score, the list is complete: any other finding is an error.
    """

    input: Annotated[str, _FILE]
    expect: list[Expectation]

    @property
    def whole(self) -> bool:
        """Whether any finding that is not listed is an error."""
        return all(each.score is not None for each in self.expect)


class Budget(Section):
    """Maximum cost of the model on this board; the trial measures the actual cost."""

    latency: Annotated[float | None, duration("1ms", "1h")] = None
    memory: Annotated[int | None, size(1 << 20, 1 << 40)] = None


def _digests(value: Any) -> Mapping[str, str]:
    """Parse the digest of each file, keyed by its name in the manifest."""
    if not isinstance(value, dict):
        raise ValueError(wrong("files with their SHA-256, such as {labels.txt: 3fa9…}", value))  # noqa: TRY004
    return {inside_folder(name): str(_SHA256.parse(digest)) for name, digest in value.items()}


class Manifest(Section):
    """A ``manifest.yaml`` of a package, or ``X.yaml`` beside ``X.tflite``."""

    name: Annotated[str | None, text("a name of letters, digits, _ and -", NAME_PATTERN)] = None
    version: Annotated[str | None, text("a version such as 1.0.0", VERSION)] = None
    file: Annotated[str | None, Kind(_beside, {"type": "string"})] = None
    sha256: Annotated[str | None, _SHA256] = None
    digests: Annotated[Mapping[str, str], Kind(_digests)] = Field(default_factory=dict)
    task: Annotated[Task | None, choice(*TASKS)] = None
    decoder: Annotated[DecoderChoice | None, Kind(_decoder)] = None
    labels: Annotated[str | tuple[str, ...] | None, Kind(_labels)] = None
    input: InputSection = Field(default_factory=InputSection)
    threshold: Annotated[float | None, limit()] = None
    nms: NmsSection = Field(default_factory=NmsSection)
    values: list[ValueSection] = Field(default_factory=list)
    inputs: dict[str, FurtherSection] = Field(default_factory=dict)
    outputs: Annotated[tuple[str, ...], Kind(_outputs)] = ()
    state: Annotated[tuple[tuple[str, str], ...], Kind(_state)] = ()
    licence: Annotated[str | None, text("the licence of the model", most=1024)] = None
    source: Annotated[str | None, text("the origin of the model", r"[^\x00]+", most=8192)] = None
    golden: list[Golden] = Field(default_factory=list)
    budget: Budget = Field(default_factory=Budget)
