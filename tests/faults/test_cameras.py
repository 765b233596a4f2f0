"""The short form of ``scripts/faults cameras``: every fault once; that it is told and passes counts, not how soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cameras import every_kind, felt, frozen, hung, killed, serving
from tests.readers.conftest import CameraProcess


@pytest.mark.parametrize("fault", [hung, killed, frozen])
@pytest.mark.parametrize("number", [1, 2], ids=["stream", "snapshots"])
def test_an_http_camera_that_fails_is_told_and_comes_back(
    number: int, fault: Callable[[CameraProcess], Callable[[], None]], tmp_path: Path
) -> None:
    name, camera, source = every_kind()[number]
    with serving(camera, source, tmp_path / "place") as subscriber:
        gone, back = felt(name, camera, fault, subscriber, 1)
    assert (len(gone.seconds), len(back.seconds)) == (1, 1)


@pytest.mark.usefixtures("gstreamer")
def test_an_rtsp_camera_that_hangs_is_told_and_comes_back(tmp_path: Path) -> None:
    name, camera, source = every_kind()[0]
    with serving(camera, source, tmp_path / "place") as subscriber:
        gone, back = felt(name, camera, hung, subscriber, 1)
    assert (len(gone.seconds), len(back.seconds)) == (1, 1)
