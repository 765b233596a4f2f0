"""Interlaced video, which FFmpeg's converter refuses from OpenCV 4.13 on, while OpenCV calls the frame a good one.

``interlaced.mp4`` is ffmpeg's ``testsrc2``, 96 x 64, woven from fields by ``tinterlace`` and encoded so by libx264.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest

from edge_infer.errors import SourceError
from edge_infer.frames.ffmpeg import failure, retrieve_checked
from edge_infer.readers.sources.video import VideoOptions, VideoSource
from tests.broker import eventually
from tests.readers.conftest import RtspCamera, free_port
from tests.readers.rig import Rig, make_plan
from tests.running import ROOT, Daemon, config

CLIP: Final = Path(__file__).with_name("interlaced.mp4")
REFUSES: Final = tuple(map(int, cv2.__version__.split(".")[:2])) >= (4, 13)
SWSCALER: Final = (
    "[swscaler @ 0x559bb1f35400] Cannot convert interlaced to progressive frames or vice versa.\n"
    " (Invalid argument): fmt:yuv420p csp:unknown prim:unknown trc:x -> fmt:bgr24 csp:gbr prim:unknown trc:unknown"
    "\n"
)


def right(pixels: np.ndarray[Any, Any]) -> bool:
    """Whether it is a picture of ``testsrc2``: full of colours, some of them in large areas."""
    small = cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA)
    return bool(pixels.mean() > 60 and np.ptp(small, axis=(0, 1)).min() > 100)


def test_a_clip_is_right_or_refused_with_the_remedy() -> None:
    with VideoSource(VideoOptions(str(CLIP), realtime=False)) as source:
        if REFUSES:
            with pytest.raises(SourceError, match=r"interlaced\.mp4 is interlaced video.*make it progressive"):
                source.read()
        else:
            assert right(source.read().pixels)  # type: ignore[union-attr]


@pytest.mark.skipif(not REFUSES, reason="an OpenCV before 4.13 converts interlaced video")
@pytest.mark.parametrize("level", ["-8", "8", "quiet", "16", "40"])
def test_it_is_refused_whatever_ffmpeg_is_told_to_log(level: str) -> None:
    code = f"from {VideoSource.__module__} import *\nVideoSource(VideoOptions({str(CLIP)!r})).__enter__().read()"
    environment = {**os.environ, "OPENCV_FFMPEG_LOGLEVEL": level}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "is interlaced video" in done.stderr


@pytest.mark.skipif(not REFUSES, reason="an OpenCV before 4.13 converts interlaced video")
def test_no_picture_of_it_is_saved_either(tmp_path: Path) -> None:
    path, picture = tmp_path / "config.yaml", tmp_path / "picture.png"
    path.write_text(config(free_port(), f"{{kind: video, file: {CLIP}}}"))
    command = [sys.executable, "-m", "edge_infer", "cameras", "--grab", "cam", "-o", str(picture), "-c", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "make it progressive" in done.stderr
    assert not picture.exists()


def test_a_stream_is_right_or_refused_with_the_remedy(gstreamer: None, tmp_path: Path) -> None:
    with RtspCamera(str(CLIP)) as camera, Rig(make_plan("rtsp", {"url": camera.url}), tmp_path) as rig:
        if REFUSES:
            assert "is interlaced video" in rig.trouble().text
        else:
            assert right(rig.frame().pixels)


@pytest.mark.skipif(not REFUSES, reason="an OpenCV before 4.13 converts interlaced video")
def test_the_daemon_says_it_once_and_nobody_looks_at_anything(tmp_path: Path) -> None:
    shutil.copyfile(CLIP, tmp_path / "interlaced.mp4")
    with Daemon(tmp_path, config(free_port(), "{kind: video, file: interlaced.mp4, loop: true}")) as daemon:

        def lost() -> bool:
            source = daemon.status().get("sources", {}).get("cam", {})
            return source.get("state") == "lost" and "make it progressive" in source.get("error", "")

        eventually(lost, "the loss with its reason", 60.0)
        assert daemon.status()["pipelines"]["faces"]["produced"] == 0
    said = daemon.log.read_text()
    assert said.count("is interlaced video") == 1
    assert "Cannot convert" not in said


class Chatty:
    """A capture during whose conversion native code writes to the C library's standard error."""

    def __init__(self, text: str) -> None:
        libc = ctypes.CDLL(None)
        self._write = lambda: libc.fputs(text.encode(), ctypes.c_void_p.in_dll(libc, "stderr"))

    def retrieve(self, into: Any = None, /) -> tuple[bool, Any]:
        self._write()
        return True, into


def test_what_another_thread_writes_meanwhile_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    assert retrieve_checked(Chatty("INFO: something else\n"), 1, "x") == (True, 1)
    assert capfd.readouterr().err == "INFO: something else\n"
    with pytest.raises(SourceError, match="x is interlaced video"):
        retrieve_checked(Chatty(SWSCALER), 1, "x")
    assert capfd.readouterr().err == ""
    assert retrieve_checked(Chatty(""), 2, "x") == (True, 2)


def test_of_two_that_convert_at_a_time_only_the_one_that_failed_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    good, refused = 0, 0

    def convert(text: str) -> None:
        nonlocal good, refused
        for _ in range(300):
            try:
                retrieve_checked(Chatty(text), None, "x")
            except SourceError:
                refused += 1
            else:
                good += 1

    threads = [threading.Thread(target=convert, args=(text,)) for text in ("", SWSCALER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (good, refused) == (300, 300)


@pytest.mark.parametrize("text", [
    "",
    "[swscaler @ 0x1] No accelerated colorspace conversion found from yuv420p to bgr24.\n",
    "[swscaler @ 0x1] deprecated pixel format used, make sure you did set range correctly\n",
    "[h264 @ 0x1] error while decoding MB 10 5, bytestream -5\n",
])  # fmt: skip
def test_warnings_of_the_converter_are_no_failures(text: str) -> None:
    assert failure(text) is None


@pytest.mark.parametrize("text", [
    "[swscaler @ 0x1] Slice parameters 0, 288 are invalid\n",
    "[swscaler @ 0x1] bayer_rggb8 is not supported as input pixel format\n",
    "[swscaler @ 0x1] Unsupported input (Not supported): fmt:gbrpf16 csp:x prim:x trc:x -> fmt:bgr24 csp:gbr prim:x\n",
])  # fmt: skip
def test_other_failures_are_told_in_its_words(text: str) -> None:
    assert "cannot convert" in str(failure(text))
