"""Lines of text out of files and pipes, and what is no text in them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.sample_stream import make_feed
from edge_infer.errors import SourceError
from edge_infer.frames.frame import Line
from edge_infer.readers.sources.csv import CsvOptions, CsvSource
from edge_infer.readers.sources.lines import LinesOptions, LinesSource
from tests.readers.rig import StreamRig, make_plan, until


def test_a_file_gives_its_lines_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes("\ufeffGr\u00fc\u00dfe\r\n\nzwei".encode() + b"\xff\xfe drei\n" + b"vier")
    source = LinesSource(LinesOptions(str(file)))
    assert (source.live, source.lossless, source.stdin) == (False, True, False)
    with source:
        assert [words.text for words in iter(source.read, None)] == ["Gr\u00fc\u00dfe", "zwei\ufffd\ufffd drei", "vier"]
    assert source.faults.count == 1
    assert "not UTF-8" in source.faults.last


def test_the_engine_reads_a_file_and_counts_what_was_broken(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"".join(b"line %d\xc3\n" % number for number in range(300)))
    plan = make_plan("lines", {"file": str(file)})
    feed = make_feed(plan)
    cursor = feed.attach()
    feed.start(local_capture(plan))
    found = [until(lambda: feed.next(cursor, 0.1), "a line") for _ in range(300)]
    assert [item.text for item in found if isinstance(item, Line)] == [f"line {number}\ufffd" for number in range(300)]
    assert feed.health().faults == 300
    feed.close()


def test_a_reader_waits_at_a_pipe_for_as_long_as_it_takes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        for text in ("first", "after the other end was closed"):
            rig.report(lambda report: not report.error)
            assert rig.report().busy == 0.0  # a pipe may be silent
            with pipe.open("w") as way:
                way.write(text + "\n")
            taken = rig.take()
            assert isinstance(taken, Line)
            assert taken.text == text
        assert rig.feed.blocked() is None


def test_lines_that_are_left_out_are_counted_though_no_other_follows(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        with pipe.open("w") as way:
            way.write(5 * ("x" * 70_000 + "\n"))
        until(lambda: True if rig.feed.health().faults == 5 else None, "the count", 10.0)
        until(lambda: True if "(5 so far)" in rig.log.read_text() else None, "the number in the log", 10.0)


def check_that_the_next_reader_reads(rig: StreamRig, pipe: Path) -> None:
    """The present one ends, because its sandbox does not admit the new pipe."""
    until(lambda: rig.process.poll() if rig.process else None, "end of the reader")
    rig.start()
    with pipe.open("w") as way:
        way.write("hello\n")
        way.flush()
        taken = rig.take()
    assert isinstance(taken, Line)
    assert taken.text == "hello"


def test_a_pipe_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        assert f"mkfifo {pipe}" in rig.error("does not exist")
        os.mkfifo(pipe)  # its walls were put up before that: the reader makes way for one that may open it
        check_that_the_next_reader_reads(rig, pipe)


def test_a_pipe_that_takes_the_place_of_another_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        rig.report(lambda report: not report.error)
        pipe.unlink()
        os.mkfifo(pipe)
        check_that_the_next_reader_reads(rig, pipe)


@pytest.mark.parametrize(("kind", "options"), [(LinesSource, LinesOptions), (CsvSource, partial(CsvOptions, rate=1.0))])
def test_a_source_whose_pipe_is_replaced_fails_after_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, options: Any
) -> None:
    monkeypatch.setattr("edge_infer.readers.sources.byte_input.LOOK_EVERY", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with kind(options(str(pipe))) as source:
        with pipe.open("w") as way:
            way.write("1\n")
        pipe.unlink()
        os.mkfifo(pipe)
        assert source.read() is not None
        with pytest.raises(SourceError, match=f"^{pipe} cannot be read: another pipe has taken its place$"):
            source.read()
    with kind(options(str(pipe))) as source:
        with pipe.open("w") as way:
            way.write("2\n")
        assert source.read() is not None


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceError, match="cannot be read: Is a directory"),
        LinesSource(LinesOptions(str(tmp_path))) as it,
    ):
        it.read()
