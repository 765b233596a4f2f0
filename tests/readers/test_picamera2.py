"""The picamera2 of Raspberry Pi OS, with a stand-in for the module: there is none elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_infer.errors import SourceError
from edge_infer.readers.sources.picamera2 import Picamera2Options, Picamera2Source, import_picamera2


class Camera:
    """Remembers what it was asked for."""

    made: list[Camera]
    fails: str = ""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[tuple[str, Any]] = []
        self.made.append(self)

    @staticmethod
    def global_camera_info() -> list[dict[str, int]]:
        return [{"Num": 0}, {"Num": 1}]

    def create_video_configuration(self, **wanted: Any) -> dict[str, Any]:
        return wanted

    def configure(self, wanted: dict[str, Any]) -> None:
        self.calls.append(("configure", wanted))

    def start(self) -> None:
        self._do("start")

    def capture_array(self, name: str) -> Any:
        self._do("capture")
        return np.full((48, 64, 3), 7, np.uint8)

    def close(self) -> None:
        self.calls.append(("close", None))

    def _do(self, what: str) -> None:
        if self.fails == what:
            raise RuntimeError("Camera in Running state")
        self.calls.append((what, None))


def source(fails: str = "", **options: Any) -> tuple[Picamera2Source, type[Camera]]:
    kind = type("Picamera2", (Camera,), {"made": [], "fails": fails})
    return Picamera2Source(Picamera2Options(**options), lambda: SimpleNamespace(Picamera2=kind)), kind


def test_frames_of_the_camera_that_was_asked_for() -> None:
    opened, kind = source(camera=1, width=64, height=48, fps=5.0)
    with opened:
        picture = opened.read()
    assert picture is not None
    assert (picture.pixels.shape, picture.color) == ((48, 64, 3), "bgr")
    (camera,) = kind.made
    assert camera.number == 1
    assert [name for name, _ in camera.calls] == ["configure", "start", "capture", "close"]
    assert camera.calls[0][1]["main"] == {"size": (64, 48), "format": "RGB888"}
    assert camera.calls[0][1]["controls"] == {"FrameRate": 5.0}


@pytest.mark.parametrize(
    ("fails", "word"), [("start", "camera 0 does not start: Camera in Running"), ("capture", "delivers no")]
)
def test_a_camera_that_fails_says_so_and_is_let_go(fails: str, word: str) -> None:
    opened, kind = source(fails)
    with pytest.raises(SourceError, match=word), opened:
        opened.read()
    assert kind.made[0].calls[-1] == ("close", None)
    opened.close()


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="there is no camera 2: libcamera finds 2; check the ribbon cable"):
        source(camera=2)[0].__enter__()


def test_without_the_module_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match=r"sudo apt install python3-picamera2.*--system-site-packages"):
        import_picamera2()
