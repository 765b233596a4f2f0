"""Kinds of sources in this package: an entry declares everything about a kind except how it is read.

The table contains the names of classes and does not import them, because the supervisor and the process that reads a
configuration need no NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from edge_infer.plan.records import Gives

Access: TypeAlias = Literal["nothing", "options", "sound", "iio", "program"]
"""What the reader of a kind may access: ``nothing``; with ``options`` the file, device or port that its options name;
with ``sound`` or ``iio`` also what the sound system or the kernel's sensors need; with ``program`` what an external
program may access."""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of source. Without ``access`` its reader may access nothing."""

    target: str = ""
    """``module:Class`` that reads the source; empty for a kind with data from a pipeline."""
    section: str = ""
    """``module:Class`` with its keys. Without it, the fields of the reading class's ``Options`` are the keys."""
    access: Access = "nothing"
    listens: bool = False
    """Whether its library needs a listening socket."""
    group: str = ""
    """Group that may open its devices; used if the device itself does not exist."""
    suggested_for: Gives | None = None
    """Kind of model input for which error texts suggest this kind of source."""


_READ: Final = "edge_infer.readers.sources"
_KEYS: Final = "edge_infer.config.schema"

KINDS: Final[Mapping[str, SourceKind]] = {
    "v4l2": SourceKind(
        f"{_READ}.v4l2:V4l2Source", f"{_KEYS}.sources:V4l2", access="options", group="video", suggested_for="image"
    ),
    "rtsp": SourceKind(f"{_READ}.rtsp:RtspSource", f"{_KEYS}.sources:Rtsp", access="options", suggested_for="image"),
    "http": SourceKind(f"{_READ}.http:HttpSource", f"{_KEYS}.sources:Http", access="options"),
    "exec": SourceKind(
        f"{_READ}.exec:ExecSource", f"{_KEYS}.sources:Exec", access="program", group="video", suggested_for="image"
    ),
    "video": SourceKind(
        f"{_READ}.video:VideoSource", f"{_KEYS}.sources:Video", access="options", suggested_for="image"
    ),
    "images": SourceKind(f"{_READ}.images:ImagesSource", f"{_KEYS}.sources:Images", access="options"),
    "picamera2": SourceKind(
        f"{_READ}.picamera2:Picamera2Source", f"{_KEYS}.sources:Picamera2", access="program", group="video"
    ),
    "synthetic": SourceKind(f"{_READ}.synthetic:SyntheticSource", f"{_KEYS}.sources:Synthetic", access="options"),
    "crops": SourceKind(section=f"{_KEYS}.cascades:Crops"),
    "audio": SourceKind(
        f"{_READ}.audio:AudioSource",
        f"{_KEYS}.signal_sources:Audio",
        access="sound",
        group="audio",
        suggested_for="samples",
    ),
    "serial": SourceKind(
        f"{_READ}.serial:SerialSource",
        f"{_KEYS}.signal_sources:Serial",
        access="options",
        group="dialout",
        suggested_for="samples",
    ),
    "iio": SourceKind(
        f"{_READ}.iio:IioSource", f"{_KEYS}.signal_sources:Iio", access="iio", group="plugdev", suggested_for="samples"
    ),
    "mqtt": SourceKind(
        f"{_READ}.mqtt:MqttSource", f"{_KEYS}.signal_sources:MqttSensor", access="options", listens=True
    ),
    "csv": SourceKind(
        f"{_READ}.csv:CsvSource", f"{_KEYS}.signal_sources:Csv", access="options", suggested_for="samples"
    ),
    "lines": SourceKind(
        f"{_READ}.lines:LinesSource", f"{_KEYS}.signal_sources:Lines", access="options", suggested_for="text"
    ),
    "system": SourceKind(f"{_READ}.system:SystemSource", f"{_KEYS}.signal_sources:System", access="options"),
}


def access_of(kind: str) -> Access:
    """Return the access of a kind's reader. A kind of another package has the access of an external program."""
    return KINDS[kind].access if kind in KINDS else "program"
