"""Keys of a pipeline: its source and model, and the processing of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from edge_infer.config.compile.named_files import NamedFiles
from edge_infer.config.schema.cascades import SOURCE, Crops
from edge_infer.config.schema.hours import ACTIVE
from edge_infer.config.schema.keys import planned, with_keys_of
from edge_infer.config.schema.scene import (
    DRIFT,
    EVENTS,
    LABELS,
    LINE,
    PLACES,
    POLYGON,
    TRACK,
    ZONE,
    Drift,
    Events,
    Track,
    Zone,
    on_or_off,
)
from edge_infer.contract.codec import replace
from edge_infer.plan.records import (
    Color,
    DelegatePlan,
    LinePlan,
    ModelPlan,
    MotionPlan,
    PipelinePlan,
    Publish,
    Resize,
    Scaling,
    ShadowPlan,
    SourcePlan,
)
from edge_infer.yamlfile.error_text import ProblemAtError, unknown, wrong
from edge_infer.yamlfile.fields import Kind, Name, choice, duration, integer, limit, number, text
from edge_infer.yamlfile.section import Section, Short
from edge_infer.yamlfile.units import parse_pixels

# Keys of a delegate, a library that runs a model's graph on an accelerator.

MOST_OPTIONS: Final = 64


def _options(value: Any) -> tuple[tuple[str, str], ...]:
    """Return the names and values of options as text, as the library receives them."""
    if not isinstance(value, dict) or len(value) > MOST_OPTIONS:
        raise ValueError(wrong(f"at most {MOST_OPTIONS} names with values such as {{device: usb}}", value))
    name, content, found = text("a name", most=128), text("a value", most=1024), []
    for key, item in value.items():
        try:
            told = str(item).lower() if isinstance(item, bool) else content.parse(item)
            found.append((name.parse(key), told))
        except ValueError as error:
            raise ProblemAtError((key,), str(error)) from error
    return tuple(found)


OPTIONS: Final = Kind(
    _options, {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}, dict
)


@with_keys_of(DelegatePlan, library=text("the path or the name of a library", most=4096), options=OPTIONS)
class Delegate(Section):
    """A library that runs the model's graph, or most of it."""


def delegate_plan(section: Delegate | None, files: NamedFiles) -> DelegatePlan | None:
    """Return the plan, with an absolute path if a path is given; None without a section.

    This function does not check whether the file exists. The trial of the delegate shows whether the library can be
    loaded, and `on_failure` may permit a library that cannot be loaded.
    """
    if section is None:
        return None
    plan = planned(DelegatePlan, section)
    return replace(plan, library=files.absolute(plan.library)) if "/" in plan.library else plan


# Keys of motion detection: the model runs only where something moves.


@with_keys_of(MotionPlan)
class Motion(Section):
    """When the model runs on a part of the picture."""


def _motion(value: Any) -> Any:
    return on_or_off(value, ", ".join(Motion.model_fields))


MOTION: Final = Short(_motion, {"type": "boolean"})


def motion_plan(section: Motion | None) -> MotionPlan | None:
    """Return the plan; None if the model runs on all of every frame."""
    return planned(MotionPlan, section) if section else None


def why_not(source: SourcePlan | None, model: ModelPlan) -> str | None:
    """Return the reason why no part of this source may be skipped for this model.

    Returns None if parts may be skipped.
    """
    if source is not None and source.parent:
        return "belongs to the pipeline that finds the objects; its crops are processed on request"
    if model.input.takes != "image" or (source is not None and source.gives != "image"):
        return "belongs to pipelines of pictures; this pipeline needs every part of the signal; remove this key"
    if model.state:
        return f"{model.title} keeps state between frames, so none can be skipped; remove this key"
    return None


@dataclass(frozen=True, slots=True)
class Publishing:
    """When results are published. ``interval`` applies to the mode ``interval`` and is in seconds."""

    mode: Publish
    interval: float = 0.0


def _publishing(value: Any) -> Publishing:
    """Parse ``change``, ``every``, ``off`` or ``{interval: 5s}``."""
    expected = "one of change, every, off, or {interval: 5s}"
    if not isinstance(value, dict):
        modes: dict[Any, Publish] = {"change": "change", "every": "every", "off": "off"}
        if isinstance(value, str) and value in modes:
            return Publishing(modes[value])
        raise ValueError(wrong(expected, value))
    for key in value:
        if key != "interval":
            raise ProblemAtError((key,), unknown(key, ["interval"]))
    if not value:
        raise ValueError(wrong(expected, value))
    try:
        return Publishing("interval", INTERVAL.parse(value["interval"]))
    except ValueError as error:
        raise ProblemAtError(("interval",), str(error)) from error


INTERVAL: Final = duration("100ms", "7d")
PUBLISH_JSON: Final = {
    "anyOf": [
        {"enum": ["change", "every", "off"]},
        {
            "type": "object",
            "properties": {"interval": dict(INTERVAL.json)},
            "required": ["interval"],
            "additionalProperties": False,
        },
    ]
}


def _threads(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 64:
        raise ValueError(wrong("auto or a whole number between 1 and 64", value))
    return int(value)


MOST_CPU: Final = 4095


def _cpus(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(wrong("a list of CPU numbers such as [2, 3]", value))
    for index, cpu in enumerate(value):
        if isinstance(cpu, bool) or not isinstance(cpu, int) or not 0 <= cpu <= MOST_CPU:
            raise ProblemAtError((index,), wrong(f"the number of a CPU, 0 to {MOST_CPU}", cpu))
        if cpu in value[:index]:
            raise ProblemAtError((index,), f"CPU {cpu} is already in this list; name each once")
    return tuple(value)


CPUS: Final = Kind(
    _cpus,
    {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": MOST_CPU},
        "minItems": 1,
        "uniqueItems": True,
    },
)


def _polygons(value: Any) -> Any:
    """Check a list of polygons. A single polygon without the outer brackets is a common error."""
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        raise ValueError(wrong("a list of 1 to 100 polygons such as [[[0, 0], [0.3, 0], [0.3, 1]]]", value))
    first = value[0]
    if isinstance(first, list) and first and not any(isinstance(part, list) for part in first):
        raise ValueError("expected a list of polygons; put this polygon into another pair of brackets")
    return value


MOST_TILES: Final = 16


def _tiles(value: Any) -> tuple[int, int]:
    """Return the numbers of columns and rows in a text such as ``2x2``."""
    try:
        columns, rows = parse_pixels(value)
    except ValueError:
        columns = rows = 0
    if not 2 <= columns * rows <= MOST_TILES:
        raise ValueError(wrong(f"COLUMNSxROWS, 2 to {MOST_TILES} tiles in all, such as 2x2", value))
    return columns, rows


TILES: Final = Kind(_tiles, {"type": "string", "pattern": "^[0-9]+x[0-9]+$"}, lambda found: f"{found[0]}x{found[1]}")


class Preprocess(Section):
    """Overrides for the way from a frame to the input of the model."""

    resize: Annotated[Resize | None, choice("stretch", "letterbox", "crop"), Field(examples=["letterbox"])] = None
    """`stretch` to the input's shape, `letterbox`: keep the shape and fill the borders, or `crop`: keep the shape and
    cut out the middle; without it as in the manifest."""
    color: Annotated[Color | None, choice("rgb", "bgr", "gray"), Field(examples=["rgb"])] = None
    """Order of the colours; without it as in the manifest."""
    scaling: Annotated[Scaling | None, choice("exact", "fast"), Field(examples=["exact"])] = None
    """Method to make a frame smaller: `exact`, with the filter that most models were measured with, or `fast`, close to
    it in a tenth of the time; without it `exact` for single pictures and `fast` for streams."""
    tiles: Annotated[tuple[int, int] | None, TILES, Field(examples=["2x2"])] = None
    """With detection: run the model on parts of the frame, in this many columns and rows, one after the other, and join
    the results; without it on the frame as a whole."""
    overlap: Annotated[float | None, number(0, 0.5), Field(examples=[0.1])] = None
    """With `tiles`: the share of a tile that its neighbour also covers; without it 0.1."""


class Nms(Section):
    """Overrides for non-maximum suppression."""

    iou: Annotated[float | None, number(0, 1), Field(examples=[0.5])] = None
    """Boxes of one label that overlap more than this are one object; without it as in the manifest (0.5)."""
    max: Annotated[int | None, integer(1, 1000), Field(examples=[100])] = None
    """The most objects that remain; without it as in the manifest (100)."""


@with_keys_of(ShadowPlan)
class Shadow(Section):
    """A second model that is compared with the serving model; its findings are not published."""

    model: Annotated[Name, Field(examples=["people-next"])]
    """Name under `models`; a model of the same task."""


@with_keys_of(PipelinePlan, affinity=CPUS, active=ACTIVE)
class Pipeline(Section):
    """One source, one model, and the processing of the results."""

    source: Annotated[str | Crops, SOURCE, Field(examples=["door"])]
    """Name under `sources`, or, for a cascade, `{crops: PIPELINE}` with the keys of `kind: crops`."""
    model: Annotated[Name, Field(examples=["people"])]
    """Name under `models`."""
    fps: Annotated[float | None, number(0.001, 1000), Field(examples=[5])] = None
    """The most frames (windows, lines) a second; frames in between are skipped, and not counted. Without it as fast as
    source and board allow."""
    threshold: Annotated[float | None, limit(), Field(examples=[0.6])] = None
    """The least score that counts, or, for anomalies, the distance from which on a frame is an anomaly; without it as
    in the manifest."""
    labels: Annotated[tuple[str, ...] | None, LABELS, Field(examples=[["person"]])] = None
    """Keep only these labels; without it all. A state counts each of them, with 0 if there is none."""
    threads: Annotated[
        int | Literal["auto"], Kind(_threads, {"anyOf": [{"const": "auto"}, dict(integer(1, 64).json)]})
    ] = "auto"
    """Threads of the interpreter; `auto`: with one pipeline the quickest number measured on this board; with several,
    which share the processor, one each."""
    delegate: Annotated[Delegate | None, Field(examples=[{"library": "libedgetpu.so.1"}])] = None
    """A library that runs the model on an accelerator instead of the processor."""
    mask: Annotated[
        list[Annotated[tuple[tuple[float, float], ...], POLYGON]] | None,
        Short(_polygons),
        Field(examples=[[[[0, 0], [0.3, 0], [0.3, 1], [0, 1]]]]),
    ] = None
    """Polygons that are blacked out before inference: lists of points `[x, y]` in fractions of the frame."""
    publish: Annotated[Publishing, Kind(_publishing, PUBLISH_JSON, lambda found: found.mode)] = Publishing("change")
    """When a result is published: `change` (of labels, their counts or the class), `every`, `off`, or at an
    `{interval: 5s}`. Changes cause at most 30 results at once and 120 a minute, in a cascade `most` times as many, and
    with `track` at most one a second."""
    preprocess: Preprocess = Preprocess()
    """Override the preprocessing of the manifest."""
    nms: Nms = Nms()
    """Override the non-maximum suppression of the manifest."""
    track: Annotated[Track | None, TRACK, Field(examples=[True])] = None
    """With detection: follow objects from frame to frame, so that each has an `id`; `true`, or keys."""
    zones: Annotated[
        dict[Name, Annotated[Zone, ZONE]],
        PLACES,
        Field(examples=[{"drive": [[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1]]}]),
    ] = Field(default_factory=dict)
    """With `track`: areas by name, each a polygon or keys; objects that enter, stay or leave raise events."""
    lines: Annotated[
        dict[Name, Annotated[LinePlan, LINE]],
        PLACES,
        Field(examples=[{"gate": {"from": [0.5, 0.2], "to": [0.5, 1]}}]),
    ] = Field(default_factory=dict)
    """With `track`: lines by name, each `{from: [x, y], to: [x, y]}`, and `labels` and `anchor` as with zones; an
    object that crosses raises an event and is counted by direction."""
    events: Annotated[Events | None, EVENTS, Field(examples=[False])] = Events()
    """Events of tracked objects, of classes and of anomalies; `false` for none, or keys."""
    shadow: Annotated[Shadow | None, Field(examples=[{"model": "people-next", "share": 0.2}])] = None
    """Compare a second model on a share of the frames: `{model: NAME, share: 0.2}`; only the degree of agreement is
    published."""
    motion: Annotated[Motion | None, MOTION, Field(examples=[True])] = None
    """Run the model only where something moves; elsewhere its last result stands. `true`, or keys."""
    drift: Annotated[Drift | None, DRIFT, Field(examples=[True])] = None
    """Report when the camera's pictures or the model's findings no longer look as learned: `true`, keys, or `false`;
    without it as the top-level `drift` says."""
