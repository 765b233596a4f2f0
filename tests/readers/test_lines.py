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
    check_that_it_reads(rig, pipe)


def check_that_it_reads(rig: StreamRig, pipe: Path) -> None:
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


def test_a_pipe_that_is_gone_is_told_and_its_last_writer_is_still_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        with pipe.open("w", buffering=1) as way:  # once the reader has opened it
            pipe.unlink()
            assert rig.error("does not exist") == f"{pipe} does not exist; create a named pipe with `mkfifo {pipe}`"
            until(lambda: True if rig.feed.blocked() == "source_lost" else None, "its state", 10.0)
            pipe.write_text("a producer that found no pipe\n")
            assert f"{pipe} is a regular file, not a named pipe: remove it" in rig.error("regular file")
            way.write("from the old pipe\n")
            taken = rig.take()
        assert isinstance(taken, Line)
        assert taken.text == "from the old pipe"
        assert "regular file" in str(rig.feed.health().error)  # a line does not put the pipe back
        pipe.unlink()
        os.mkfifo(pipe)
        until(lambda: rig.process.poll() if rig.process else None, "end of the reader")
        rig.start()
        until(lambda: True if rig.feed.health().state == "ok" else None, "its state, before any line")
        assert not rig.feed.health().error
        check_that_it_reads(rig, pipe)


def test_what_is_wrong_with_a_pipe_is_told_once_and_to_each_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with StreamRig(make_plan("csv", {"file": str(pipe), "rate": 50.0}), tmp_path) as rig:
        with pipe.open("w", buffering=1) as way:  # once the reader has opened it
            pipe.rename(tmp_path / "aside")
            rig.error("does not exist")
            for number in range(3):
                way.write(f"{number}\n")
                assert rig.rows(1) == [[number]]
                rig.report()
        assert caplog.text.count(f"source cam: {pipe} does not exist") == 1
        rig.feed.close()
        rig.new_engine()
        rig.error("does not exist")
        (tmp_path / "aside").rename(pipe)
        until(lambda: True if not rig.feed.health().error else None, "the pipe to be back", 10.0)


def test_a_reader_does_not_take_a_file_for_its_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with StreamRig(make_plan("lines", {"file": str(pipe)}), tmp_path) as rig:
        rig.error("does not exist")
        pipe.write_text("a producer that found no pipe\n")
        until(lambda: rig.process.poll() if rig.process else None, "end of the reader")
        rig.start()
        rig.error("is a regular file, not a named pipe")
        pipe.unlink()
        os.mkfifo(pipe)
        check_that_the_next_reader_reads(rig, pipe)


@pytest.mark.parametrize(("kind", "options"), [(LinesSource, LinesOptions), (CsvSource, partial(CsvOptions, rate=1.0))])
def test_a_source_whose_pipe_is_gone_names_what_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, options: Any
) -> None:
    monkeypatch.setattr("edge_infer.readers.sources.byte_input.LOOK_EVERY", 0.0)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with kind(options(str(pipe))) as source, pipe.open("w", buffering=1) as way:

        def away() -> str:
            way.write("1\n")
            assert source.read() is not None
            return str(source.away)

        assert away() == ""
        pipe.rename(tmp_path / "aside")
        assert away() == f"{pipe} does not exist; create a named pipe with `mkfifo {pipe}`"
        pipe.mkdir()
        assert away() == f"{pipe} is not a named pipe: remove it and create a named pipe with `mkfifo {pipe}`"
        pipe.rmdir()
        (tmp_path / "aside").rename(pipe)
        assert away() == ""
        pipe.unlink()
        os.mkfifo(pipe)
        for _ in range(3):  # a program still writes into the old one
            assert away() == ""


@pytest.mark.parametrize(("kind", "options"), [(LinesSource, LinesOptions), (CsvSource, partial(CsvOptions, rate=1.0))])
def test_a_source_whose_pipe_is_replaced_fails_after_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, options: Any
) -> None:
    monkeypatch.setattr("edge_infer.readers.sources.byte_input.LOOK_EVERY", 0.1)
    monkeypatch.setattr("edge_infer.readers.sources.byte_input.SILENT", 0.2)
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
