"""Sensors of the kernel's industrial I/O, as a folder laid out like theirs."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples
from edge_infer.readers.sources.iio import IioOptions, IioSource
from tests.readers.rig import StreamRig, make_plan, until


def add(root: Path, folder: str, **files: object) -> Path:
    device = root / folder
    device.mkdir(parents=True)
    for name, value in files.items():
        (device / name).write_text(f"{value}\n")
    return device


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "devices"
    add(
        folder,
        "iio:device0",
        name="adxl345",
        in_accel_x_raw=100,
        in_accel_y_raw=-50,
        in_accel_z_raw=7,
        in_accel_scale=0.01,
        in_accel_z_scale=2,
        in_accel_z_offset=-3,
        sampling_frequency=100,
    )
    add(
        folder,
        "iio:device1",
        name="imu",
        in_accel_x_raw=1,
        in_anglvel_x_raw=2,
        in_temp_input=21500,
        in_voltage0_raw=10,
        in_voltage_scale=0.5,
    )
    (folder / "trigger0").mkdir()
    return folder


def source(root: Path, device: str, *channels: str, rate: float = 200.0) -> IioSource:
    return IioSource(IioOptions(device, channels, rate, str(root)))


def test_offset_and_scale_are_applied(root: Path) -> None:
    with source(root, "adxl345", "x", "y", "accel_z") as opened:
        block = opened.read()
    assert block is not None
    assert block.values.shape == (20, 3)
    assert block.values[0].tolist() == pytest.approx([1.0, -0.5, 8.0])
    assert block.rate == 200.0


def test_the_folder_names_it_too_and_inputs_are_taken_as_they_are(root: Path) -> None:
    with source(root, "iio:device1", "temp", "voltage0") as opened:
        block = opened.read()
    assert block is not None
    assert block.values[0].tolist() == [21500.0, 5.0]


@pytest.mark.parametrize(
    ("device", "channel", "word"),
    [
        ("bme280", "x", r"there is no sensor bme280 under .*; known: adxl345, imu"),
        ("imu", "x", "imu: accel_x and anglvel_x end in x; its channels are accel_x, anglvel_x, temp, voltage0"),
        ("adxl345", "pressure", "adxl345: it has no channel pressure; its channels are accel_x, accel_y, accel_z"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(root: Path, device: str, channel: str, word: str) -> None:
    with pytest.raises(SourceError, match=word):
        source(root, device, channel).__enter__()


def test_two_of_one_name_are_told_apart_by_their_folders(root: Path) -> None:
    add(root, "iio:device2", name="imu", in_accel_x_raw=1)
    with pytest.raises(SourceError, match="set device to one of iio:device1 and iio:device2"):
        source(root, "imu", "accel_x").__enter__()


def test_a_sensor_without_sensors_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="known: none"):
        source(tmp_path / "nothing", "imu", "x").__enter__()


def test_samples_that_there_was_no_time_for_are_counted_and_a_gap(root: Path) -> None:
    with source(root, "adxl345", "x", rate=100.0) as opened:
        assert opened.read() is not None
        time.sleep(0.5)
        block = opened.read()
        assert block is not None
        assert block.gap
        assert opened.faults.count >= 30
        until(lambda: True if (block := opened.read()) is not None and not block.gap else None, "a block without a gap")


def test_a_slow_one_lets_go_at_once(root: Path) -> None:
    with source(root, "adxl345", "x", rate=0.001) as opened:
        assert opened.patience == 1000.0
        assert opened.read() is not None
        threading.Timer(0.1, opened.interrupt).start()
        assert opened.read() is None


def test_nonsense_of_the_sensor_is_told(root: Path) -> None:
    with source(root, "adxl345", "x") as opened:
        (root / "iio:device0" / "in_accel_x_raw").write_text("broken\n")
        with pytest.raises(SourceError, match="adxl345 returned a value that is not a number"):
            opened.read()


def test_a_sensor_that_vanishes_and_comes_back(root: Path, tmp_path: Path) -> None:
    plan = make_plan("iio", {"device": "adxl345", "channels": ["x"], "rate": 50.0, "root": str(root)})
    with StreamRig(plan, tmp_path) as rig:
        assert rig.rows(5)[0] == [1.0]
        shutil.move(root / "iio:device0", tmp_path / "away")
        assert "adxl345" in rig.error("there is no sensor")
        shutil.move(tmp_path / "away", root / "iio:device0")
        while (item := rig.feed.next(rig.cursor, 0.0)) is not None:
            assert isinstance(item, Samples)
        taken = rig.take()
        assert isinstance(taken, Samples)
        assert (taken.gap, taken.values[0].tolist()) == (True, [1.0])
