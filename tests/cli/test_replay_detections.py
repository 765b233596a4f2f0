"""``edge-infer replay --detections``: boxes from a file in place of a model, ids and events out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli import main
from tests.running import MODEL

SIZE = ["--fps", "10", "--size", "640x480"]


def configured(folder: Path, keys: str = "track: true, lines: {middle: {from: [0.5, 0], to: [0.5, 1]}}") -> Path:
    path = folder / "config.yaml"
    path.write_text(
        f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1}}
models:
  faces: {{file: {MODEL}}}
sources:
  cam: {{kind: v4l2, device: /dev/video99}}
pipelines:
  faces: {{source: cam, model: faces, threshold: 0.4, {keys}}}
"""
    )
    return path


def walk(frames: int = 60, identity: str = "-1", tail: str = "0.9") -> list[str]:
    """Lines of one object that walks from left to right through the middle of the picture."""
    return [f"{number},{identity},{60 + 8 * number},200,40,90,{tail}" for number in range(1, frames + 1)]


def replayed(folder: Path, lines: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, str]:
    boxes = folder / "boxes.txt"
    boxes.write_text("".join(f"{line}\n" for line in lines))
    config = folder / "config.yaml"
    if not config.exists():
        configured(folder)
    assert main(["replay", "-c", str(config), "--detections", str(boxes), *SIZE, *more]) == 0
    found = capsys.readouterr()
    return found.out, found.err


def payloads(out: str, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in out.splitlines()]
    return [line["payload"] for line in lines if line["topic"] == f"edge-infer/box/faces/{kind}"]


def mot(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


def test_boxes_become_results_events_and_a_file_of_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = tmp_path / "ids.txt"
    out, err = replayed(tmp_path, walk(), capsys, "--mot", str(ids))
    assert err == ""
    assert [event["type"] for event in payloads(out, "event")] == ["appear", "cross", "leave"]
    assert payloads(out, "event")[0]["ts"].startswith("1970-01-01T00:00:00")
    assert payloads(out, "result")[-1]["objects"][0]["label"] == "face"
    rows = mot(ids)
    assert [int(row[0]) for row in rows] == list(range(1, 61)), "the boxes before confirmation get the id, too"
    assert {row[1] for row in rows} == {"1"}
    assert rows[0][2:6] == ["68.00", "200.00", "40.00", "90.00"]


def test_the_ids_of_a_file_can_be_replayed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, again = tmp_path / "ids.txt", tmp_path / "again.txt"
    out, _ = replayed(tmp_path, walk(), capsys, "--mot", str(ids))
    assert replayed(tmp_path, walk(), capsys)[0] == out, "the same file gives the same bytes"
    replayed(tmp_path, ids.read_text().splitlines(), capsys, "--mot", str(again))
    assert again.read_text() == ids.read_text()


def test_order_blank_lines_comments_and_ids_of_any_kind_do_not_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "ids.txt"
    replayed(tmp_path, walk(), capsys, "--mot", str(ids))
    expected = ids.read_text()
    kinds = ["7", "", "nobody", "-1.5", "1e99", "NaN"]
    lines = [line for number, kind in enumerate(kinds) for line in walk(60, kind)[number::6]]
    replayed(tmp_path, ["# boxes", "", *lines, "  "], capsys, "--mot", str(ids))
    assert ids.read_text() == expected


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _ = replayed(tmp_path, walk(), capsys)
    lines = walk()
    marked, told = replayed(tmp_path, [f"\ufeff{lines[0]}\r", *(f"{line}\r" for line in lines[1:])], capsys)
    assert told == ""
    assert len(payloads(marked, "result")) == len(payloads(plain, "result")) > 0
    assert [event["type"] for event in payloads(marked, "event")] == ["appear", "cross", "leave"]


def test_frames_without_boxes_are_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.replace(f"{number},", f"{number + 100},", 1) for number, line in enumerate(walk(30), 1)]
    out, _ = replayed(tmp_path, walk(30) + lines, capsys)
    events = payloads(out, "event")
    assert [event["type"] for event in events] == ["appear", "leave", "appear", "leave"]
    assert events[2]["ts"] > "1970-01-01T00:00:10"


def test_boxes_that_no_detector_can_mean_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, ids = walk(), tmp_path / "ids.txt"
    replayed(tmp_path, good, capsys, "--mot", str(ids))
    expected = ids.read_text()
    bad = ["3,-1,nan,10,20,20,0.9", "3,-1,10,10,inf,20,0.9", "4,-1,10,10,0,20,0.9", "4,-1,10,10,20,-5,0.9"]
    bad += ["5,-1,640,10,20,20,0.9", "5,-1,-50,10,20,20,0.9", good[9], good[9]]
    _, err = replayed(tmp_path, bad + good, capsys, "--mot", str(ids))
    assert ids.read_text() == expected
    boxes = tmp_path / "boxes.txt"
    assert err.splitlines() == [
        f"{boxes}: 2 boxes left out, the first in line 1: not finite",
        f"{boxes}: 2 boxes left out, the first in line 3: the box has no width or no height",
        f"{boxes}: 2 boxes left out, the first in line 5: the box is outside a picture of 640x480",
        f"{boxes}: 2 boxes left out: the same as a line before",
    ]


def test_a_thousand_boxes_in_a_frame_are_followed_as_far_as_that_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "ids.txt"
    grid = [(number % 40 * 16, number // 40 * 19) for number in range(1000)]
    lines = [f"{frame},-1,{x},{y},8,12,0.9" for frame in range(1, 6) for x, y in grid]
    out, err = replayed(tmp_path, lines, capsys, "--mot", str(ids))
    assert err == ""
    result = payloads(out, "result")[-1]
    assert len(result["objects"]) + result["more"] == 1000
    assert len({row[1] for row in mot(ids)}) == 500, "so many are followed at most"


def test_an_empty_file_is_a_recording_without_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(tmp_path, [], capsys) == ("", "")


def test_labels_come_by_number_or_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tail in ("0.9", "-1", "0.9,0", "0.9,face", "0.9,-1,0.5", "0.9,4.2,-1.7,0"):
        out, _ = replayed(tmp_path, walk(10, tail=tail), capsys)
        assert payloads(out, "result")[-1]["objects"][0]["label"] == "face"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,-1,10,10,20", "boxes.txt:2: 5 fields; a box is frame,id,x,y,w,h,score[,class], separated by commas"),
        ("1 -1 10 10 20 20", "boxes.txt:2: 1 fields; a box is frame,id,x,y,w,h,score[,class], separated by commas"),
        ("1,-1,ten,10,20,20,1", "boxes.txt:2: could not convert string to float: 'ten'; a box is frame,id,x,y,w,h"),
        ("0,-1,10,10,20,20,1", "boxes.txt:2: frame 0 is not a whole number from 1 to 10,000,000"),
        ("1.5,-1,10,10,20,20,1", "boxes.txt:2: frame 1.5 is not a whole number"),
        ("nan,-1,10,10,20,20,1", "boxes.txt:2: frame nan is not a whole number"),
        ("99999999999,-1,10,10,20,20,1", "boxes.txt:2: frame 99999999999 is not a whole number"),
        ("1,-1,10,10,20,20,57", "boxes.txt:2: score 57 is not between 0 and 1: scale the scores, or write -1"),
        ("1,-1,10,10,20,20,1,3", "boxes.txt:2: class 3 is unknown: expected a number from 0 to 0, or one of face"),
        ("1,-1,10,10,20,20,1,dog", "boxes.txt:2: class dog is unknown"),
    ],
)
def test_a_line_that_does_not_fit_is_an_error_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    boxes = tmp_path / "boxes.txt"
    boxes.write_text(f"{walk()[0]}\n{line}\n")
    assert main(["replay", "-c", str(configured(tmp_path)), "--detections", str(boxes), *SIZE]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--detections", "boxes.txt", "--fps", "5"], "--detections needs --fps N and --size WxH"),
        (["--detections", "boxes.txt", *SIZE, "--annotate", "out.mp4"], "--annotate needs pictures: remove it"),
        (["--detections", "boxes.txt", *SIZE, "--pipeline", "door"], "P of: faces"),
        (
            ["--detections", "boxes.txt", *SIZE, "--mot", "no/folder/ids.txt"],
            "--mot no/folder/ids.txt: cannot be created",
        ),
        (["--mot", "ids.txt"], "--mot belongs to --detections"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("boxes.txt").write_text("")
    assert main(["replay", "-c", str(configured(tmp_path)), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("option", "text"), [("--fps", "0"), ("--fps", "nan"), ("--size", "640"), ("--size", "0x480")])
def test_a_rate_and_a_size_are_checked(capsys: pytest.CaptureFixture[str], option: str, text: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["replay", "--detections", "boxes.txt", option, text])
    assert f"argument {option}: {text} is not" in capsys.readouterr().err


def test_ids_need_a_pipeline_that_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "boxes.txt").write_text("\n".join(walk()))
    config = configured(tmp_path, "publish: every")
    arguments = ["replay", "-c", str(config), "--detections", str(tmp_path / "boxes.txt"), *SIZE]
    assert main([*arguments, "--mot", str(tmp_path / "ids.txt")]) == 2
    assert "pipeline faces needs track: true" in capsys.readouterr().err
    assert main(arguments) == 0
    assert len(payloads(capsys.readouterr().out, "result")) == 60


def test_a_file_that_is_not_there_or_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(configured(tmp_path))
    assert main(["replay", "-c", config, "--detections", str(tmp_path / "none.txt"), *SIZE]) == 1
    assert "none.txt: No such file" in capsys.readouterr().err
    assert main(["replay", "-c", config, "--detections", str(tmp_path), *SIZE]) == 1
    assert "is not a file; name a file with lines of frame,id" in capsys.readouterr().err


def test_the_locked_program_reads_and_writes_only_what_was_named(tmp_path: Path) -> None:
    config, boxes, ids = configured(tmp_path), tmp_path / "boxes.txt", tmp_path / "ids.txt"
    boxes.write_text("\n".join(walk()))
    command = [
        sys.executable,
        "-m",
        "edge_infer",
        "replay",
        "-c",
        str(config),
        "--detections",
        str(boxes),
        *SIZE,
        "--mot",
        str(ids),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(mot(ids)) == 60
