"""Kinds of sources: one kind, one file, one entry in `edge_infer.plan.source_kinds.KINDS`.

A source *must* be a class with

- ``gives``: the type of its readings, ``image`` (`Picture`), ``samples`` (`Block`) or ``text`` (`Words`) (a class
  attribute);
- ``noisy``: true when two equal readings in a row show that the device is stuck, as with cameras and microphones (a
  class attribute);
- ``live``: true when the source must run in a reader process (a device, connection or child process); the engine itself
  reads files;
- ``network``: true when it needs inet sockets (a class attribute, or a property of the instance's options);
- ``Options``: a frozen dataclass with the keys of `SourcePlan.options` as fields, validated by the codec;
- ``__init__(options)``: cheap, opens nothing;
- ``__enter__``: opens within about 10 s or raises `SourceError` with the remedy;
- ``close()``: idempotent and safe after a failed opening (``__exit__`` calls it);
- ``read() -> Picture | Passed | Block | Words | None``: waits for the next reading; None at the end; raises
  `SourceError` when the source is gone, after which the caller closes it and reopens it with back-off.

It *may* have

- ``interrupt()``: called by another thread; a `read` that waits until its reading is due then returns None at once;
- ``faults``: a `Faults`, which counts readings that were dropped because they were broken, cut off or overrun; when the
  caller reopens the source, the count continues;
- ``holds_writer``: true when the writing program can be made to wait, as at a pipe: the source is then read no faster
  than the pipelines process its readings, and nothing is dropped;
- ``finish()``: with ``holds_writer``, stop taking data from the pipe; `read` then returns the readings taken before,
  without waiting, and finally None;
- ``room_seconds``: seconds that a reading of samples or text waits for a busy engine before it is dropped; more than
  0.25 needs a large buffer, such as that of a connection, which holds the data of this time;
- ``away``: the reason why programs can no longer find the source, for example because its pipe was removed, or an empty
  text; `read` still returns data that arrives; another thread reads this attribute during `read`;
- ``stdin``: true when the source reads the daemon's standard input, which its reader then inherits;
- ``stills``: true when the source gives single pictures, not a stream; pictures are then scaled exactly, even if that
  is slow;
- ``place``: a `Place`, which the caller sets; it returns memory for the pixels of the next picture, which saves a copy
  (an attribute of the instance; `no_place` at first);
- ``wanted``: a `Wanted`, which the caller sets; the source calls it once for each picture on arrival, and returns
  `PASSED` for an unwanted picture, without decoding it (an attribute of the instance; `all_wanted` at first);
- ``lasting``: true when the pixels of a `read` are never overwritten, so that they need no copy;
- ``check()``: a quick check of the configured file, called when a configuration is read; raises `SourceError`;
- ``values``: the number of values in a sample, if the options or (after ``check``) the file determine it; else 0;
- ``odd``: after ``check`` of a kind of this package, a warning about a file that can still be used, or an empty text;
- ``patience``: seconds that a `read` may normally take, such as the wait for the next snapshot; without this attribute
  a `read` of more than about 8 s counts as a hang, and the supervisor kills the reader.

Pixels *may* be a view that is valid until the next ``read``. The caller handles rotation, flipping, the frame rate
limit, and the gap before the first samples after an opening.

Other packages add kinds through the entry point group ``edge_infer.sources``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

from edge_infer.contract.codec import decode, replace
from edge_infer.plan.plugins import load, names, target
from edge_infer.plan.records import Color, Gives, SourcePlan
from edge_infer.plan.source_kinds import KINDS
from edge_infer.platform.paths import source_folder
from edge_infer.readers.sources.faults import Faults

if TYPE_CHECKING:  # reading a configuration needs the names of the kinds, but not NumPy
    from typing_extensions import Self

    from edge_infer.frames.frame import Pixels, Signal

GROUP: Final = "edge_infer.sources"
SOURCES: Final[Mapping[str, str]] = {name: kind.target for name, kind in KINDS.items() if kind.target}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: pixels ``[height, width(, 3)]`` and capture times in seconds (epoch and monotonic).

    ``position`` is the position in a recording that is read at full speed, in seconds that never decrease. ``position``
    is None if the capture times show how much time has passed.
    """

    pixels: Pixels
    color: Color
    wall: float
    monotonic: float
    position: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block of samples: ``values`` ``[n, channels]`` at ``rate`` a second, and the timestamps of the last sample.

    ``gap``: samples were lost before this block (an overrun of the device, a restart). In a recording, ``left_out`` is
    the number of lost samples; the time of the recording includes them.
    """

    values: Signal
    rate: float
    wall: float
    monotonic: float
    gap: bool = False
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    """A line of text and the time of its arrival."""

    text: str
    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Passed:
    """A picture that arrived but is not needed, so it was not decoded."""


PASSED: Final = Passed()
Reading: TypeAlias = Picture | Block | Words
Wanted: TypeAlias = "Callable[[float], bool]"
"""Returns whether a picture captured at a moment (seconds of the monotonic clock) will be processed."""
Place: TypeAlias = "Callable[[], Pixels | None]"
"""Returns memory with the shape of the previous picture and arbitrary content; None if no memory is free."""


def remedy_for(error: OSError, folder: str = "") -> str:
    """Return the remedy for a file that the service may not use, as the end of a sentence; else an empty text.

    A sandboxed process cannot look up the user names for the command that repairs access; `edge-infer check` can.
    ``folder`` is the folder that the source may read, by default that of the file.
    """
    if not isinstance(error, PermissionError):
        return ""
    path = str(error.filename or "")
    # Landlock does not apply to access(2), so the sandbox is the reason if the file's mode permits reading.
    rights = os.R_OK | (os.W_OK if os.path.exists(path) and Path(path).is_fifo() else 0)  # noqa: PTH110 - may be closed
    if path and os.access(path, rights, effective_ids=True):
        replaced = "was replaced after the start of this process, whose sandbox admits only its predecessor"
        return f"; it {link_out(path, folder or source_folder(path)) or replaced}"
    return "; sudo edge-infer check prints the command that lets the service read it"


def link_out(path: str, folder: str) -> str:
    """Return the end of an error message if a link in ``path`` leads out of ``folder``; else an empty text."""
    target = Path(os.path.realpath(path))
    if target.is_relative_to(os.path.realpath(folder)):
        return ""
    return (
        f"is a link to {target}, outside {folder}, where the sandbox forbids reading: copy the file, or name its real "
        "path"
    )


def no_place() -> None:
    """Return None: the source itself allocates memory for the pixels."""


def all_wanted(monotonic: float) -> bool:
    """Return True: every picture is wanted."""
    del monotonic
    return True


class Source(Protocol):
    """The interface of a source; see the module's docstring.

    ``lossless`` is true for a file that is read at full speed without dropping frames. Otherwise ``read`` follows the
    source's own pace, and only the newest frame matters.
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

    def read(self) -> Reading | Passed | None:
        """Return the next reading, `PASSED` for one that is not needed, or None at the end; raises `SourceError`."""

    def close(self) -> None:
        """Release the device; may be called twice."""


def source_class(target: str) -> Any:
    """Return the class behind ``module:Class``, as `SourcePlan.target` names it."""
    return load(target)


def source_target(kind: str) -> str:
    """Return the ``module:Class`` of a kind; raises `ConfigError` if the kind is unknown."""
    return target(SOURCES, GROUP, kind)


def source_kinds() -> tuple[str, ...]:
    """Return all kinds, built in and from other packages."""
    return names(SOURCES, GROUP)


def make_source(plan: SourcePlan) -> Source:
    """Return the source of a plan, not yet opened; raises `WireError` when its options do not fit."""
    found = source_class(plan.target)
    options = decode(found.Options, dict(plan.options), f"sources.{plan.name}")
    source: Source = found(options)
    return source


def first(reading: Reading) -> Reading:
    """Return the first reading after an opening.

    A block is marked with a gap, because samples are missing before it.
    """
    return replace(reading, gap=True) if isinstance(reading, Block) else reading


def faults_of(source: Source) -> int:
    """Return the number of readings that the source has dropped since its creation."""
    faults: Faults | None = getattr(source, "faults", None)
    return faults.count if faults is not None else 0


def selects(source: Source, wanted: Wanted) -> bool:
    """Set the source's ``wanted`` callback. Return False if the source has none; the caller then selects frames."""
    able = hasattr(source, "wanted")
    if able:
        source.wanted = wanted  # type: ignore[attr-defined]  # sources may have it
    return able


def interrupt(source: Source) -> None:
    """End the wait of a source that can be interrupted."""
    end = getattr(source, "interrupt", None)
    if end is not None:
        end()
