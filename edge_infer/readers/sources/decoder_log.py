"""Capture FFmpeg's log: it stays out of the journal, because it contains addresses, and is parsed for three events.

OpenCV does not report when a stream changes its size: version 5 squeezes the new pictures into the old size, and
version 4 returns damaged ones. Nor does it report when a picture was not converted, see `converter`, or which status a
camera answered. Only FFmpeg's log shows these.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import MutableMapping
from typing import Any, Final

from edge_infer.errors import SourceError
from edge_infer.readers.sources.converter import Retrievable, failure

_VERBOSE: Final = "40"
_SIZE: Final = re.compile(r"Reinit context to (\d+)x(\d+)")
_REFUSAL: Final = re.compile(r"method \w+ failed: (\d{3}) ?\(?([ \w-]{0,40})", re.ASCII)
_STREAMS: Final = (1, 2)
"""OpenCV 5 writes FFmpeg's lines to standard output, version 4 to standard error."""


class DecoderLog:
    """Redirects standard output and error between `open` and `close`; Python's own must be another file."""

    def __init__(self) -> None:
        self._flush = ctypes.CDLL(None).fflush
        self._saved: tuple[int, ...] = ()
        self._pipe = -1
        self._rest = ""
        self._size: str | None = None
        self._changed = False
        self._failure: str | None = None
        self._refusal: tuple[int, str] | None = None

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

    def new_size(self) -> str | None:
        """Return the new size of the stream, ``WIDTHxHEIGHT``, once for each change; None if it has not changed."""
        self._look()
        changed, self._changed = self._changed, False
        return self._size if changed else None

    def refusal(self) -> tuple[int, str] | None:
        """Return the last status with which a camera refused a request, and its words; None without one."""
        self._look()
        return self._refusal

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
            self._refusal = int(code), reason.strip()
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
