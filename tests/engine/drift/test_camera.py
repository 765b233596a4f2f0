"""A camera that was learned: what happens to it is named rightly and in time, and its usual days raise nothing."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.packed import unpack_appearance
from edge_infer.engine.drift.picture import picture_signals
from edge_infer.frames.frame import Pixels
from edge_infer.ipc.drift import CameraReference
from tests.engine.drift.scenes import HEIGHT, WIDTH, YEAR, frame, learned, run


@pytest.fixture(scope="module")
def reference() -> CameraReference:
    """What was learned of the scene."""
    return learned().kept()


@pytest.fixture
def watch(reference: CameraReference) -> CameraWatch:
    """A watch that has seen six usual minutes."""
    watch = CameraWatch("basis", YEAR, reference)
    assert run(watch, 360, frame, 1e6 - 360) is None
    return watch


def _covered(number: int) -> Pixels:
    return np.clip(np.random.default_rng(number).normal(20, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def _defocused(number: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(frame(number), (0, 0), 3), np.uint8)


def _slightly_defocused(number: int) -> Pixels:
    """Half an octave less of fine details."""
    pixels = frame(number)
    return np.asarray(cv2.addWeighted(pixels, 0.4, cv2.GaussianBlur(pixels, (0, 0), 0.6), 0.6, 0), np.uint8)


def _turned(number: int) -> Pixels:
    return np.asarray(cv2.resize(np.ascontiguousarray(np.rot90(frame(number))), (WIDTH, HEIGHT)), np.uint8)


def _dark(number: int) -> Pixels:
    return (frame(number) * 0.12).astype(np.uint8)


def _veiled(number: int) -> Pixels:
    """A web over the left half: what lies behind it is paler and blurred."""
    pixels = frame(number).astype(np.float32)
    behind = pixels[:, : WIDTH // 2]
    pixels[:, : WIDTH // 2] = 0.3 * behind + 0.7 * (cv2.GaussianBlur(behind, (0, 0), 4) * 0.5 + 80)
    return pixels.astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "picture", "within"),
    [
        ("covered", _covered, 10),
        ("dark", _dark, 10),
        ("defocused", _defocused, 60),
        ("moved", lambda number: frame(number, right=24), 60),
        ("veiled", _veiled, 600),
    ],
)
def test_a_fault_is_named_in_time(watch: CameraWatch, kind: str, picture: Callable[[int], Pixels], within: int) -> None:
    after = run(watch, within + 1, picture)
    assert watch.raised is not None, watch.signals()
    assert (watch.raised.kind, after is not None) == (kind, True)


@pytest.mark.parametrize(("right", "down"), [(16, 0), (-30, 0), (40, 20), (0, -24)])
def test_a_moved_camera_is_told_with_its_shift(watch: CameraWatch, right: int, down: int) -> None:
    run(watch, 60, lambda number: frame(number, right=right, down=down))
    assert watch.raised is not None
    assert watch.raised.kind == "moved"
    assert watch.shift == pytest.approx((right / WIDTH, down / HEIGHT), abs=0.02)


@pytest.mark.parametrize("angle", [3, -4])
def test_a_camera_that_is_turned_around_its_axis_is_not_veiled(watch: CameraWatch, angle: int) -> None:
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, 1.0)

    def turned(number: int) -> Pixels:
        pixels = frame(number)
        return np.asarray(cv2.warpAffine(pixels, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.uint8)

    assert run(watch, 400, turned) is not None
    assert watch.raised is not None
    assert watch.raised.kind == "changed"


def test_a_camera_that_is_turned_away_has_another_view(watch: CameraWatch) -> None:
    run(watch, 300, _turned)
    assert watch.raised is not None
    assert watch.raised.kind == "changed"
    assert watch.shift is None


def test_days_and_nights_as_learned_raise_nothing(watch: CameraWatch) -> None:
    days = [picture_signals(frame(number)) for number in range(50, 80)]
    nights = [picture_signals(frame(number, night=True)) for number in range(50, 80)]
    draw = np.random.default_rng(3)
    for step in range(3 * 24 * 360):  # three days, one look every ten seconds, with a sudden switch twice a day
        dark = step % (24 * 360) > 12 * 360
        watch.see(1e6 + 10 * step, (nights if dark else days)[draw.integers(30)])
        assert watch.raised is None, (step, watch.signals())


def test_somebody_who_passes_close_by_is_no_drift(watch: CameraWatch) -> None:
    signals = [picture_signals(frame(number)) for number in range(20)]
    hand = picture_signals(_covered(1))
    for second in range(120):
        watch.see(1e6 + second, hand if second % 10 < 2 else signals[second % 20])
        assert watch.raised is None


def test_a_vehicle_that_stops_now_and_then_is_no_other_view(watch: CameraWatch) -> None:
    signals = [picture_signals(frame(number)) for number in range(20)]
    lorry = [picture_signals(_turned(number)) for number in range(20)]
    for second in range(2000):
        stands = second % 400 < 60
        watch.see(1e6 + second, (lorry if stands else signals)[second % 20])
        assert watch.raised is None, second


def test_a_slow_source_needs_as_many_pictures_as_a_fast_one(reference: CameraReference) -> None:
    watch = CameraWatch("basis", YEAR, reference)
    usual = [picture_signals(frame(number)) for number in range(20)]
    moved = picture_signals(frame(3, right=40))
    for look in range(200):  # one every 30 s; now and then four times the same odd one
        watch.see(1e6 + 30 * look, moved if look % 50 < 4 else usual[look % 20])
        assert watch.raised is None, look
    for look in range(200, 210):
        watch.see(1e6 + 30 * look, moved)
    assert watch.raised is not None
    assert watch.raised.kind == "moved"


def test_a_slight_defocus_takes_five_minutes(reference: CameraReference) -> None:
    watch = CameraWatch("basis", YEAR, reference)
    after = run(watch, 600, _slightly_defocused)
    assert watch.raised is not None
    assert watch.raised.kind == "defocused"
    assert after is not None
    assert after > 240


def test_a_clock_that_goes_back_does_not_stop_the_watch(watch: CameraWatch) -> None:
    assert watch.due(10.0)
    watch.see(10.0, picture_signals(frame(1)))
    assert not watch.due(10.5)
    assert watch.due(3.0)


def test_a_picture_every_ten_minutes_is_learned_as_well() -> None:
    signals = [picture_signals(frame(number)) for number in range(10)]
    watch = CameraWatch("basis", YEAR, CameraReference("basis"))
    for step in range(6000):
        watch.see(600.0 * step, signals[step % 10])
    assert watch.learned == 1.0


def test_a_drift_ends_a_minute_after_its_cause(watch: CameraWatch) -> None:
    run(watch, 60, _defocused)
    signals, ended = [picture_signals(frame(number)) for number in range(20)], None
    for second in range(200):
        watch.see(1e6 + 100 + second, signals[second % 20])
        ended = second if ended is None and watch.raised is None else ended
    assert ended is not None
    assert 60 <= ended <= 80
    assert watch.raised is None


@pytest.mark.parametrize("picture", [_covered, _defocused, lambda number: frame(number, right=20)])
def test_a_repaired_camera_has_no_second_drift(watch: CameraWatch, picture: Callable[[int], Pixels]) -> None:
    """For some minutes the slow signals still hold pictures of the fault."""
    faulty, usual = ([picture_signals(each(number)) for number in range(20)] for each in (picture, frame))
    for second in range(900):
        watch.see(1e6 + second, faulty[second % 20])
    assert watch.raised is not None
    raised = []
    for second in range(900, 1900):
        watch.see(1e6 + second, usual[second % 20])
        raised.append(watch.raised is not None)
    ended = raised.index(False)
    assert 60 <= ended <= 80
    assert not any(raised[ended:])


def _rotated(number: int) -> Pixels:
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), -4, 1.0)
    return np.asarray(cv2.warpAffine(frame(number), turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.uint8)


def _turned_and_softer(number: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(_turned(number), (0, 0), 2), np.uint8)


@pytest.mark.parametrize("picture", [_turned, _turned_and_softer, _rotated])
def test_a_camera_that_is_turned_back_has_no_second_drift(watch: CameraWatch, picture: Callable[[int], Pixels]) -> None:
    """Pictures of another view say nothing about how sharp or veiled the learned one is."""
    faulty, usual = ([picture_signals(each(number)) for number in range(20)] for each in (picture, frame))
    for second in range(400):
        watch.see(1e6 + second, faulty[second % 20])
    assert watch.raised is not None
    before, kinds = watch.raised.kind, []
    for second in range(400, 1400):
        watch.see(1e6 + second, usual[second % 20])
        kinds.append(None if watch.raised is None else watch.raised.kind)
    assert set(kinds) == {before, None}
    ended = kinds.index(None)
    assert 60 <= ended <= 300
    assert not any(kinds[ended:])


def test_a_reference_is_small_and_outlives_the_process(reference: CameraReference) -> None:
    assert len(dumps(reference)) < 2000
    again = CameraWatch("basis", YEAR, reference)
    assert again.learned == 1.0
    assert again.kept() == reference


def test_a_reference_of_other_settings_is_learned_anew(reference: CameraReference) -> None:
    assert CameraWatch("other", YEAR, reference).learned == 0.0


def test_a_damaged_reference_is_refused(reference: CameraReference) -> None:
    with pytest.raises(ValueError, match="3 bytes instead of 120"):
        CameraWatch("basis", YEAR, replace(reference, appearances=("QUJD",)))


def test_learning_goes_on_after_a_restart() -> None:
    signals = [picture_signals(frame(number)) for number in range(10)]
    watch = CameraWatch("basis", YEAR, CameraReference("basis"))
    for step in range(900):
        watch.see(40.0 * step, signals[step % 10])
    half = watch.learned
    again = CameraWatch("basis", YEAR, watch.kept())
    assert again.learned == pytest.approx(half, abs=0.001)
    assert half > 0.15
    for step in range(5000):  # its clock begins elsewhere
        again.see(77.0 + 40.0 * step, signals[step % 10])
    assert again.learned == 1.0


def test_a_clock_that_stops_or_a_source_that_comes_back_is_no_drift(watch: CameraWatch) -> None:
    signals = [picture_signals(frame(number)) for number in range(20)]
    for second in range(100):
        watch.see(1e6, signals[second % 20])
        watch.see(2e6 + second * 3600, signals[second % 20])
    assert watch.raised is None


def test_no_picture_can_be_made_of_the_reference(reference: CameraReference) -> None:
    """The best one is the product of both profiles: all that is known of a place is its column and its row."""
    _, _, columns, rows = max(map(unpack_appearance, reference.appearances), key=lambda each: each[0])
    rebuilt = np.outer(rows, columns)
    shown = cv2.resize(cv2.cvtColor(frame(1), cv2.COLOR_BGR2GRAY), (64, 36), interpolation=cv2.INTER_AREA)
    edges = np.abs(cv2.Laplacian(shown.astype(np.float32), cv2.CV_32F))
    for real in (shown, edges):
        assert abs(np.corrcoef(rebuilt.ravel(), real.ravel())[0, 1]) < 0.4
    assert np.corrcoef(picture_signals(frame(1)).columns, columns)[0, 1] > 0.8, "the columns are those of this scene"


def test_a_clock_that_begins_anew_does_not_stop_the_learning() -> None:
    signals = [picture_signals(frame(number)) for number in range(10)]
    watch = CameraWatch("basis", YEAR, CameraReference("basis"))
    for step in range(2600):
        watch.see(1e7 + 40.0 * step, signals[step % 10])
    half = watch.learned
    assert 0.5 <= half < 1.0
    for step in range(2400):
        watch.see(40.0 * step, signals[step % 10])
    assert watch.learned == 1.0
