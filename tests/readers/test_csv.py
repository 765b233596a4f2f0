"""CSV: recorded in a file, or written into a pipe by a real program."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.engine.replay.replay import _frames
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Samples
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.sources import Block, source_target
from edge_infer.readers.sources.csv import CsvOptions, CsvSource
from tests.readers.rig import StreamRig, make_plan, until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "samples.csv"
    path.write_text("time,x,y\n" + "".join(f"t{number},{number},{-number}\n" for number in range(100)))
    return path


def source(file: Path, **options: object) -> CsvSource:
    return CsvSource(CsvOptions(str(file), **{"rate": 100.0, "realtime": False, **options}))  # type: ignore[arg-type]


def blocks_of(opened: CsvSource) -> list[Block]:
    with opened:
        return list(iter(opened.read, None))


def values_of(blocks: Iterable[Block]) -> list[float]:
    return [value for block in blocks for value in block.values[:, 0].tolist()]


def test_a_file_is_read_to_its_end_and_loses_nothing(file: Path) -> None:
    opened = source(file, columns=("y", "x"))
    assert (opened.live, opened.lossless, opened.stdin) == (False, True, False)
    blocks = blocks_of(opened)
    assert values_of(blocks) == [-number for number in range(100)]
    assert {(block.values.shape, block.rate) for block in blocks} == {((10, 2), 100.0)}
    assert [block.gap for block in blocks] == [True] + [False] * 9
    assert len(blocks_of(opened)) == 10  # opened again


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_gives_the_same_rows(file: Path, end: str) -> None:
    file.write_bytes("".join(f"{number / 1000:.3f}{end}" for number in range(9000)).encode())
    opened = source(file)
    blocks = blocks_of(opened)
    assert values_of(blocks) == pytest.approx([number / 1000 for number in range(9000)], abs=1e-6)
    assert (opened.faults.count, sum(block.gap for block in blocks)) == (0, 1)


def test_broken_rows_are_left_out_counted_and_a_gap(file: Path) -> None:
    file.write_text("1,2\n3,4\n5\n6,\n7,8\n9,ten\n11,12\n")
    opened = source(file)
    assert [(block.values[:, 0].tolist(), block.gap) for block in blocks_of(opened)] == [
        ([1, 3], True),
        ([7], True),
        ([11], True),
    ]
    assert opened.faults.count == 3


@pytest.mark.parametrize("left_out", ["nan", "", "  ", "NA", "null", "OL", "sensor timeout", "#N/A"])
def test_rows_that_are_left_out_take_their_time(file: Path, left_out: str) -> None:
    lines = ["", *(left_out if 10 <= number < 60 else str(number) for number in range(100)), "", ""]
    file.write_text("\n".join(["v", *lines, ""]))
    opened = source(file, rate=10.0)
    blocks = blocks_of(opened)
    assert values_of(blocks) == [*range(10), *range(60, 100)]
    assert [(block.values[0, 0], block.left_out, block.gap) for block in blocks if block.left_out or block.gap] == [
        (0, 0, True),
        (60, 50, True),
    ]
    assert opened.faults.count == 50
    options = {"file": str(file), "rate": 10.0, "realtime": False}
    plan = SourcePlan("s", "csv", source_target("csv"), live=False, network=False, options=options, gives="samples")
    ends = [item.wall for item in _frames(plan, paced=False)]
    assert ends == [pytest.approx((number + 1) / 10) for number in [*range(10), *range(60, 100)]]


@pytest.mark.parametrize("columns", [(), ("y", "x")])
@pytest.mark.parametrize("left_out", ["NA,NA,NA", "error,error,error", "t5,NA,NA", "sensor timeout"])
def test_a_row_without_numbers_takes_its_time_and_is_a_gap(file: Path, columns: tuple[str, ...], left_out: str) -> None:
    lines = [f"{number},{number},{-number}" for number in range(100)]
    lines[60:65] = [left_out] * 5
    file.write_text("\n".join(["time,x,y", *lines, "time,x,y", "100,100,-100"]))
    opened = source(file, columns=columns)
    blocks = blocks_of(opened)
    expected = [*range(60), *range(65, 101)]
    assert values_of(blocks) == ([-number for number in expected] if columns else expected)
    assert [(block.left_out, len(block.values)) for block in blocks if block.gap] == [(0, 10), (5, 10)]
    assert opened.faults.count == 5


def test_lines_above_the_first_row_take_no_time(file: Path) -> None:
    file.write_text("t,x [rad]\ns,rad\nready to measure\n1,2\n3,4\n")
    blocks = blocks_of(source(file))
    assert [(block.values.tolist(), block.left_out) for block in blocks] == [([[1, 2], [3, 4]], 0)]


def test_a_file_may_begin_with_rows_without_numbers(file: Path) -> None:
    file.write_text("NA\nNA\n1\nNA\n2\n")
    blocks = blocks_of(source(file))
    assert [(block.values.tolist(), block.left_out) for block in blocks] == [([[1]], 2), ([[2]], 1)]


def test_rows_that_are_left_out_are_waited_for(file: Path) -> None:
    file.write_text("0\n" + "nan\n" * 40 + "41\n")
    with source(file, realtime=True) as opened:
        began = time.monotonic()
        assert [block.values[0, 0] for block in iter(opened.read, None)] == [0, 41]
        assert time.monotonic() - began >= 0.41


def test_empty_lines_between_rows_of_several_columns_mean_nothing(file: Path) -> None:
    file.write_text("x,y\n\n1,2\n\n3,4\n\n")
    opened = source(file)
    assert [(block.values.tolist(), block.left_out) for block in blocks_of(opened)] == [([[1, 2], [3, 4]], 0)]
    assert opened.faults.count == 0


def test_a_loop_begins_again_with_a_gap(file: Path) -> None:
    with source(file, columns=("x",), loop=True) as opened:
        blocks = [block for _ in range(25) if (block := opened.read()) is not None]
    assert values_of(blocks) == [number % 100 for number in range(250)]
    assert [index for index, block in enumerate(blocks) if block.gap] == [0, 10, 20]


def test_realtime_keeps_the_pace_and_lets_go_at_once(file: Path) -> None:
    with source(file, columns=("x",), realtime=True) as opened:
        began = time.monotonic()
        assert values_of(block for _ in range(5) if (block := opened.read()) is not None) == list(range(50))
        assert time.monotonic() - began > 0.45
    with source(file, columns=("x",), realtime=True, rate=0.001) as opened:
        threading.Timer(0.1, opened.interrupt).start()
        assert opened.read() is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["t,h\r\n21.5,40\r\n22,41\r\n", "1\n2\n"])
def test_a_file_in_another_encoding_says_which_one_it_needs(file: Path, encoding: str, text: str) -> None:
    file.write_text(text, encoding=encoding)
    with pytest.raises(SourceError, match=r"no usable row of numbers: its encoding is UTF-16; save it as UTF-8$"):
        source(file).check()
    with pytest.raises(SourceError, match=r"save it as UTF-8$"):
        blocks_of(source(file))


@pytest.mark.parametrize(
    ("text", "columns", "word"),
    [
        ("x,y\n1,2\n", ("x", "z"), "no column z in the header 'x, y'"),
        ("x;x\n1;2\n", ("x",), "more than one column x in the header 'x, x'"),
        ("1,2\n", ("x", "y", "z"), "no usable row of numbers: 2 columns, but expected 3"),
        ("time,x\nnoon,1\n", (), "column time contains 'noon', not a number; every column must be numbers .remove"),
        ("", (), "it is empty"),
        ("x,y\n", (), "no usable row of numbers: it has the header 'x, y' and no rows"),
        ("t,x,y\n", ("x",), "it has the header 't, x, y' and no rows"),
        ("\0\1\2" * 100, (), "no usable row of numbers"),
        ("1,2,\n" * 2000, (), "column 3 is empty"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_before_it_is_started_with(
    file: Path, text: str, columns: tuple[str, ...], word: str
) -> None:
    file.write_text(text)
    with pytest.raises(SourceError, match=word):
        source(file, columns=columns).check()
    with pytest.raises(SourceError, match=word):
        blocks_of(source(file, columns=columns))


def test_a_file_that_can_be_used_passes(file: Path) -> None:
    source(file, columns=("x",)).check()
    file.write_text("x,y\n,\n1,2\n")  # a sensor that warms up
    source(file).check()


def test_a_pipe_has_no_beginning_to_go_back_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", str(tmp_path / "pipe")):
        with pytest.raises(ValueError, match="loop is for files only"):
            CsvOptions(name, 1.0, loop=True)


def test_the_engine_reads_a_file(file: Path) -> None:
    plan = make_plan("csv", {"file": str(file), "rate": 100.0, "columns": ["x"], "realtime": False}, fps=1.0)
    feed = make_feed(plan)
    cursor = feed.attach()
    feed.start(local_capture(plan))
    found: list[float] = []

    def all_there() -> bool | None:
        taken = feed.next(cursor, 0.1)
        found.extend(taken.values[:, 0].tolist() if isinstance(taken, Samples) else [])
        return len(found) == 100 or None

    until(all_there, "the whole file")
    assert found == list(range(100))
    until(lambda: True if feed.health().state == "ended" else None, "its end")
    feed.close()


def test_what_a_program_writes_into_a_pipe_is_read_and_outlives_the_program(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opened = CsvSource(CsvOptions(str(pipe), 50.0))
    assert (opened.live, opened.lossless, opened.stdin) == (True, False, False)
    with StreamRig(make_plan("csv", {"file": str(pipe), "rate": 50.0}), tmp_path) as rig:
        for number in (1, 2):
            code = f"print('{number},0\\n{number},1')"
            with pipe.open("w") as way:
                subprocess.run([sys.executable, "-c", code], stdout=way, check=True)
            assert rig.rows(2) == [[number, 0], [number, 1]]


def test_a_pipe_survives_words_in_the_place_of_numbers(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    options = {"file": str(pipe), "rate": 50.0, "columns": ["y", "x"]}
    with StreamRig(make_plan("csv", options), tmp_path) as rig, pipe.open("w", buffering=1) as way:
        for number, words in enumerate(("error,error,error", "NA,NA,NA", "ERR,sensor,timeout", "t,x,y")):
            way.write("t,x,y\n" * (not number) + f"{number},1,2\n{words}\n{number},3,4\n")
            assert rig.rows(2) == [[2, 1], [4, 3]]


def test_standard_input_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from edge_infer.readers.sources.csv import *\n"
        "with CsvSource(CsvOptions('-', 10.0)) as source:\n"
        "    assert source.stdin\n"
        "    for block in iter(source.read, None): print(block.values.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], input="1,2\n3,4", capture_output=True, text=True, check=True)
    assert "".join(done.stdout.split("\n")).replace("][", ", ") == "[[1.0, 2.0], [3.0, 4.0]]"
