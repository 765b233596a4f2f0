"""Kinds of sources: one kind, one file, one line in `SOURCES`.

A source *must* be a class with

- ``gives``: what it reads, ``image`` (`Picture`), ``samples`` (`Block`) or ``text`` (`Words`) (a class attribute);
- ``noisy``: true when two equal readings in a row show that the device is stuck, as with cameras and microphones (a
  class attribute);
- ``live``: true when it belongs into a reader (a device, connection or child process); a file is read in the engine;
- ``network``: true when it needs inet sockets (a class attribute, or a property of the instance's options);
- ``Options``: a frozen dataclass, the keys of this kind as `SourcePlan.options` spells them, checked by the codec;
- ``__init__(options)``: cheap, opens nothing;
- ``__enter__`` that opens within about 10 s or raises `SourceError` with the remedy, and ``close()`` that is idempotent
  and safe after a half-open (``__exit__`` calls it);
- ``read() -> Picture | Passed | Block | Words | None``: waits for the next one; None when there will be no more; raises
  `SourceError` when the source is gone, after which it is closed and opened again (with back-off, by the caller).

It *may* have

- ``interrupt()``: called by another thread, it makes a `read` that waits for its turn return None at once;
- ``faults``: a `Faults`, which counts what was left out because it was broken, cut off or overrun; when the source is
  opened again, its caller lets it go on from what was left out before;
- ``holds_writer``: true when whoever writes can be made to wait, as at a pipe: it is then read no faster than the
  pipelines take what it gives, and nothing is dropped;
- ``room_seconds``: how long a reading of samples or text waits for an engine that takes nothing, before it is dropped;
  more than a quarter of a second only where a large buffer, such as that of a connection, holds what comes meanwhile;
- ``stdin``: true when it reads the daemon's standard input, which its reader then inherits;
- ``stills``: true when it gives single pictures, not a stream; they are scaled exactly, whatever time that takes;
- ``place``: a `Place`, which its caller sets: where it may write the pixels of the next picture, so that nobody has to
  copy them (an attribute of the instance; `no_place` at first);
- ``wanted``: a `Wanted`, which its caller sets, and which it asks once about every picture, as soon as that has come;
  in place of one that nobody wants it says `PASSED`, without decoding it (an attribute of the instance; `all_wanted`
  at first);
- ``lasting``: true when nobody writes into the pixels of a `read` any more, so that they need no copy;
- ``check()``: a quick look at the file that it names, when a configuration is read; raises `SourceError`;
- ``patience``: seconds that a `read` may take by the nature of the source, such as the wait for the next snapshot;
  without it a `read` of more than some 8 s is a hang, and its reader is killed.

Pixels *may* be a view that holds until the next ``read``. Rotation, flipping, the frame rate limit, and the gap before
the first samples after an opening are the caller's.
Other packages add kinds through the entry point group ``edge_infer.sources``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

from edge_infer.codec import decode, replace
from edge_infer.config.plan import Color, Gives, SourcePlan
from edge_infer.readers.sources.faults import Faults
from edge_infer.tables import load, names, target

if TYPE_CHECKING:  # who reads a configuration needs none of NumPy for the names of the kinds
    from typing_extensions import Self

    from edge_infer.engine.frame import Pixels, Signal

GROUP: Final = "edge_infer.sources"
SOURCES: Final[Mapping[str, str]] = {
    "v4l2": "edge_infer.readers.sources.v4l2:V4l2Source",
    "rtsp": "edge_infer.readers.sources.rtsp:RtspSource",
    "http": "edge_infer.readers.sources.http:HttpSource",
    "exec": "edge_infer.readers.sources.exec:ExecSource",
    "video": "edge_infer.readers.sources.video:VideoSource",
    "images": "edge_infer.readers.sources.images:ImagesSource",
    "picamera2": "edge_infer.readers.sources.picamera2:Picamera2Source",
    "synthetic": "edge_infer.readers.sources.synthetic:SyntheticSource",
    "audio": "edge_infer.readers.sources.audio:AudioSource",
    "serial": "edge_infer.readers.sources.serial:SerialSource",
    "iio": "edge_infer.readers.sources.iio:IioSource",
    "mqtt": "edge_infer.readers.sources.mqtt:MqttSource",
    "csv": "edge_infer.readers.sources.csv:CsvSource",
    "lines": "edge_infer.readers.sources.lines:LinesSource",
    "system": "edge_infer.readers.sources.system:SystemSource",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """What a source read: pixels ``[height, width(, 3)]`` and capture times in seconds (epoch and monotonic).

    ``position`` is the place in a recording that is read as fast as it goes, in seconds that never go back; None where
    the times above tell how much time has passed.
    """

    pixels: Pixels
    color: Color
    wall: float
    monotonic: float
    position: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """What a source read: ``values`` ``[n, channels]`` at ``rate`` a second, and the times of the last sample.

    ``gap``: samples were lost before this block (an overrun of the device, a restart).
    """

    values: Signal
    rate: float
    wall: float
    monotonic: float
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """What a source read: one line of text and when it came."""

    text: str
    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Passed:
    """A picture has come that nobody wanted: it was not decoded."""


PASSED: Final = Passed()
Reading: TypeAlias = Picture | Block | Words
Wanted: TypeAlias = "Callable[[float], bool]"
"""Whether a picture that was captured at a moment (seconds of the monotonic clock) is going to be looked at."""
Place: TypeAlias = "Callable[[], Pixels | None]"
"""Gives memory of the shape that the picture before had, whose content does not matter; None where there is none."""


def no_place() -> None:
    """Pixels are put wherever the source likes."""


def all_wanted(monotonic: float) -> bool:
    """Every picture is looked at."""
    del monotonic
    return True


class Source(Protocol):
    """The contract of a kind; see the module's text.

    ``lossless`` is true for a file that is read as fast as it goes, of which no frame may be dropped; otherwise
    ``read`` keeps to the source's own pace and the newest frame counts.
    """

    gives: ClassVar[Gives]
    noisy: ClassVar[bool]
    live: ClassVar[bool]
    network: bool
    lossless: bool

    def __init__(self, options: Any) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read(self) -> Reading | Passed | None: ...

    def close(self) -> None: ...


def source_class(target: str) -> Any:
    """The class behind ``module:Class``, as `SourcePlan.target` names it."""
    return load(target)


def source_target(kind: str) -> str:
    """Where a kind lives; raises `ConfigError` for an unknown one."""
    return target(SOURCES, GROUP, kind)


def source_kinds() -> tuple[str, ...]:
    """All kinds, built in and from other packages."""
    return names(SOURCES, GROUP)


def make_source(plan: SourcePlan) -> Source:
    """The source of a plan, not yet opened; raises `WireError` when its options do not fit."""
    found = source_class(plan.target)
    options = decode(found.Options, dict(plan.options), f"sources.{plan.name}")
    source: Source = found(options)
    return source


def first(reading: Reading) -> Reading:
    """What a source reads first after it was opened: samples are missing before it."""
    return replace(reading, gap=True) if isinstance(reading, Block) else reading


def faults_of(source: Source) -> int:
    """How much the source has left out since it was made."""
    faults: Faults | None = getattr(source, "faults", None)
    return faults.count if faults is not None else 0


def selects(source: Source, wanted: Wanted) -> bool:
    """Lets the source ask which pictures are wanted; False where it gives them all, and its caller has to choose."""
    able = hasattr(source, "wanted")
    if able:
        source.wanted = wanted  # type: ignore[attr-defined]  # sources may have it
    return able


def interrupt(source: Source) -> None:
    """Ends the wait of a source that can be interrupted."""
    end = getattr(source, "interrupt", None)
    if end is not None:
        end()
