"""Kinds of sources in a configuration file: one class for each kind, and one class for the kinds of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator

from edge_infer.config.schema.broker import Tls
from edge_infer.config.schema.signal_sources import SourceSection
from edge_infer.plan.credentials import PLACE
from edge_infer.plan.plugins import load
from edge_infer.plan.source_kinds import KINDS
from edge_infer.readers.sources import source_kinds
from edge_infer.yamlfile.error_text import ProblemAtError, suggestion, wrong
from edge_infer.yamlfile.fields import (
    PATH,
    Kind,
    Path,
    choice,
    duration,
    flag,
    integer,
    pixels,
    text,
    url,
    written_as_is,
)

FOURCC: Final = text("a pixel format of four characters such as MJPG or YUYV", r"[A-Za-z0-9 ]{4}")
Size = Annotated[tuple[int, int], pixels()]


class V4l2(SourceSection):
    """A camera of the kernel: USB cameras and most capture cards."""

    kind: Literal["v4l2"]
    device: Annotated[
        str, text("the path of a camera such as /dev/video0", r"/[^\x00-\x1f]+"), Field(examples=["/dev/video0"])
    ]
    """The camera's device; those under `/dev/v4l/by-id/` keep their names."""
    size: Annotated[tuple[int, int] | None, pixels(), Field(examples=["640x480"])] = None
    """Width and height to ask the camera for; without it the camera's own."""
    format: Annotated[str | None, FOURCC, Field(examples=["MJPG"])] = None
    """Pixel format to ask the camera for; without it the camera's own."""


class NetworkCamera(SourceSection):
    """Base of sources with the keys ``url`` and ``password_file``."""

    @model_validator(mode="after")
    def _place_has_a_password(self) -> NetworkCamera:
        if PLACE in getattr(self, "url", "") and getattr(self, "password_file", None) is None:
            raise ProblemAtError(("url",), f"{PLACE} needs password_file, the file with the password")
        return self


class Rtsp(NetworkCamera):
    """A network camera with RTSP."""

    kind: Literal["rtsp"]
    url: Annotated[str, url("rtsp", "rtsps"), Field(examples=["rtsp://camera.lan/stream"])]
    """Address of the stream, without a password; write `{password}` where the camera expects it."""
    username: Annotated[str | None, text("a user name"), Field(examples=["viewer"])] = None
    """User name at the camera."""
    password_file: Annotated[str | None, PATH, Field(examples=["camera.pass"])] = None
    """File that holds the password and nothing else."""
    transport: Annotated[Literal["tcp", "udp"], choice("tcp", "udp")] = "tcp"
    """`tcp` loses no packets; `udp` is for cameras that support nothing else."""
    tls: Annotated[Tls | None, Field(examples=[{"ca_file": "camera.pem"}])] = None
    """With `rtsps:`: files as in `mqtt.tls`; `ca_file` may be the camera's own certificate. Without it the reader
    trusts the system's authorities."""

    @model_validator(mode="after")
    def _encrypts(self) -> Rtsp:
        if self.tls is not None and not self.url.lower().startswith("rtsps:"):
            raise ProblemAtError(("tls",), "belongs to an encrypted address, which begins with rtsps:")
        return self


class Http(NetworkCamera):
    """A network camera that sends MJPEG, or single pictures."""

    kind: Literal["http"]
    url: Annotated[str, url("http", "https"), Field(examples=["http://camera.lan/mjpeg"])]
    """Address of the stream or picture, without a password; write `{password}` where the camera expects it."""
    username: Annotated[str | None, text("a user name"), Field(examples=["viewer"])] = None
    """User name at the camera."""
    password_file: Annotated[str | None, PATH, Field(examples=["camera.pass"])] = None
    """File that holds the password and nothing else."""
    snapshot: Annotated[float | None, duration("100ms", "1d"), Field(examples=["5s"])] = None
    """Fetch a single picture this often; without it the address is an endless stream of JPEG pictures."""


def _command(value: Any) -> tuple[str, ...]:
    expected = "a list of a program and its arguments such as [rpicam-vid, -t, 0]"
    if not isinstance(value, list) or not value:
        raise ValueError(wrong(expected, value))
    kind, words = text("a text", r"[^\x00]*", 4096, visible=False), []
    for index, item in enumerate(value):
        try:
            words.append(kind.parse(item))
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
    if not words[0]:
        raise ProblemAtError((0,), "expected the name of a program, not an empty text")
    return tuple(words)


class Exec(SourceSection):
    """A program that writes raw frames to its standard output: libcamera, Jetson, anything else."""

    kind: Literal["exec"]
    command: Annotated[
        tuple[str, ...],
        Kind(_command, {"type": "array", "minItems": 1, "items": {"type": ["string", "number"]}}),
        Field(examples=[["rpicam-vid", "-t", "0", "--codec", "yuv420", "-o", "-"]]),
    ]
    """The program and its arguments, as a list; no shell is involved."""
    network: Annotated[bool, flag()] = False
    """Whether the program may open network connections."""
    size: Annotated[Size, Field(examples=["640x480"])]
    """Width and height of the frames that the program writes."""
    format: Annotated[
        Literal["rgb24", "bgr24", "gray", "yuv420", "nv12"], choice("rgb24", "bgr24", "gray", "yuv420", "nv12")
    ] = "rgb24"
    """Pixel format of the frames that the program writes."""


class Picamera2(SourceSection):
    """A camera at the ribbon connector of a Raspberry Pi, through the picamera2 of its system."""

    kind: Literal["picamera2"]
    camera: Annotated[int, integer(0, 15)] = 0
    """Number of the camera, as in `rpicam-hello --list-cameras`."""
    size: Annotated[Size, Field(examples=["640x480"])] = (640, 480)
    """Width and height of the frames."""


class Video(SourceSection):
    """A video file."""

    kind: Literal["video"]
    file: Annotated[Path, Field(examples=["clip.mp4"])]
    """The file."""
    loop: Annotated[bool, flag()] = False
    """Begin again at the end."""
    realtime: Annotated[bool, flag()] = True
    """`true` plays at the file's pace and drops frames like a camera; `false` goes as fast as it can and drops none."""


class Images(SourceSection):
    """Picture files, one after the other."""

    kind: Literal["images"]
    path: Annotated[Path, Field(examples=["pictures/*.jpg"])]
    """A folder, or a pattern with `*`."""
    loop: Annotated[bool, flag()] = False
    """Begin again at the end."""
    realtime: Annotated[bool, flag()] = False
    """`true` shows a picture every `every`; `false` goes as fast as it can."""
    every: Annotated[float, duration("1ms", "1d")] = 1.0
    """Time between two pictures with `realtime: true`."""


def _pictures(value: Any) -> tuple[str, ...]:
    return _command(value) if value != [] else ()


class Synthetic(SourceSection):
    """Shapes or pictures that move about: frames of known content, to try things out without a camera."""

    kind: Literal["synthetic"]
    size: Annotated[Size, Field(examples=["640x480"])] = (640, 480)
    """Width and height."""
    seed: Annotated[int, integer(0, 2**32 - 1)] = 0
    """The same seed gives the same frames."""
    objects: Annotated[int, integer(0, 100)] = 3
    """Number of shapes that move about."""
    images: Annotated[
        tuple[str, ...],
        Kind(_pictures, {"type": "array", "items": {"type": "string"}}),
        Field(examples=[["face.png"]]),
    ] = ()
    """Picture files to move about instead of shapes."""
    realtime: Annotated[bool, flag()] = True
    """`true` makes frames at the pace of `fps` (10 without it); `false` goes as fast as it can and drops none."""


class OtherSource(SourceSection):
    """A kind that another package adds. The record of that package checks its keys."""

    model_config = ConfigDict(extra="allow")

    kind: Annotated[str, text("a kind")]


@cache
def sections() -> Mapping[str, type[SourceSection]]:
    """Return the section classes by kind, for all kinds that have a section class."""
    return {name: load(kind.section) for name, kind in KINDS.items() if kind.section}


def _kinds() -> list[str]:
    """Return all kinds that have a reader, and the kind with data from another pipeline."""
    return list(dict.fromkeys((*source_kinds(), *sections())))


def _source(value: Any) -> SourceSection:
    """Return the section of the kind that ``value`` names."""
    if not isinstance(value, dict):
        raise ValueError(wrong("keys such as {kind: v4l2, device: /dev/video0}", value))  # noqa: TRY004
    kind = value.get("kind")
    if kind is None:
        raise ProblemAtError(("kind",), f"is missing; known: {', '.join(_kinds())}")
    if isinstance(kind, str) and kind in sections():
        return sections()[kind].model_validate(value)
    if isinstance(kind, str) and kind in source_kinds():
        return OtherSource.model_validate(written_as_is(value))
    raise ProblemAtError(("kind",), f"{wrong('a kind of source', kind)}; {suggestion(str(kind), _kinds())}")


def _in_one(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its definitions inlined, so that it can be part of a larger schema."""
    definitions = {f"#/$defs/{name}": body for name, body in schema.pop("$defs", {}).items()}

    def inlined(part: Any) -> Any:
        if isinstance(part, dict):
            if part.get("$ref") in definitions:
                return inlined({**definitions[part["$ref"]], **{key: part[key] for key in part if key != "$ref"}})
            return {key: inlined(item) for key, item in part.items()}
        return [inlined(item) for item in part] if isinstance(part, list) else part

    found: dict[str, Any] = inlined(schema)
    return found


class _BySource(Kind):
    """Kind of value for the section of any source. In JSON Schema it is one of the schemas of all kinds."""

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        schemas = [_in_one(section.model_json_schema()) for section in sections().values()]
        others = [kind for kind in source_kinds() if kind not in sections()]
        if others:
            schemas.append({"type": "object", "properties": {"kind": {"enum": others}}, "required": ["kind"]})
        return {"oneOf": schemas}


AnySource = Annotated[SourceSection, _BySource(_source)]
