"""A video file, played in real time like a camera or read at full speed."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import cv2

from edge_infer.contract.codec import replace
from edge_infer.errors import SourceError
from edge_infer.frames.ffmpeg import caught, log_errors, retrieve_checked, silenced
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Passed, Picture, Wanted, all_wanted, remedy_for
from edge_infer.readers.sources.video_capture import VideoCapture, next_picture

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

USUAL_FPS: Final = 25.0
"""Frame rate for files that define none."""
MOST_LATE: Final = 1.0
"""Seconds by which a slow consumer may lag behind. Beyond that the clock is set back, which ends the skipping of
frames."""
MAX_SKIPPING_SECONDS: Final = 2.0
"""Limit of the time for which frames are skipped in a row. After that the clock is set back too."""
LEAST_GAIN: Final = 0.25
"""Minimum average time that skipping a frame saves, as a share of the frame interval. If it saves less, frames are not
skipped: a clip that decodes about as fast as it plays would lose most of its pictures to win back a little time."""
SMOOTHING: Final = 0.1
"""Weight of the newest frame in the moving averages of the frame interval and of the gain."""
MEASURED_SECONDS: Final = 10.0
"""Seconds of decoding over which the rate of decoding is measured, so that one stall does not count as slow."""
SLOWER: Final = 1.02
"""Ratio of decoding time to playing time from which a clip is reported as slow."""
SLOWEST_FPS: Final = 1 / 86_400
"""Minimum frame rate that a file may state, one frame a day for a time lapse; less counts as none."""
LONGEST_STEP: Final = 3600.0
"""Maximum seconds between the timestamps of two pictures. A larger difference is a jump of damaged timestamps, not a
picture that is shown for so long, unless it agrees with the frame rate of a time lapse."""
LONGEST_PAUSE: Final = 60.0
"""The same maximum with ``realtime``, where the source waits so long for the next picture."""
USUAL_INTERVALS: Final = 4
"""Number of frame intervals, by the file's frame rate, that a step may always take."""
LONGEST_CLIP: Final = 1e7
"""Limit of a clip's length in seconds; a longer one is taken as unknown."""
_PTS: Final[int] = getattr(cv2, "CAP_PROP_PTS", -1)
"""Property with the timestamp of a picture in frames; a clip may begin later than 0. OpenCV before 4.11 lacks it."""
MAX_DAMAGED: Final = 100
"""Failed attempts in a row after which a clip counts as ended; each attempt skips some damaged data."""
MISSING_SECONDS: Final = 1.0
MISSING_SHARE: Final = 0.05
"""A clip counts as cut off if it ends before its stated length by more than both of these limits. The number of frames
shows nothing: it is an estimate for variable frame rates, and damage may have removed some."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """``realtime`` plays at the file's frame rate and skips like a live source; otherwise no frame is dropped."""

    file: str
    loop: bool = False
    realtime: bool = True


def open_file(path: str) -> VideoCapture:
    """Return OpenCV's capture of a file."""
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG)


class VideoSource(Closing):
    """Frames of one clip, from the start after each opening."""

    gives: ClassVar[Gives] = "image"
    lasting: ClassVar[bool] = True
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = False
    network: bool = False
    Options = VideoOptions

    def __init__(self, options: VideoOptions, factory: Callable[[str], VideoCapture] = open_file) -> None:
        self.lossless = not options.realtime
        self._options = options
        self._factory = factory
        self.wanted: Wanted = all_wanted
        self._closed = threading.Event()
        self._capture: VideoCapture | None = None
        self._read = self._damaged = 0
        self._position = self._begin = 0.0
        self._shown: float | None = None
        self._grabbed = False
        self._fps = USUAL_FPS
        self._start = self._elapsed = 0.0
        self._step = 0.0
        """Seconds from one frame to the next, on average."""
        self._gain = 0.0
        """Seconds that skipping a frame gains on average: the frame interval, minus the time for decoding."""
        self._decoded, self._decoding, self._playing = 0, 0.0, 0.0
        self._told: set[str] = set()
        self.odd = ""
        self._failed = False
        """Whether the last attempt gave no picture; FFmpeg's own log lines about it have then been logged already."""

    def __enter__(self) -> Self:
        log_errors(os.environ)
        self._closed.clear()
        self._rewind()
        return self

    def read(self) -> Picture | Passed | None:
        """Return the next frame (with ``realtime``, the newest that is due); None after the last frame."""
        picture = self._next()
        if picture is None and self._options.loop and self._read > 0 and not self._closed.is_set():
            self._tell_end()
            if not self._hold_last():
                return None
            self._rewind()
            picture = self._next()
        if picture is None and not self._closed.is_set():
            if self._read == 0:
                self._failed = True
                raise SourceError(f"{self._options.file} {self._unreadable()}")
            self._tell_end()
        return picture

    def check(self) -> None:
        """Set ``odd`` if the file is empty. A closer check would decode an untrusted file."""
        with suppress(OSError):
            self.odd = "" if Path(self._options.file).stat().st_size else f"{self._options.file} is empty"

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._closed.set()
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _hold_last(self) -> bool:
        """Wait for the duration of the last picture; return False if closed in the meantime."""
        if not self._options.realtime:
            return True
        rest = self._start + self._elapsed + 1 / self._fps - time.monotonic()
        return not self._closed.wait(max(0.0, rest))

    def _rewind(self) -> None:
        """Reopen the file, because seeking to its start fails with some formats."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        path = Path(self._options.file)
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise SourceError(f"the video {path} cannot be opened: {error.strerror}{remedy_for(error)}") from error
        with silenced() if self._failed else nullcontext():
            capture = self._factory(str(path.absolute()))  # FFmpeg mistakes some relative names for protocols
        if not capture.isOpened():
            capture.release()
            self._failed = True
            raise SourceError(f"{path} is not a readable video; it is truncated, damaged or in an unsupported format")
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if SLOWEST_FPS <= fps <= 1000 else USUAL_FPS
        self._capture, self._read, self._damaged = capture, 0, 0
        self._shown, self._elapsed = None, 0.0

    def _next(self) -> Picture | Passed | None:
        if self._capture is None:
            return None
        quietly = not self._read and (self._failed or self._is_av1())
        picture = self._past_damage(self._attempt_quietly if quietly else self._attempt)
        self._read += picture is not None
        self._failed &= picture is None
        if not isinstance(picture, Picture) or self._options.realtime:
            return picture
        return replace(picture, position=self._position)

    def _attempt(self, capture: VideoCapture) -> Picture | Passed | None:
        return next_picture(capture, wanted=self.wanted, grab=self._grab, retrieve=self._retrieve)

    def _attempt_quietly(self, capture: VideoCapture) -> Picture | Passed | None:
        """Read the first picture of a clip that is probably unreadable; if that fails, suppress FFmpeg's log lines.

        The error of this source is sufficient. FFmpeg's lines would flood the log, because a failed source is reopened
        repeatedly.
        """
        with caught() as written:
            found = self._attempt(capture)
        if found is not None:
            os.write(2, "".join(written).encode("utf-8", "surrogateescape"))
        return found

    def _grab(self, capture: VideoCapture) -> bool:
        """Grab the next picture; return False if closed in the meantime, or at the end of the file.

        With ``realtime``, skip pictures that are more than a frame interval late, and wait until the next one is due.
        Skipped pictures are decoded too. While decoding takes about as long as playing, or longer, skipping would
        hardly catch up and would leave few pictures, so none is skipped. The first picture is always returned.
        """
        begin = time.monotonic()
        while self._grab_one(capture):
            if not self._options.realtime:
                return True
            now = time.monotonic()
            if not self._read:
                self._start = now
            late = now - self._start - self._elapsed
            if late > MOST_LATE or (late > 0 and now - begin > MAX_SKIPPING_SECONDS):
                self._start, late = self._start + late, 0.0
            if late <= 1 / self._fps or self._gain <= LEAST_GAIN * self._step:
                return not self._closed.wait(max(0.0, -late))
            self._read += 1
        return False

    def _grab_one(self, capture: VideoCapture) -> bool:
        """Grab and decode one picture, and measure how long that takes; return False if there is none."""
        begin = time.monotonic()
        if not capture.grab():
            return False
        took = time.monotonic() - begin
        if step := self._advance(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000):  # the first one includes the opening
            self._step += SMOOTHING * (step - self._step)
            self._gain += SMOOTHING * (step - took - self._gain)
            self._measure(took, step)
        return True

    def _measure(self, took: float, step: float) -> None:
        """Log a warning if decoding has been slower than the clip for some time."""
        self._decoded += 1
        self._decoding += took
        self._playing += step
        if self._decoding < MEASURED_SECONDS:
            return
        if self._options.realtime and self._decoding > SLOWER * self._playing:
            self._warn_once(
                "%s decodes at %.3g fps, its rate is %.3g fps; it plays slower than in real time (make it smaller:"
                " `ffmpeg -vf scale=640:-2`, see docs/video.md)",
                self._options.file,
                self._decoded / self._decoding,
                self._decoded / self._playing,
            )
        self._decoded, self._decoding, self._playing = 0, 0.0, 0.0

    def _advance(self, shown: float) -> float:
        """Advance the clip's time to the grabbed picture; return the seconds, 0 for the first picture of the clip.

        Without usable timestamps, the step is one frame interval. OpenCV states 0 for a picture without a timestamp, as
        MPEG program streams have between others. The next timestamp then counts from the time that was assumed.
        """
        step = 1 / self._fps
        if self._shown is not None and shown == 0:
            shown = self._shown + step
        elif self._shown is not None and shown > self._shown:
            step = self._plausible(shown - self._shown, self._shown)
        if self._grabbed:
            self._position += step
        if self._shown is None:
            step = 0.0
        self._elapsed += step
        self._shown, self._grabbed = shown, True
        return step

    def _plausible(self, step: float, at: float) -> float:
        """Return the seconds from one timestamp to the next; one frame interval, and a log line, if they jump."""
        usual = 1 / self._fps
        longest = max(LONGEST_PAUSE if self._options.realtime else LONGEST_STEP, USUAL_INTERVALS * usual)
        if step <= longest:
            return step
        self._warn_once(
            "%s: the time from one picture to the next jumps by %.1f s at %.1f s; the source counts it as %.3g s (the "
            "limit is %.0f s, see docs/video.md)",
            self._options.file,
            step,
            at,
            usual,
            longest,
        )
        return usual

    def _retrieve(self, capture: VideoCapture, into: Any) -> tuple[bool, Any]:
        return retrieve_checked(capture, into, self._options.file)

    def _past_damage(self, attempt: Callable[[VideoCapture], Picture | Passed | None]) -> Picture | Passed | None:
        """Return the first successful result of repeated attempts; None at the end of the clip."""
        assert self._capture is not None
        for number in range(MAX_DAMAGED if self._read else 1):
            if self._closed.is_set():
                break
            found = attempt(self._capture)
            if found is not None:
                self._damaged += number > 0
                if not self._read:
                    self._begin = max(0.0, self._capture.get(_PTS) / self._fps)
                return found
        return None

    def _unreadable(self) -> str:
        """Return why no frame could be read."""
        if self._is_av1():
            return (
                f"is AV1 video, for which OpenCV {cv2.__version__} has no decoder: convert it to H.264"
                " (`ffmpeg -c:v libx264`, see docs/video.md)"
            )
        return "contains no readable frame; it is truncated, damaged or not a video"

    def _is_av1(self) -> bool:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) if self._capture is not None else 0
        return code.to_bytes(4, "little", signed=code < 0).upper() == b"AV01"

    def _is_mp4(self) -> bool:
        with suppress(OSError), Path(self._options.file).open("rb") as file:
            return file.read(8)[4:] == b"ftyp"
        return False

    def _warn_once(self, text: str, *facts: object) -> None:
        """Log a warning once for the file, which a loop reads many times."""
        if text not in self._told:
            self._told.add(text)
            log.warning(text, *facts)

    def _tell_end(self) -> None:
        """Log a warning if the file was cut off or damaged.

        No error shows this: a file that was cut off just ends early, and reading continues past damage. A clip may
        begin later than 0; the length that Matroska states is then the time of the clip's end. The length stated by an
        MP4 file includes frames that its edit list removes, so it does not show a cut. OpenCV's timestamps may fall
        back within a whole clip, so the sum of the steps counts too.
        """
        if self._capture is None:
            return
        if self._damaged:
            self._warn_once(
                "%s is damaged in %d place(s); the reader used the rest of it", self._options.file, self._damaged
            )
        if self._is_mp4():
            return
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) / self._fps
        read = self._begin + max(self._elapsed, self._shown or 0.0) + 1 / self._fps
        if max(MISSING_SECONDS, MISSING_SHARE * promised) < promised - read and promised < LONGEST_CLIP:
            text = "%s ends after %.1f of %.1f s; it seems to be truncated"
            self._warn_once(text, self._options.file, read, promised)
