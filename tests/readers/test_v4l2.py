"""V4L2 cameras: a fake capture for what they do, a fake kernel for what they say they can."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import cv2
import pytest

from edge_infer.errors import SourceError
from edge_infer.readers.devices import Mode, capture_devices
from edge_infer.readers.fake import Act, FakeCapture
from edge_infer.readers.frame_slots import is_black, same
from edge_infer.readers.sources.v4l2 import V4l2Options, V4l2Source


def source(*script: Act, opens: bool = True, **options: object) -> tuple[V4l2Source, FakeCapture]:
    fake = FakeCapture(script, opens=opens)
    return V4l2Source(V4l2Options("/dev/video9", **options), factory=lambda _: fake), fake  # type: ignore[arg-type]


def test_frames_same_frames_and_black_ones() -> None:
    camera, _ = source("frame", "frame", "same", "black")
    with camera:
        one, two, again, dark = [picture.pixels.copy() for _ in range(4) if (picture := camera.read()) is not None]
    assert not same(one, two)
    assert same(two, again)
    assert is_black(dark)
    assert not is_black(two)


@pytest.mark.parametrize("act", ["fail", "unplug"])
def test_a_camera_that_is_gone_says_so(act: Act) -> None:
    camera, _ = source("frame", act)
    with camera:
        camera.read()
        with pytest.raises(SourceError, match="/dev/video9 delivers no frames: unplugged"):
            camera.read()


def test_a_camera_that_is_busy_says_so() -> None:
    camera, _ = source("frame", opens=False)
    with pytest.raises(SourceError, match="another program uses it"):
        camera.__enter__()


def test_the_format_is_set_before_size_and_rate() -> None:
    camera, fake = source("frame", width=640, height=480, format="MJPG", fps=15.0)
    with camera:
        assert list(fake.settings) == [
            cv2.CAP_PROP_FOURCC,
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_BUFFERSIZE,
        ]
        assert fake.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")


def test_a_hanging_camera_hangs_until_it_is_released() -> None:
    camera, fake = source("hang")
    with camera:
        threading.Timer(0.1, fake.release).start()
        with pytest.raises(SourceError):
            camera.read()
    camera.close()


def test_a_device_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist: no camera is plugged in"):
        V4l2Source(V4l2Options(str(tmp_path / "video0"))).__enter__()
    (tmp_path / "video1").write_text("no camera")
    with pytest.raises(SourceError, match="cannot be opened as a camera"):
        V4l2Source(V4l2Options(str(tmp_path / "video1"))).__enter__()


def test_a_format_has_four_letters() -> None:
    with pytest.raises(ValueError, match="four characters"):
        V4l2Options("/dev/video0", format="MJPEG")


class Kernel:
    """Answers V4L2's questions: ``video0`` captures, ``video1`` only has metadata, ``video2`` fails."""

    def __call__(self, fd: int, request: int, data: bytearray) -> object:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        number = request & 0xFF
        if name == "video2":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if number == 0:
            caps = 0x1 if name == "video0" else 0x800000
            struct.pack_into("@16s32s32sIII", data, 0, b"uvcvideo", b"A Camera", b"usb-1.2", 6, 0x80000001, caps)
            return 0
        index = struct.unpack_from("@I", data)[0]
        if number == 2 and index < 2:
            struct.pack_into("@4s", data, 44, (b"MJPG", b"YUYV")[index])
        elif number == 74:
            self._size(data, index)
        elif number == 75 and index < 2:
            struct.pack_into("@III", data, 16, 1, 1, (30, 15)[index])
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return 0

    def _size(self, data: bytearray, index: int) -> None:
        if index > 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if bytes(data[4:8]) == b"MJPG":
            struct.pack_into("@III", data, 8, 1, 640, 480)
        else:
            struct.pack_into("@I6I", data, 8, 3, 32, 1920, 2, 24, 1080, 2)


def test_devices_and_their_modes_are_listed(tmp_path: Path) -> None:
    for name in ("video0", "video1", "video2", "video10", "videonotes"):
        (tmp_path / name).write_text("")
    (tmp_path / "video10").unlink()
    first, broken = capture_devices(tmp_path, Kernel())
    assert (first.name, first.bus) == ("A Camera", "usb-1.2")
    assert first.modes == (Mode("MJPG", "640x480", (30.0, 15.0)), Mode("YUYV", "32x24 to 1920x1080"))
    assert str(first.modes[0]) == "MJPG 640x480 at 30, 15 fps"
    assert broken.problem.startswith("does not answer as a camera")


def test_a_file_that_is_no_device_is_told(tmp_path: Path) -> None:
    (tmp_path / "video0").write_text("")
    (device,) = capture_devices(tmp_path)
    assert "does not answer as a camera" in device.problem
    assert capture_devices(tmp_path / "none") == []
