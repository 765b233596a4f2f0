"""Pictures from an RTSP network camera, through OpenCV's FFmpeg."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import cv2

from edge_infer.closing import Closing
from edge_infer.config.plan import Gives
from edge_infer.credentials import source_password
from edge_infer.errors import SourceError
from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place
from edge_infer.readers.sources.address import shown, unreachable, with_credentials
from edge_infer.readers.sources.capture import Capture, next_picture
from edge_infer.readers.sources.decoder_log import DecoderLog

if TYPE_CHECKING:
    from typing_extensions import Self

PORTS: Final = {"rtsp": 554, "rtsps": 322}
CONNECT_TIMEOUT: Final = 1.0
OPEN_TIMEOUT: Final = 6.0
READ_TIMEOUT: Final = 2.4
"""Seconds that a read of a silent camera takes; it may then return a frame that the decoder held back."""
SILENT: Final = 0.95 * READ_TIMEOUT
MOST_SILENT: Final = 2
"""Consecutive silent reads after which the stream is reopened; this is before the source counts as lost."""
_MEANINGS: Final = {
    401: "user name or password are wrong, or missing",
    403: "user name or password are wrong, or this user may not see the stream",
    404: "the path is wrong",
}
"""What the answers that an operator can put right mean."""


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """``url`` contains no password; ``password_file`` holds it."""

    url: str
    username: str | None = None
    password_file: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"


def open_stream(url: str) -> Capture:
    """Return OpenCV's capture of a stream, with timeouts."""
    capture: Capture = cv2.VideoCapture(
        url,
        cv2.CAP_FFMPEG,
        [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_TIMEOUT * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT * 1000)),
        ],
    )
    return capture


class RtspSource(Closing):
    """Frames of one stream; after a change of its size the stream is reopened with the new one."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = True
    lossless: bool = False
    Options = RtspOptions

    def __init__(self, options: RtspOptions, factory: Callable[[str], Capture] = open_stream) -> None:
        self._options = options
        self._factory = factory
        self._capture: Capture | None = None
        self.place: Place = no_place
        self.wanted: Wanted = all_wanted
        self._log = DecoderLog()
        self._silent = 0

    def __enter__(self) -> Self:
        options = self._options
        password = source_password(options.password_file) if options.password_file is not None else None
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{options.transport}"
        began = time.monotonic()
        self._silent = 0
        self._log.open(os.environ)
        self._capture = self._factory(with_credentials(options.url, options.username, password))
        if not self._capture.isOpened():
            refusal = self._log.refusal()
            self.close()
            silent = time.monotonic() - began > OPEN_TIMEOUT * 0.9
            why = "it does not answer" if silent else _why_refused(*refusal) if refusal else _why_closed(options.url)
            raise SourceError(f"{shown(options.url)} cannot be opened: {why}")
        return self

    def read(self) -> Picture | Passed | None:
        """Return the next frame.

        Raises `SourceError` when the stream breaks off, or must be reopened because its size changed.
        """
        picture, began = None, time.monotonic()
        if self._capture is not None:
            picture = next_picture(self._capture, self.place, self.wanted, self._retrieve)
        silent = time.monotonic() - began > SILENT
        self._silent = self._silent + 1 if silent else 0
        if picture is None or self._silent == MOST_SILENT:
            reason = f"broken off, or silent for {MOST_SILENT * READ_TIMEOUT:.0f} s"
            raise SourceError(f"{shown(self._options.url)} gives no more frames: {reason}")
        if silent:
            return PASSED  # captured before the silence: its time would be wrong
        if (size := self._log.new_size()) is not None:
            raise SourceError(f"{shown(self._options.url)} has changed its size to {size} and is opened anew")
        return picture

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        self._log.close()

    def _retrieve(self, capture: Capture, into: Any) -> tuple[bool, Any]:
        return self._log.retrieve(capture, into, shown(self._options.url))


def _why_refused(code: int, reason: str) -> str:
    """Return what the answer of a camera means."""
    meaning = _MEANINGS.get(code, "path and password are not the cause" if code >= 500 else "it refuses this request")
    return f"it answers {code}{f' {reason}' if reason else ''}: {meaning}"


def _why_closed(url: str) -> str:
    """Return why a stream could not be opened by a camera that reported no reason."""
    parts = urlsplit(url)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or PORTS.get(parts.scheme, 554)), CONNECT_TIMEOUT
        ):
            return "it answers, but gives no stream: are path, user name and password right?"
    except OSError as error:
        return unreachable(error)
