"""Pictures from an RTSP network camera, through OpenCV's FFmpeg."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import cv2

from edge_infer.errors import SourceError
from edge_infer.frames.ffmpeg import Retrievable, failure
from edge_infer.plan.credentials import PLACE, source_password, without_passwords
from edge_infer.plan.records import Gives, TlsPlan
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place
from edge_infer.readers.sources.credentials_in_url import redirected, shown, unreachable, with_credentials
from edge_infer.readers.sources.rtsp_greeting import as_text, check_certificate, check_redirect
from edge_infer.readers.sources.video_capture import StreamClock, Times, VideoCapture, next_picture
from edge_infer.sandbox.needs import USUAL_PORTS

if TYPE_CHECKING:
    from typing_extensions import Self


# Capture FFmpeg's log. The log stays out of the journal, because it contains addresses, and is parsed for some events.
#
# OpenCV does not report when a stream changes its size: version 5 squeezes the new pictures into the old size, and
# version 4 returns damaged pictures. OpenCV also reports neither a failed conversion (see `ffmpeg`) nor the response of
# a camera: a status, a redirection, a stream without video. Only FFmpeg's log shows these events.

_VERBOSE: Final = "40"
_SIZE: Final = re.compile(r"Reinit context to (\d+)x(\d+)")
_REFUSAL: Final = re.compile(r"method \w+ failed: (\d{3}) ?\(?([^\r\n]{0,1000})", re.ASCII)
_UNUSUAL: Final = re.compile(r"[^ \w{}-].*", re.ASCII)
_REDIRECT: Final = re.compile(r"Status 30\d: Redirecting to ([!-~]{1,1000})")
MAX_REASON: Final = 40
"""Maximum characters of a camera's reason phrase."""
_MEDIA: Final = re.compile(r"^m=(\w{1,20}) ", re.ASCII | re.MULTILINE)
"""A track in the description of a stream (RFC 8866, section 5.14)."""
_KINDS: Final = frozenset({"video", "audio", "application", "text", "message", "image"})
_STREAMS: Final = (1, 2)
"""OpenCV 5 writes FFmpeg's lines to standard output, version 4 to standard error."""


class DecoderLog:
    """Redirects standard output and error between `open` and `close`; ``sys.stderr`` must use another descriptor."""

    def __init__(self) -> None:
        self._flush = ctypes.CDLL(None).fflush
        self._saved: tuple[int, ...] = ()
        self._pipe = -1
        self._rest = ""
        self._size: str | None = None
        self._changed = False
        self._failure: str | None = None
        self._refusal: tuple[int, str] | None = None
        self._target = ""
        self._media: set[str] = set()

    def open(self, environment: MutableMapping[str, str]) -> None:
        """Start capturing.

        Call it before OpenCV first uses FFmpeg in this process, because FFmpeg's log level is read only once.
        """
        environment["OPENCV_FFMPEG_LOGLEVEL"] = _VERBOSE
        self._flush(None)
        self._pipe, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a full pipe loses text and never blocks
        self._saved = tuple(os.dup(stream) for stream in _STREAMS)
        for stream in _STREAMS:
            os.dup2(end, stream)
        os.close(end)
        self._size, self._rest, self._changed, self._failure, self._refusal = None, "", False, None, None
        self._target, self._media = "", set()

    def resized(self) -> bool:
        """Return True once for each change of the stream's size.

        FFmpeg logs the coded size, in whole blocks, not the size of the frames: 480x368 for frames of 480x360.
        """
        self._look()
        changed, self._changed = self._changed, False
        return changed

    def refusal(self) -> tuple[int, str] | None:
        """Return the status code and reason phrase of the last refused request; None if there was none."""
        self._look()
        return self._refusal

    def target(self) -> str:
        """Return the address to which a camera redirected, including any credentials; empty without a redirection."""
        self._look()
        return self._target

    def has_no_video(self) -> bool:
        """Return whether a camera described a stream that has tracks, but no video track."""
        self._look()
        return bool(self._media) and "video" not in self._media

    def retrieve(self, capture: Retrievable, into: Any, name: str) -> tuple[bool, Any]:
        """Return ``capture.retrieve(into)``; raise `SourceError` about ``name`` if the picture was not converted."""
        self._look()  # empty the pipe: old lines could fill it and hide new ones
        answer = capture.retrieve(into)
        self._look()
        if self._failure is not None:
            raise SourceError(f"{name} {self._failure}")
        return answer

    def _look(self) -> None:
        self._flush(None)  # into a pipe, the C library writes only when its buffer is full
        text = self._rest
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe, 65536):
                text += data.decode("utf-8", "replace")
        text, _, self._rest = text.rpartition("\n")
        for code, reason in _REFUSAL.findall(text):
            known = without_passwords(reason)  # first, because a password may contain any character
            self._refusal = int(code), _UNUSUAL.sub("", known).strip()[:MAX_REASON]
        if targets := _REDIRECT.findall(text):
            self._target = targets[-1]
            self._media.clear()
        self._media.update(kind for kind in _MEDIA.findall(text) if kind in _KINDS)
        before = self._size
        for width, height in _SIZE.findall(text):
            self._size = f"{width}x{height}"
        self._changed = self._changed or (before is not None and self._size != before)
        self._failure = failure(text) or self._failure

    def close(self) -> None:
        """Restore both streams; may be called twice."""
        if not self._saved:
            return
        self._flush(None)
        for stream, saved in zip(_STREAMS, self._saved, strict=True):
            os.dup2(saved, stream)
            os.close(saved)
        os.close(self._pipe)
        self._saved, self._pipe = (), -1


CONNECT_TIMEOUT: Final = 1.0
OPEN_TIMEOUT: Final = 6.0
LEAST_PATIENCE: Final = 2.0
"""Maximum seconds for opening a stream, with the greeting, and minimum seconds for FFmpeg. With `CONNECT_TIMEOUT`, in
which the reason of a failure is found, they are below the time after which the supervisor kills a waiting reader."""
READ_TIMEOUT: Final = 2.4
"""Seconds after which a read of a silent camera returns, possibly with a frame that the decoder held back."""
SILENT: Final = 0.95 * READ_TIMEOUT
MOST_SILENT: Final = 2
"""Consecutive silent reads after which the stream is reopened; this is before the source counts as lost."""
DECODER_THREADS: Final = 2
"""Each thread above one makes FFmpeg's decoder return a frame one frame interval later. FFmpeg's default of one thread
per core would delay every result. A single thread may be too slow for 1080p on a small board."""
QUICK_OPENING: Final = {"fpsprobesize": "0"}
"""Makes FFmpeg open a stream without first measuring its frame rate, which takes seconds and collects a backlog."""
_MEANINGS: Final = {
    401: "wrong or missing user name or password",
    403: "wrong user name or password, or this user may not view the stream",
    404: "wrong path",
}
"""Meanings of the status codes with a cause that an operator can remove."""


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """``url`` contains no password; ``password_file`` holds it."""

    url: str
    username: str | None = None
    password_file: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    tls: TlsPlan | None = None


def open_stream(url: str, patience: float = OPEN_TIMEOUT) -> VideoCapture:
    """Return OpenCV's capture of a stream that opens within ``patience`` seconds, with a timeout for each read."""
    capture: VideoCapture = cv2.VideoCapture(
        url,
        cv2.CAP_FFMPEG,
        [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(patience * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_TIMEOUT * 1000)),
            *(cv2.CAP_PROP_N_THREADS, DECODER_THREADS),
        ],
    )
    return capture


class RtspSource(Closing):
    """Frames of one stream; after a change of its frame size the stream is reopened."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = True
    lossless: bool = False
    Options = RtspOptions

    def __init__(self, options: RtspOptions, factory: Callable[[str, float], VideoCapture] = open_stream) -> None:
        self._options = options
        self._factory = factory
        self._capture: VideoCapture | None = None
        self.place: Place = no_place
        self.wanted: Wanted = all_wanted
        self._log = DecoderLog()
        self._silent = 0
        self._clock = StreamClock(0, 0)

    def __enter__(self) -> Self:
        options, asked = self._options, time.monotonic()
        file = options.password_file
        password = source_password(file, options.username) if file is not None else None
        wanted = {
            "rtsp_transport": options.transport,
            **QUICK_OPENING,
            **self._greet(has_password=password is not None),
        }
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = as_text(wanted)
        began = time.monotonic()
        patience = max(LEAST_PATIENCE, OPEN_TIMEOUT - (began - asked))
        self._silent = 0
        self._log.open(os.environ)
        self._capture = self._factory(with_credentials(options.url, options.username, password), patience)
        if not self._capture.isOpened():
            why = self._why_not(silent=time.monotonic() - began > patience * 0.9)
            self.close()
            raise SourceError(f"{shown(options.url)} cannot be opened: {why}")
        self._clock = StreamClock(_frames_held_back(self._capture), self._capture.get(cv2.CAP_PROP_FPS))
        return self

    def _greet(self, *, has_password: bool) -> dict[str, str]:
        """Check the camera before FFmpeg may send it the password; return FFmpeg's options for the encryption."""
        options = self._options
        ask = has_password and PLACE not in options.url  # in the path it is not sent to another address
        try:
            if urlsplit(options.url).scheme == "rtsps":
                return check_certificate(options.url, options.tls, ask=ask)
            if ask:
                check_redirect(options.url)
        except SourceError as error:
            raise SourceError(f"{shown(options.url)} cannot be opened: {error}") from error
        return {}

    def _why_not(self, *, silent: bool) -> str:
        """Return the reason why the stream cannot be opened; ``silent``: the camera did not respond in time."""
        refusal, target = self._log.refusal(), self._log.target()
        if self._log.has_no_video():
            return "its stream has no video, only other tracks such as sound: check the path"
        if target and not refusal:  # the sandbox allows the port of `url` alone
            secret = self._options.password_file is not None
            return f"it {redirected(self._options.url, target, secret=secret)}"
        if silent:
            return "it does not answer"
        return _why_refused(*refusal, self._options.transport) if refusal else _why_closed(self._options.url)

    def read(self) -> Picture | Passed | None:
        """Return the next frame.

        Raises `SourceError` when the stream breaks off, or must be reopened because its size changed.
        """
        picture, began = None, time.monotonic()
        if self._capture is not None:
            picture = next_picture(self._capture, self.place, self.wanted, self._retrieve, captured=self._captured)
        silent = time.monotonic() - began > SILENT
        self._silent = self._silent + 1 if silent else 0
        if picture is None or self._silent == MOST_SILENT:
            reason = f"connection lost, or silent for {MOST_SILENT * READ_TIMEOUT:.0f} s"
            raise SourceError(f"{shown(self._options.url)} delivers no more frames: {reason}")
        if silent:
            return PASSED  # captured before the silence: its time would be wrong
        if self._log.resized():
            raise SourceError(f"{shown(self._options.url)} has changed its frame size; opening it again")
        return picture

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        self._log.close()

    def _captured(self, capture: VideoCapture) -> Times | None:
        return self._clock.captured(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)

    def _retrieve(self, capture: VideoCapture, into: Any) -> tuple[bool, Any]:
        return self._log.retrieve(capture, into, shown(self._options.url))


def _frames_held_back(capture: VideoCapture) -> int:
    """Return the number of later frames that FFmpeg reads before it returns a frame.

    FFmpeg's parser sees the end of a frame only at the beginning of the next one. Each further thread of its decoder
    holds another frame. Motion JPEG has neither delay. B-frames delay a stream by further frames; OpenCV does not
    report their number.
    """
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return 0 if code in (cv2.VideoWriter.fourcc(*"MJPG"), cv2.VideoWriter.fourcc(*"mjpg")) else DECODER_THREADS


def _why_refused(code: int, reason: str, transport: str) -> str:
    """Return the meaning of a camera's response as text."""
    if code == 461:
        return f"it does not send by {transport}: set `transport: {'udp' if transport == 'tcp' else 'tcp'}`"
    meaning = _MEANINGS.get(code, "path and password are not the cause" if code >= 500 else "it refuses this request")
    return f"it answers {code}{f' {reason}' if reason else ''}: {meaning}"


def _why_closed(url: str) -> str:
    """Return why a stream could not be opened by a camera that reported no reason."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or USUAL_PORTS[parts.scheme]), CONNECT_TIMEOUT):
            return "it answers, but sends no stream: check path, user name and password"
    except OSError as error:
        return unreachable(error)
