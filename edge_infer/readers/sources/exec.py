"""Raw frames from the standard output of a command: CSI cameras, GStreamer, or any program that prints pictures."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import cv2
import numpy as np

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Pixels
from edge_infer.plan.records import Gives
from edge_infer.platform.child_process import unexpected_death
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import PASSED, Passed, Picture, Place, Wanted, all_wanted, no_place

if TYPE_CHECKING:
    from typing_extensions import Self

SILENCE: Final = 7.0
"""Seconds without a complete frame after which the command is restarted."""
LAST_WORDS: Final = 400
"""Maximum number of characters of the command's standard error in messages to the operator."""
_PIPE: Final = 1 << 20
_LAUNCH: Final = Path(__file__).parents[1] / "launch.py"
Layout = Literal["rgb24", "bgr24", "gray", "yuv420", "nv12"]


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """``format`` is FFmpeg's name of the pixel format. Every frame has exactly ``width`` x ``height`` pixels."""

    command: tuple[str, ...]
    width: int
    height: int
    format: Layout = "rgb24"
    network: bool = False

    def __post_init__(self) -> None:
        if not self.command:
            raise ValueError("command is empty; expected a list such as [rpicam-vid, -t, 0, …]")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"invalid size {self.width}x{self.height}; expected for example 640x480")
        if self.format in ("yuv420", "nv12") and (self.width % 2 or self.height % 2):
            raise ValueError(f"size {self.width}x{self.height} must be even for format {self.format}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the bytes of one frame."""
        if self.format in ("rgb24", "bgr24"):
            return (self.height, self.width, 3)
        return (self.height * 3 // 2 if self.format in ("yuv420", "nv12") else self.height, self.width)


class ExecSource(Closing):
    """Frames that a child process writes. The child is killed when the source closes, and when the reader dies."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    Options = ExecOptions

    def __init__(self, options: ExecOptions) -> None:
        self.network = options.network
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._raw = np.zeros(options.shape, np.uint8)
        self._pixels = np.zeros((options.height, options.width, 3), np.uint8)
        self.place: Place = no_place
        self.wanted: Wanted = all_wanted
        self._words = ""

    def __enter__(self) -> Self:
        name = self._options.command[0]
        if shutil.which(name) is None:
            why = ", or this user may not access it" if "/" in name else "; install it or give its whole path"
            raise SourceError(f"the command {name} does not exist{why}")
        self._words = ""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *self._options.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with contextlib.suppress(OSError):  # the user's limit for pipes is reached; the default size works too
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)  # fewer reads for each frame
        os.set_blocking(self._process.stdout.fileno(), False)
        os.set_blocking(self._process.stderr.fileno(), False)
        return self

    def read(self) -> Picture | Passed | None:
        """Return the next complete frame. Raises `SourceError` if the command ends, with any exit code, or hangs."""
        self._fill()
        wall, monotonic = time.time(), time.monotonic()
        if not self.wanted(monotonic):
            return PASSED
        return Picture(self._convert(), _COLORS.get(self._options.format, "bgr"), wall, monotonic)

    def close(self) -> None:
        """Kill the process group of the command; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:  # not yet reaped, so the process id is still valid
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def _fill(self) -> None:
        """Read the bytes of one frame and, at the same time, the command's standard error."""
        process = self._process
        if process is None or process.stdout is None or process.stderr is None:
            raise SourceError("the command is not running")
        output, errors = process.stdout.fileno(), process.stderr.fileno()
        left = self._raw.data.cast("B")
        watched, deadline = [output, errors], time.monotonic() + SILENCE
        while left:
            ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
            if errors in ready and not self._listen(errors):
                watched.remove(errors)
            if output in ready:
                size = os.readv(output, [left])
                if size == 0:
                    raise SourceError(self._obituary(process, len(left)))
                left = left[size:]
            if time.monotonic() >= deadline:
                got = self._raw.size - len(left)
                raise SourceError(self._said(f"wrote {got} of a frame's {self._raw.size} bytes in {SILENCE:g} s"))

    def _listen(self, errors: int) -> bool:
        try:
            data = os.read(errors, 65536)
        except BlockingIOError:
            return True
        self._words = (self._words + data.decode("utf-8", "replace"))[-4 * LAST_WORDS :]
        return bool(data)

    def _obituary(self, process: subprocess.Popen[bytes], missing: int) -> str:
        assert process.stderr is not None
        deadline = time.monotonic() + 1.0
        while (left := deadline - time.monotonic()) > 0 and select.select([process.stderr], [], [], left)[0]:
            if not self._listen(process.stderr.fileno()):
                break
        try:
            status = process.wait(1.0)
        except subprocess.TimeoutExpired:
            return self._said("closed its output")
        part = f" in the middle of a frame (is the size {self._options.width}x{self._options.height} right?)"
        return self._said(unexpected_death(status) + (part if missing < self._raw.size else ""))

    def _said(self, text: str) -> str:
        words = " / ".join(line.strip() for line in self._words.splitlines() if line.strip())[-LAST_WORDS:]
        return f"the command {self._options.command[0]} {text}" + (f"; it said: {words}" if words else "")

    def _convert(self) -> Pixels:
        code = _CONVERSIONS.get(self._options.format)
        if code is None:
            return self._raw
        place = self.place()
        into = self._pixels if place is None or place.shape != self._pixels.shape else place
        cv2.cvtColor(self._raw, code, dst=into)
        return into


_COLORS: Final[dict[str, Literal["rgb", "gray"]]] = {"rgb24": "rgb", "gray": "gray"}
_CONVERSIONS: Final = {"yuv420": cv2.COLOR_YUV2BGR_I420, "nv12": cv2.COLOR_YUV2BGR_NV12}
