"""Detects whether FFmpeg has converted a picture; OpenCV does not check this.

From OpenCV 4.13 on, FFmpeg's converter refuses some pictures, mostly interlaced ones. OpenCV ignores that error and
returns its buffer as a good frame; the buffer contains unwritten memory or an older picture. The buffer belongs to
OpenCV, so no marker can be written into it before the conversion. The content of the buffer shows nothing either: an
unwritten buffer may be black, and so may a picture. The only sign of the failure is the error that the converter logs.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, Protocol

import cv2

from edge_infer.errors import SourceError
from edge_infer.platform.logs import CHAT

_STREAMS: Final = ("stdout", "stderr")
"""FFmpeg logs to standard error; OpenCV's own log callback writes to standard output."""
_INTERLACED: Final = "Cannot convert interlaced"
_FAILED: Final = re.compile(
    rf"{_INTERLACED}.*|\(.*\): fmt:\S+ .*-> fmt:.*|Failed initializing scaling graph.*"
    "|Slice parameters .* are invalid|Incorrectly aligned output.*|.* is not supported as .*put pixel format"
)
"""Errors of libswscale after which nothing was written. Warnings of libswscale, which are about speed, do not match."""
_MOST_TEXT: Final = 65536
_SILENT: Final = 0
"""OpenCV's log level without any output."""
_ERRORS: Final = 16
"""``AV_LOG_ERROR``."""


def log_errors(environment: MutableMapping[str, str]) -> None:
    """Make FFmpeg log errors, at any configured level. Call this function before OpenCV first uses FFmpeg."""
    try:
        silent = int(environment.get("OPENCV_FFMPEG_LOGLEVEL", _ERRORS)) < _ERRORS
    except ValueError:
        silent = True
    if silent:
        environment["OPENCV_FFMPEG_LOGLEVEL"] = str(_ERRORS)


class Retrievable(Protocol):
    """Interface of an object that has grabbed a picture and converts it."""

    def retrieve(self, into: Any = None, /) -> tuple[bool, Any]:
        """Return whether the picture was converted, and its pixels."""


def failure(text: str) -> str | None:
    """Return the reason why a picture was not converted, from FFmpeg's log, with the remedy.

    Return None if the picture was converted.
    """
    found = _FAILED.search(text)
    if found is None:
        return None
    if _INTERLACED in text:
        return (
            f"is interlaced video, which OpenCV {cv2.__version__} cannot convert: make it progressive"
            " (`ffmpeg -vf bwdif`, see docs/video.md)"
        )
    return f"has pictures that OpenCV {cv2.__version__} cannot convert: {found.group().strip()}"


def retrieve_checked(capture: Retrievable, into: Any, name: str) -> tuple[bool, Any]:
    """Return ``capture.retrieve(into)``; raise `SourceError` about ``name`` if the picture was not converted."""
    with caught() as written:
        answer = capture.retrieve(into)
    text = "".join(written)
    if (reason := failure(text)) is not None:
        raise SourceError(f"{name} {reason}")
    if text:  # the text is from another thread, or unrelated
        os.write(2, text.encode("utf-8", "surrogateescape"))
    return answer


class _NativeStreams:
    """The C library's standard streams, and a pipe that replaces them for a moment.

    Only the stream pointers are replaced. The descriptors stay, so that Python's own output, and the last output of
    native code that aborts, still go to their usual destination.
    """

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a full pipe loses text; writing never waits
        libc.fdopen.restype = ctypes.c_void_p
        self._flush = libc.fflush
        self._flush.argtypes = (ctypes.c_void_p,)
        self._file = libc.fdopen(writing, b"w")
        exchangeable = hasattr(libc, "gnu_get_libc_version")  # other C libraries keep the pointers read-only
        self._pointers = [ctypes.c_void_p.in_dll(libc, name) for name in _STREAMS if exchangeable]
        self._lock = threading.RLock()  # one picture and one thread at a time

    @contextmanager
    def caught(self) -> Iterator[list[str]]:
        """Yield a list that contains the captured output after the block."""
        written: list[str] = []
        with self._lock:
            saved = [pointer.value for pointer in self._pointers]
            for pointer in self._pointers:
                pointer.value = self._file
            try:
                yield written
            finally:
                for pointer, before in zip(self._pointers, saved, strict=True):
                    pointer.value = before
                self._flush(self._file)
                with suppress(BlockingIOError):
                    written.append(os.read(self._reading, _MOST_TEXT).decode("utf-8", "surrogateescape"))


@functools.cache
def _native_streams() -> _NativeStreams:
    """Return the single instance of this process, which has only one set of streams."""
    return _NativeStreams()


def caught() -> AbstractContextManager[list[str]]:
    """Return a context manager.

    The list that it yields holds the output of native code inside the context, which appears nowhere else.
    """
    return _native_streams().caught()


@contextmanager
def silenced() -> Iterator[list[str]]:
    """Do the same as `caught`, and also suppress OpenCV's own log, which does not use the C library's streams."""
    with caught() as written:
        level = _set_log_level(_SILENT)
        try:
            yield written
        finally:
            _set_log_level(level)


def _set_log_level(level: int) -> int:
    """Set OpenCV's own log level and return the previous one; the function has moved in OpenCV 5."""
    move = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    return int(move(level))


# Hides the routine messages that the runtime prints when it loads a model.
#
# Users of one-shot commands wait for a result, not for these messages.


@contextmanager
def without_chatter() -> Iterator[None]:
    """Drop routine runtime messages; use it only for a model that a child process has already tried.

    If this process dies inside the context, its last messages are lost.
    """
    with caught() as written:
        yield
    lines = [line for line in "".join(written).splitlines(keepends=True) if not line.startswith(CHAT)]
    if lines:
        os.write(2, "".join(lines).encode("utf-8", "surrogateescape"))
