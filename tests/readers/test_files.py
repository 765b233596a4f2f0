"""Sources that the engine reads itself: clips, folders of pictures, and frames out of nothing."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.errors import SourceError
from edge_infer.frames.picture import read_picture as inferred
from edge_infer.readers.sources import Picture, Source
from edge_infer.readers.sources.byte_input import open_input
from edge_infer.readers.sources.images import ImagesOptions, ImagesSource, find_pictures, read_picture, some_pictures
from edge_infer.readers.sources.synthetic import SyntheticOptions, SyntheticSource, bounce
from edge_infer.readers.sources.video import VideoOptions, VideoSource

CLIP_FRAMES = 160


def count(source: Source) -> int:
    with source as opened:
        return sum(1 for _ in iter(opened.read, None))


def test_a_clip_is_read_to_its_end_with_no_frame_dropped(assets: Path) -> None:
    source = VideoSource(VideoOptions(str(assets / "video" / "vtest_first160.avi"), realtime=False))
    assert source.lossless
    assert count(source) == CLIP_FRAMES
    assert count(source) == CLIP_FRAMES  # the same source, opened again


def test_a_loop_begins_again(assets: Path) -> None:
    with VideoSource(VideoOptions(str(assets / "video" / "vtest_first160.avi"), realtime=False, loop=True)) as source:
        first = source.read()
        assert first is not None
        kept = first.pixels.copy()
        for _ in range(CLIP_FRAMES):
            again = source.read()
        assert again is not None
        assert np.array_equal(again.pixels, kept)


@pytest.mark.long
def test_realtime_keeps_the_pace_and_skips_for_a_slow_consumer(assets: Path) -> None:
    path = str(assets / "video" / "vtest_first160.avi")
    fps = cv2.VideoCapture(path).get(cv2.CAP_PROP_FPS)
    with VideoSource(VideoOptions(path)) as source:
        assert not source.lossless
        started = time.monotonic()
        seen = 0
        while source.read() is not None:
            seen += 1
            time.sleep(0.25)
        took = time.monotonic() - started
    assert seen < CLIP_FRAMES / 2
    assert took > (CLIP_FRAMES - 1) / fps * 0.9


@pytest.mark.parametrize(("name", "share"), [("vtest_first160.avi", 0.5), ("vtest_first160.avi", 0.1)])
def test_a_clip_that_is_cut_off_gives_what_there_is(
    name: str, share: float, assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = (assets / "video" / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(data[: int(len(data) * share)])
    seen = count(VideoSource(VideoOptions(str(cut), realtime=False)))
    assert 0 < seen < CLIP_FRAMES * (share + 0.2)


@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_file_without_a_frame_says_so(keep: int, assets: Path, tmp_path: Path) -> None:
    """An MP4 file whose index at the end is missing, or less."""
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((assets / "video" / "carphone_pristine.mp4").read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"cut\.mp4 .*truncated"):
        count(VideoSource(VideoOptions(str(cut), realtime=False)))


def test_no_video_at_all(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be opened: No such file"):
        count(VideoSource(VideoOptions(str(tmp_path / "none.mp4"))))
    with pytest.raises(SourceError, match="cannot be opened: Is a directory"):
        count(VideoSource(VideoOptions(str(tmp_path))))
    text = tmp_path / "text.mp4"
    text.write_text("no video at all\n" * 1000)
    with pytest.raises(SourceError, match="not a readable video"):
        count(VideoSource(VideoOptions(str(text), loop=True)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read a file")
def test_a_clip_that_may_not_be_read_names_the_command_that_helps(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch(mode=0o600)
    os.seteuid(61777)
    try:
        with pytest.raises(SourceError, match="Permission denied; sudo edge-infer check prints the command that lets"):
            VideoSource(VideoOptions(str(clip))).__enter__()
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read a file")
def test_so_do_a_picture_and_a_pipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture, pipe = tmp_path / "a.jpg", tmp_path / "pipe"
    picture.touch(mode=0o600)
    os.mkfifo(pipe, 0o640)
    remedy = "Permission denied; sudo edge-infer check prints the command that lets the service read it"
    os.seteuid(61777)
    try:
        with ImagesSource(ImagesOptions(str(tmp_path))) as source, pytest.raises(SourceError, match="none of the 1"):
            source.read()
        assert f"picture skipped: {picture} cannot be read: {remedy}" in caplog.text
        with pytest.raises(SourceError, match=f"^{pipe} cannot be opened: {remedy}$"):
            open_input(str(pipe))
    finally:
        os.seteuid(0)


def test_pictures_come_in_natural_order(assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in ("10.png", "2.png", "1.png"):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), int(name[:-4]), np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [path.name for path in find_pictures(str(tmp_path))] == ["1.png", "2.png", "10.png"]
    assert f"{tmp_path}: skipped 1 files without the suffix of a picture (one of .bmp .gif" in caplog.text
    assert [path.name for path in find_pictures(str(tmp_path / "1*.png"))] == ["1.png", "10.png"]
    with ImagesSource(ImagesOptions(str(tmp_path), loop=True)) as source:
        values = [int(picture.pixels[0, 0, 0]) for _ in range(7) if (picture := source.read()) is not None]
    assert values == [1, 2, 10, 1, 2, 10, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not enter a folder")
@pytest.mark.parametrize("pattern", ["", "/*.png"])
def test_a_link_that_cannot_be_followed_is_skipped_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in ("home/x.png", "pictures/1.png", "pictures/4.png"):
        cv2.imwrite(str(tmp_path / path), np.zeros((8, 8, 3), np.uint8))
    (folder / "2.png").symlink_to(tmp_path / "home/x.png")
    (folder / "3.png").symlink_to("gone.png")
    (folder / "5.png").symlink_to("5.png")
    (folder / "6.png").mkdir()
    os.mkfifo(folder / "7.png")
    os.seteuid(61777)
    try:
        with ImagesSource(ImagesOptions(f"{folder}{pattern}")) as source:
            assert sum(1 for _ in iter(source.read, None)) == 2
        assert len(some_pictures(f"{folder}{pattern}", 9)) == 5
    finally:
        os.seteuid(0)
    assert source.skipped == 3
    reasons = ("Permission denied", "No such file or directory", "Too many levels of symbolic links")
    for name, reason in zip("235", reasons, strict=True):
        assert f"picture skipped: {folder}/{name}.png cannot be read: {reason}" in caplog.text


def test_a_loop_logs_other_files_only_when_they_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "notes.txt").touch()
    told = []
    with ImagesSource(ImagesOptions(str(tmp_path), loop=True)) as source:
        for change in (lambda: None, (tmp_path / "more.txt").touch, (tmp_path / "notes.txt").unlink):
            change()
            for _ in range(20):
                assert source.read() is not None
            told.append([record.getMessage() for record in caplog.records if "without the suffix" in record.msg])
    assert [len(lines) for lines in told] == [1, 2, 3]
    assert [line.split()[2] for line in told[-1]] == ["1", "2", "1"]


def test_what_is_no_picture_is_skipped_and_counted(
    assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copyfile(assets / "images" / "table.jpg", tmp_path / "b.jpg")
    (tmp_path / "a.jpg").write_bytes(b"text")
    (tmp_path / "c.png").write_bytes((assets / "images" / "astronaut.png").read_bytes()[:50])
    (tmp_path / "d.png").write_bytes(b"")
    source = ImagesSource(ImagesOptions(str(tmp_path)))
    assert count(source) == 1
    assert source.skipped == 3
    assert sum("is not a readable picture" in record.message for record in caplog.records) == 3
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_what_is_skipped_in_a_loop_is_told_once(assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copyfile(assets / "images" / "table.jpg", tmp_path / "b.jpg")
    (tmp_path / "a.jpg").write_bytes(b"text")
    with ImagesSource(ImagesOptions(str(tmp_path), loop=True)) as source:
        for _ in range(4):
            source.read()
        assert source.skipped == 4
    assert len(caplog.records) == 1


def test_a_file_that_is_far_too_large_is_skipped_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(400 << 20)  # a hole: it takes no disk
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 8, 3), np.uint8))
    tracemalloc.start()
    source = ImagesSource(ImagesOptions(str(tmp_path)))
    assert count(source) == 1
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    assert [record.getMessage() for record in caplog.records] == [
        f"picture skipped: {tmp_path}/a.jpg is larger than 64 MB; make it smaller first"
    ]


def still(path: Path, pictures: int, fps: float) -> str:
    """A clip of a few gray pictures."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    for number in range(pictures):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    return str(path)


@pytest.mark.parametrize(("pictures", "fps"), [(1, 10.0), (2, 10.0)])
def test_each_picture_of_a_loop_is_held_for_its_time(tmp_path: Path, pictures: int, fps: float) -> None:
    with VideoSource(VideoOptions(still(tmp_path / "few.avi", pictures, fps), loop=True)) as source:
        times = [picture.monotonic for _ in range(9) if isinstance(picture := source.read(), Picture)]
    assert times[-1] - times[0] > (len(times) - 1) / fps * 0.9
    assert min(np.diff(times)) > 0.3 / fps


def test_a_loop_lets_go_at_once(tmp_path: Path) -> None:
    with VideoSource(VideoOptions(still(tmp_path / "one.avi", 1, 0.2), loop=True)) as source:
        assert source.read() is not None
        began = time.monotonic()
        threading.Timer(0.1, source.interrupt).start()
        assert source.read() is None
        assert time.monotonic() - began < 3.0


def test_a_clip_that_cannot_be_opened_has_ffmpegs_own_lines_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = tmp_path / "cut.mp4"
    whole = (HERE / "clip.mp4").read_bytes()
    clip.write_bytes(whole[:3000])
    source, said = VideoSource(VideoOptions(str(clip))), []
    for _ in range(3):  # as often as the engine tries it
        with pytest.raises(SourceError, match="not a readable video"):
            source.__enter__()
        source.close()
        said.append("".join(capfd.readouterr()))
    assert said[1:] == ["", ""]
    clip.write_bytes(whole)
    assert count(source) > 0
    clip.write_bytes(whole[:3000])
    with pytest.raises(SourceError, match="not a readable video"):
        source.__enter__()
    assert "".join(capfd.readouterr()).count("\n") == said[0].count("\n")  # another outage


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="contains no picture"):
        count(ImagesSource(ImagesOptions(str(tmp_path))))
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(SourceError, match="none of the 1 files"):
        count(ImagesSource(ImagesOptions(str(tmp_path), loop=True)))


def test_a_wait_ends_when_it_is_interrupted(assets: Path) -> None:
    options = ImagesOptions(str(assets / "images"), realtime=True, every=3600.0)
    with ImagesSource(options) as source:
        assert not source.lossless
        assert source.read() is not None
        threading.Timer(0.1, source.interrupt).start()
        assert source.read() is None


def test_synthetic_frames_are_the_same_for_the_same_seed() -> None:
    options = SyntheticOptions(width=320, height=240, seed=5, realtime=False)
    with SyntheticSource(options) as one, SyntheticSource(options) as two:
        pairs = [(one.read(), two.read()) for _ in range(5)]
    assert all(left and right and np.array_equal(left.pixels, right.pixels) for left, right in pairs)
    assert not np.array_equal(SyntheticSource(SyntheticOptions(seed=6)).frame(1), SyntheticSource(options).frame(1))
    assert one.lossless


@pytest.mark.parametrize("number", [1, 57, 100_000])
def test_the_truth_is_what_is_drawn(number: int) -> None:
    """With one object, the pixels that differ from the background are in its box and touch all four sides."""
    with_one = SyntheticSource(SyntheticOptions(objects=1, seed=3))
    without = SyntheticSource(SyntheticOptions(objects=0, seed=3))
    ((label, box),) = with_one.truth(number)
    assert label == "circle"
    rows, columns = np.nonzero((with_one.frame(number) != without.frame(number)).any(axis=2))
    drawn = (columns.min() / 640, rows.min() / 480, (columns.max() + 1) / 640, (rows.max() + 1) / 480)
    assert np.allclose(drawn, box, atol=2 / 480)
    assert 0 <= box[0] < box[2] <= 1
    assert 0 <= box[1] < box[3] <= 1


def test_pictures_can_be_moved_about(assets: Path) -> None:
    files = (str(assets / "images" / "astronaut.png"), str(assets / "images" / "zidane.jpg"))
    source = SyntheticSource(SyntheticOptions(width=400, height=300, objects=3, images=files, realtime=False))
    assert [label for label, _ in source.truth(1)] == ["astronaut", "zidane", "astronaut"]
    assert source.frame(1).shape == (300, 400, 3)
    with pytest.raises(SourceError, match="cannot be read"):
        SyntheticSource(SyntheticOptions(images=("/nowhere/x.png",))).frame(1)


def test_a_bounce_stays_inside() -> None:
    assert [bounce(position, 3) for position in (-1, 0, 1, 3, 4, 6, 7)] == [1, 0, 1, 3, 2, 0, 1]
    assert bounce(5, 0) == 0


def test_synthetic_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="too small"):
        SyntheticOptions(width=2)
    with pytest.raises(ValueError, match="must not be negative"):
        SyntheticOptions(fps=0.0)


HERE = Path(__file__).parent
"""Where clips of ffmpeg's ``testsrc2``, 96 x 64, lie: ``clip.mp4`` has 150 frames in 6 s, ``varying.mkv`` 68."""


@pytest.mark.long
@pytest.mark.parametrize("realtime", [False, True])
def test_damage_in_a_clip_does_not_end_it(tmp_path: Path, caplog: pytest.LogCaptureFixture, realtime: bool) -> None:
    damaged, random = tmp_path / "damaged.mp4", np.random.default_rng(1)
    data = bytearray((HERE / "clip.mp4").read_bytes())
    begin, length = len(data) * 4 // 10, len(data) // 10
    data[begin : begin + length] = random.bytes(length)
    damaged.write_bytes(data)
    seen = count(VideoSource(VideoOptions(str(damaged), realtime=realtime)))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert re.fullmatch(rf"{damaged} is damaged in \d+ place\(s\); the reader used the rest of it", told[0])
    if not realtime:
        assert 110 < seen < 150


def test_a_varying_frame_rate_is_no_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert count(VideoSource(VideoOptions(str(HERE / "varying.mkv"), realtime=False))) == 68
    assert caplog.records == []


def test_a_trimmed_clip_is_no_cut(caplog: pytest.LogCaptureFixture) -> None:
    """``trimmed.mp4`` is ``clip.mp4`` (``-g 250``) from 1.5 s on (``-ss 1.5 -c copy``), by an edit list."""
    assert count(VideoSource(VideoOptions(str(HERE / "trimmed.mp4"), realtime=False))) == 112
    assert caplog.records == []


def test_a_clip_that_begins_later_than_0_is_no_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``later.mkv`` is ``varying.mkv``, moved by 5 s (``-c copy -output_ts_offset 5``)."""
    cut, data = tmp_path / "cut.mkv", (HERE / "later.mkv").read_bytes()
    assert count(VideoSource(VideoOptions(str(HERE / "later.mkv"), realtime=False))) == 68
    if hasattr(cv2, "CAP_PROP_PTS"):
        assert caplog.records == []
    cut.write_bytes(data[: len(data) // 2])
    assert 0 < count(VideoSource(VideoOptions(str(cut), realtime=False))) < 68
    assert "of 11.0 s; it seems to be truncated" in caplog.records[-1].getMessage()


def test_pictures_of_a_varying_frame_rate_have_the_times_that_the_file_gives_them() -> None:
    """It has every picture of 25 a second at first, and then every fourth. Times go on where the clip begins anew."""
    own = [0.04 * number for number in range(40)] + [0.04 * number for number in range(40, 150, 4)]
    found = []
    with VideoSource(VideoOptions(str(HERE / "varying.mkv"), realtime=False, loop=True)) as source:
        for _ in range(70):
            picture = source.read()
            assert isinstance(picture, Picture)
            found.append(picture.position)
    assert found[:68] == [pytest.approx(moment) for moment in own]
    assert found[68] - found[67] < 0.2
    assert found[69] - found[68] == pytest.approx(0.04)


def positions(path: Path) -> list[float]:
    with VideoSource(VideoOptions(str(path), realtime=False)) as source:
        return [each.position for each in iter(source.read, None) if isinstance(each, Picture) and each.position]


@pytest.mark.parametrize(
    ("name", "steps"),
    [("timelapse.mp4", [60.2, 59.8] * 9), ("timelapse.mkv", [61.0] * 19), ("gap100.mkv", [0.04] * 4 + [100.04])],
)
def test_a_time_lapse_and_a_clip_with_a_gap_keep_their_own_times(
    name: str, steps: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Clips with a frame in about 60 s, one in 61 s, whose timestamps fall back once, and one with a gap of 100 s."""
    found = positions(HERE / name)
    assert np.allclose(np.diff([0.0, *found])[: len(steps)], steps)
    assert "jumps" not in caplog.text


def test_pictures_without_a_timestamp_between_others_take_one_interval() -> None:
    """H.264 in an MPEG program stream, of which every 24th picture or so has a timestamp."""
    assert np.allclose(np.diff([0.0, *positions(HERE / "sparse.mpg")]), 1 / 25)


def test_a_jump_of_the_timestamps_is_replaced_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By two hours, in a clip of 10 frames at 25 fps."""
    assert positions(HERE / "gap7200.mkv")[-1] == pytest.approx(9 / 25)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told == (
        f"{HERE}/gap7200.mkv: the time from one picture to the next jumps by 7200.0 s at 0.2 s; the source counts it "
        "as 0.04 s (the limit is 3600 s, see docs/video.md)"
    )


def test_a_clip_in_real_time_does_not_wait_for_a_jump(caplog: pytest.LogCaptureFixture) -> None:
    assert count(VideoSource(VideoOptions(str(HERE / "gap100.mkv")))) > 1
    assert "gap100.mkv: the time from one picture to the next jumps by 100.0 s at 0.2 s" in caplog.text
    assert "(the limit is 60 s" in caplog.text


@pytest.mark.parametrize("name", ["timelapse.mkv", "sparse.mpg", "gap100.mkv"])
def test_timestamps_that_fall_back_are_no_cut(name: str, caplog: pytest.LogCaptureFixture) -> None:
    count(VideoSource(VideoOptions(str(HERE / name), realtime=False)))
    assert caplog.records == []


def test_a_time_lapse_without_its_end_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut, data = tmp_path / "cut.mkv", (HERE / "timelapse.mkv").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert 0 < count(VideoSource(VideoOptions(str(cut), realtime=False))) < 20
    assert "of 1220.0 s; it seems to be truncated" in caplog.records[-1].getMessage()


def test_a_clip_without_its_end_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = tmp_path / "cut.mkv"
    data = (HERE / "varying.mkv").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert 0 < count(VideoSource(VideoOptions(str(cut), realtime=False))) < 68
    assert "of 6.0 s; it seems to be truncated" in caplog.records[-1].getMessage()


def test_a_codec_without_a_decoder_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    source = VideoSource(VideoOptions(str(HERE / "av1.mp4"), realtime=False))
    if cv2.__version__.startswith("4.14."):  # has a decoder
        assert count(source) == 5
        return
    with pytest.raises(SourceError, match=r"av1\.mp4 is AV1 video, for which OpenCV .* has no decoder"):
        count(source)
    said = "".join(capfd.readouterr())  # the daemon tries it again every few seconds
    assert [line for line in said.splitlines() if "FFMPEG:40" not in line] == []  # which other tests may have asked for


def test_a_folder_takes_the_pictures_that_infer_takes(assets: Path) -> None:
    """Among them those of a microcontroller's camera, which OpenCV does not read."""
    bitmaps = sorted((assets / "images").glob("*.bmp"))
    assert any(cv2.imread(str(path)) is None for path in bitmaps)
    for path in bitmaps:
        assert np.array_equal(read_picture(path), inferred(str(path)))
