"""Rows out of text and bytes: what sensors send, in one piece, in pieces, and broken."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.platform.clock import ConvertedClock
from edge_infer.readers.sources.byte_input import LONGEST, ByteLines, EndOfInputError
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.row_gatherer import MOST, ArrivalRate, RowGatherer, TextRows, next_block
from edge_infer.readers.sources.row_parser import HeaderError, RowParser
from edge_infer.readers.sources.serial import BinaryRows


def parsed(parser: RowParser, *lines: str) -> list[tuple[float, ...]]:
    return [row for line in lines for row in parser.rows(line)]


@pytest.mark.parametrize(
    "line", ["1,2.5,-3e2", "1;2.5;-3e2", "1\t2.5\t-3e2", " 1  2.5 -3e2 ", '"1", "2.5", "-3e2"', "\ufeff1,2.5,-3e2\r"]
)
def test_cells_may_be_separated_by_many_things(line: str) -> None:
    assert parsed(RowParser(), line) == [(1.0, 2.5, -300.0)]


def test_a_header_says_where_the_columns_are() -> None:
    parser = RowParser(("z", "x"))
    assert parsed(parser, "# made by me", "time,x,y,z", "2026-11-25T08:45,1,2,3", "", "noon,4,5,6") == [(3, 1), (6, 4)]


def test_without_a_header_names_go_by_place_and_without_names_all_is_taken() -> None:
    assert parsed(RowParser(("x", "y")), "1,2") == [(1, 2)]
    assert parsed(RowParser(), "a,b", "1,2") == [(1, 2)]
    assert parsed(RowParser(), '"a b"', '"1"', "2") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("line", "columns", "word"),
    [
        ("1,2", ("x", "y", "z"), "2 columns, but expected 3"),
        ("1,,3", ("x", "y", "z"), "column y is empty"),
        ("1,two,3", ("x", "y", "z"), "column y contains 'two', not a number"),
        ("1,nan,3", ("x", "y", "z"), "column y contains 'nan', not a number"),
        ("1,1e999,3", (), "column 2 contains '1e999', not a number"),
        ("1,-1e39,3", (), "column 2 contains '-1e39', too large for a 32-bit float"),
        ("1,1_5,3", (), "column 2 contains '1_5', not a number"),
        ("1,\u0663,3", (), r"column 2 contains '\\u0663', not a number"),
        ("1_5", (), "no numbers in '1_5'"),
        ("3,1;-4,2e3", (), "no numbers in '3,1, -4,2e3'; numbers have a decimal point and no comma"),
        ('1;"4,2"', (), "column 2 contains '4,2', not a number; numbers have a decimal point and no comma"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(line: str, columns: tuple[str, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        RowParser(columns).rows(line)


def test_an_empty_object_has_no_keys_to_name() -> None:
    with pytest.raises(ValueError, match="column x is missing; known: none"):
        RowParser(("a.x",), "json").rows('{"a": {}}')


def test_rows_keep_their_width() -> None:
    parser = RowParser()
    assert parser.rows("1,2")
    with pytest.raises(ValueError, match="3 columns, but expected 2"):
        parser.rows("1,2,3")


def test_a_header_without_a_column_says_what_it_has() -> None:
    with pytest.raises(HeaderError, match="no column z in the header 'x, y'"):
        RowParser(("x", "z")).rows("x,y")


@pytest.mark.parametrize(
    ("columns", "header", "line", "told"),
    [
        (("y",), "x,y", "1", "1 column, but expected 2"),
        (("t",), "t;x;y", "2", "1 column, but expected 3"),
        (("t",), "t;x;y", "1.5;", "2 columns, but expected 3"),
        (("b",), "a;b;c", "1;2", "2 columns, but expected 3"),
        (("b",), "a;b;c", "1;0.5;3;4;5", "5 columns, but expected 3"),
        ((), "a;b;c", "1;2;3;;", "5 columns, but expected 3"),
        (("b",), "a\tb\tc", "\t1", "2 columns, but expected 3"),
        (("b",), "a\tb\tc", "\t\t3", "column b is empty"),
        (("x", "y"), "", "1;", "column y is empty"),
    ],
)
def test_a_row_with_other_columns_than_the_header_is_left_out(
    columns: tuple[str, ...], header: str, line: str, told: str
) -> None:
    parser = RowParser(columns)
    parser.rows(header)
    with pytest.raises(ValueError, match=told):
        parser.rows(line)


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (("x", "y"), ("1;2;", "1;2")),
        (("y",), ("x;y;", "1;2;", "1;2")),
        ((), ("x,y", "1,2,", "1,2")),
        ((), ("1\t2\t", "1\t2\t", "1\t2")),
        (("x",), ("x\ty\tnote", "1\t2\t", "1\t2\tgood")),
    ],
)
def test_a_separator_at_the_end_is_no_column_where_their_number_is_known(
    columns: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    places = {("y",): (1,), ("x",): (0,)}.get(columns, (0, 1))
    expected = tuple((1.0, 2.0)[place] for place in places)
    assert set(parsed(RowParser(columns), *lines)) == {expected}


def test_a_header_may_have_any_number_of_columns() -> None:
    names = [f"c{number}" for number in range(30_000)]
    parser = RowParser()
    assert parser.rows(";".join(names)) == []
    assert parser.columns == tuple(names)


def test_a_later_header_changes_the_order() -> None:
    parser = RowParser(("b",))
    assert parsed(parser, "a;b;c", "1;2;3", "b;a;c", "4;5;6", "c;t;b;a", "6;7;8;9") == [(2,), (4,), (8,)]
    parser = RowParser()
    assert parsed(parser, "a;b;c", "1;2;3", "b;a;c", "4;5;6", "x;b;z", "7;8;9") == [(1, 2, 3), (5, 4, 6), (7, 8, 9)]


@pytest.mark.parametrize("first", [("a;b;c", "1;2;3"), ()])
def test_below_a_header_without_the_columns_no_row_is_guessed(first: tuple[str, ...]) -> None:
    parser = RowParser(("b", "c", "a"))
    assert len(parsed(parser, *first)) == len(first) // 2
    for line in ("a;y;z", "4;5;6"):
        with pytest.raises(ValueError, match="no column b or c in the header 'a, y, z'"):
            parser.rows(line)
    assert parsed(parser, "a;b;c", "7;8;9") == [(8, 9, 7)]


@pytest.mark.parametrize("first", [("a;b", "1;2"), ()])
@pytest.mark.parametrize("header", ["a;a", "a;b;a"])
def test_below_a_header_with_a_wanted_column_twice_no_row_is_guessed(first: tuple[str, ...], header: str) -> None:
    parser = RowParser(("a",))
    assert len(parsed(parser, *first)) == len(first) // 2
    for line in (header, "3;4;5"[: len(header)]):
        with pytest.raises(ValueError, match=f"more than one column a in the header '{header.replace(';', ', ')}'"):
            parser.rows(line)
    assert parsed(parser, "b;c;b;a", "5;6;7;8") == [(8,)]


def test_without_columns_each_cell_is_taken_whatever_its_name() -> None:
    assert parsed(RowParser(), "a;b;a", "1;2;3", "c;b;b", "4;5;6", "b;b;c", "7;8;9") == [
        (1, 2, 3),
        (4, 5, 6),
        (7, 8, 9),
    ]


@pytest.mark.parametrize("line", ["ready", "sensor is ready", "b too high now", "error; timeout"])
def test_a_message_among_rows_is_no_header(line: str) -> None:
    parser = RowParser(("b",))
    assert parsed(parser, "a;b;c", "1;2;3") == [(2,)]
    with pytest.raises(ValueError, match="no numbers in"):
        parser.rows(line)
    assert parsed(parser, "4;5;6") == [(5,)]


@pytest.mark.parametrize("columns", [(), ("x", "y", "z")])
@pytest.mark.parametrize("before", [("x,y,z",), ("x,y,z", "1,2,3"), ("1,2,3",)])
@pytest.mark.parametrize(
    "line", ["NA,NA,NA", "null,n/a,None", "true,false,true", "error,error,error", "walk,NA,NA", "ERR,sensor,timeout"]
)
def test_words_that_repeat_no_name_are_no_header(columns: tuple[str, ...], before: tuple[str, ...], line: str) -> None:
    parser = RowParser(columns)
    parsed(parser, *before)
    with pytest.raises(ValueError, match=f"no numbers in '{line.replace(',', ', ')}'"):
        parser.rows(line)
    assert parsed(parser, "4,5,6") == [(4, 5, 6)]
    if before[0] == "x,y,z":
        assert parsed(parser, "x,y,z", "z,y,x", "7,8,9") == [(9, 8, 7)]


@pytest.mark.parametrize("columns", [(), ("x", "y")])
@pytest.mark.parametrize("line", ["NA,NA", "N/A;null", "error,error"])
def test_words_for_no_value_are_no_header_in_the_first_line_either(columns: tuple[str, ...], line: str) -> None:
    parser = RowParser(columns)
    for _ in range(2):
        with pytest.raises(ValueError, match="no numbers in"):
            parser.rows(line)
    assert parsed(parser, "1,2") == [(1, 2)]


def test_a_column_may_have_the_name_of_no_value() -> None:
    assert parsed(RowParser(("none", "NA")), "NA,none", "1,2", "none,NA", "3,4") == [(2, 1), (3, 4)]
    assert parsed(RowParser(), "none,walk", "1,2") == [(1, 2)]


def test_a_later_header_of_one_column_is_one() -> None:
    assert parsed(RowParser(), "x", "1", "x", "2") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("t,note,x", '1,"c; d",2'),
        ("t,note,x", "1,it is; so,2"),
        ("t;note;x", "1;a, b;2"),
        ("t\tnote\tx", "1\ta, b; c\t2"),
    ],
)
def test_a_text_with_another_separator_does_not_change_the_cells(header: str, line: str) -> None:
    assert parsed(RowParser(("x",)), header, line) == [(2,)]


def test_a_unit_in_brackets_belongs_to_its_name() -> None:
    assert parsed(RowParser(("x [rad]",)), "t (s) x [rad]", "1 2") == [(2,)]
    assert parsed(RowParser(), "x [m/s^2]", "1") == [(1,)]


def test_an_error_of_a_spreadsheet_is_no_comment() -> None:
    parser = RowParser(("x", "y"))
    for line, words in (("#N/A,#N/A", "no numbers in '#N/A, #N/A'"), ("#DIV/0!,1", "not a number")):
        with pytest.raises(ValueError, match=words):
            parser.rows(line)
    assert parsed(parser, "#N is a comment", "#1,2", "1,2") == [(1, 2)]


def test_json_in_its_forms() -> None:
    assert parsed(RowParser(("x", "a.b"), "json"), '{"x": 1, "a": {"b": 2}, "name": "s"}') == [(1, 2)]
    assert parsed(RowParser((), "json"), '{"x": 1, "on": true, "name": "s"}') == [(1,)]
    assert parsed(RowParser((), "json"), "[1, 2]", "[[3, 4], [5, 6]]") == [(1, 2), (3, 4), (5, 6)]
    assert parsed(RowParser(("t",), "json"), "[1, 2]", "[[3], [4]]") == [(1,), (2,), (3,), (4,)]
    assert parsed(RowParser(("t",), "any"), "21.5", '{"t": 22}', '[{"t": 23}]', "24") == [(21.5,), (22,), (23,), (24,)]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"x": 1', "no JSON"),
        ('{"y": 1}', "column x is missing; known: 'y'"),
        ('{"x": null}', "column x is empty"),
        ('{"x": [1]}', "not a number"),
        ('{"x": true}', "column x contains 'true', not a number"),
        ('{"x": 1e39}', "column x contains '1e[+]39', too large for a 32-bit float"),
        ('{"x": "1_5"}', "column x contains '1_5', not a number"),
        ("[[1], [1e39], [2]]", "column x contains '1e[+]39', too large"),
        ("[false]", "column x contains 'false', not a number"),
        ("[" * 5000, "no JSON"),
    ],
)
def test_what_is_wrong_with_json_is_told(line: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        RowParser(("x",), "json").rows(line)


@given(st.text(max_size=200), st.sampled_from(["csv", "json", "any"]), st.sampled_from([(), ("x", "y")]))
def test_any_text_gives_rows_of_finite_numbers_or_a_reason(text: str, form: str, columns: tuple[str, ...]) -> None:
    try:
        rows = RowParser(columns, form).rows(text)  # type: ignore[arg-type]
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(np.isfinite(np.array(row, np.float32)).all() for row in rows)


LINES = st.lists(st.lists(st.sampled_from(["a", "b", "c", "1", "2", ""]), min_size=1, max_size=4), max_size=12)


@given(LINES, st.sampled_from([(), ("a", "b")]))
def test_rows_have_one_width_whatever_headers_come(lines: list[list[str]], columns: tuple[str, ...]) -> None:
    parser, widths = RowParser(columns), set()
    for line in lines:
        with contextlib.suppress(ValueError):
            widths.update(map(len, parser.rows(";".join(line))))
    assert len(widths) <= 1


def test_the_largest_float_is_a_number() -> None:
    assert parsed(RowParser(), "3.4028235e38 -3.4028235e38 1e-60") == [(3.4028235e38, -3.4028235e38, 1e-60)]


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.end, self.way = os.pipe()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.end)
        self.hang_up()

    def hang_up(self) -> None:
        if self.way >= 0:
            os.close(self.way)
            self.way = -1

    def say(self, data: bytes) -> None:
        assert os.write(self.way, data) == len(data)


def test_lines_come_in_pieces_and_with_any_ends() -> None:
    with Pipe() as pipe:
        lines = ByteLines(pipe.end)
        pipe.say(b"on")
        assert lines.next(time.monotonic()) is None
        pipe.say(b"e\r")
        pipe.say(b"\ntwo\n\n\nthree\rfour")
        assert [lines.next() for _ in range(3)] == [b"one", b"two", b"three"]
        pipe.hang_up()
        assert lines.next() == b"four"
        with pytest.raises(EndOfInputError):
            lines.next()


def test_a_line_that_stops_in_the_middle_is_left_out() -> None:
    with Pipe() as pipe:
        lines = ByteLines(pipe.end, patience=0.05)
        pipe.say(b"1,2")
        with pytest.raises(ValueError, match=r"^an incomplete line of 3 bytes$"):
            lines.next(time.monotonic() + 0.5)
        pipe.say(b"3")
        assert lines.next(time.monotonic() + 0.5) is None
        pipe.say(b",4\n5,6\n")  # what follows may be the rest of it
        assert lines.next() == b"5,6"


def test_a_long_line_that_comes_at_once_is_left_out() -> None:
    with Pipe() as pipe:
        lines = ByteLines(pipe.end)
        lines._feed(b"before\n" + b"x" * (LONGEST + 1) + b"\nshort\n")
        assert lines.next() == b"before"
        with pytest.raises(ValueError, match=rf"^a line of more than {LONGEST} bytes$"):
            lines.next()
        assert lines.next() == b"short"


def test_a_line_of_blanks_is_none() -> None:
    with Pipe() as pipe:
        lines = ByteLines(pipe.end)
        pipe.say(b"  \t \r\n\nfirst\n")
        assert lines.next() == b"first"


def test_a_line_without_end_is_left_out_and_takes_no_memory() -> None:
    with Pipe() as pipe:
        lines, faults = ByteLines(pipe.end), 0
        for _ in range(40):
            pipe.say(b"x" * (LONGEST // 8))
            try:
                assert lines.next(time.monotonic()) is None
            except ValueError:
                faults += 1
            assert len(lines._part) <= LONGEST
        pipe.say(b"the end\nshort\n")
        assert lines.next() == b"short"
        assert faults == 1


FRAME = struct.Struct("<hh")


def frame(x: int, y: int) -> bytes:
    return b"\xaa\x55" + FRAME.pack(x, y)


def all_of(rows: BinaryRows) -> tuple[list[tuple[float, ...]], list[str]]:
    found: list[tuple[float, ...]] = []
    faults: list[str] = []
    while True:
        try:
            more = rows.next(time.monotonic())
        except ValueError as error:
            faults.append(str(error))
            continue
        except EndOfInputError:
            return found, faults
        if not more:
            return found, faults
        found += more


def test_frames_are_found_again_after_a_disturbance() -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", FRAME)
        pipe.say(frame(9, 9)[3:] + frame(1, -2) + frame(3, 4))
        assert all_of(rows) == ([(1, -2), (3, 4)], [])  # the first was under way before, which is nobody's fault
        pipe.say(b"\0\1\2" + frame(5, 6)[:4] + frame(7, 8) + frame(9, 10))
        found, faults = all_of(rows)
        assert found == [(7, 8), (9, 10)]
        assert len(faults) == 2


def test_a_header_among_the_values_is_no_frame() -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", FRAME)
        (inside,) = struct.unpack("<h", b"\xaa\x55")
        pipe.say(frame(1, inside)[1:] + frame(2, 3) + frame(4, inside) + frame(inside, 5))
        assert all_of(rows)[0] == [(2, 3), (4, inside), (inside, 5)]


def test_a_frame_of_a_value_that_a_model_cannot_take_is_left_out() -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", struct.Struct("<d"))
        for value in (1.0, 1e39, math.nan, 2.0, 3.0):
            pipe.say(b"\xaa\x55" + struct.pack("<d", value))
        found, faults = all_of(rows)
        assert (found, len(faults)) == ([(1.0,), (2.0,), (3.0,)], 2)
        assert "too large for a 32-bit float" in faults[0]


def test_a_frame_that_stops_in_the_middle_is_left_out() -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", FRAME)
        pipe.say(frame(1, 1) + frame(2, 2) + frame(3, 3)[:4])
        assert all_of(rows)[0] == [(1, 1), (2, 2)]
        with pytest.raises(ValueError, match="incomplete frame: 4 of 6 bytes"):
            rows.next(time.monotonic() + 10.0)
        pipe.say(frame(4, 4) + frame(5, 5))
        assert all_of(rows) == ([(4, 4), (5, 5)], [])


def test_a_single_frame_followed_by_silence_counts() -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", FRAME)
        pipe.say(frame(1, 2))
        assert rows.next(time.monotonic() + 10.0) == ((1, 2),)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_frames_or_left_out(pieces: list[bytes]) -> None:
    with Pipe() as pipe:
        rows = BinaryRows(pipe.end, b"\xaa\x55", struct.Struct("<f"))
        for piece in pieces:
            pipe.say(piece)
            assert all(np.isfinite(row).all() for row in all_of(rows)[0])


def test_the_rate_is_measured_and_holds_until_it_is_clearly_another_one() -> None:
    rate = ArrivalRate()
    now = 100.0
    for index in range(200):
        now += 0.02 + (0.004 if index % 2 else -0.004)
        assert not rate.add(now)
    assert rate.rate == pytest.approx(50.0, rel=0.02)
    held = rate.rate
    changes = [rate.add(now := now + 0.021) for _ in range(100)]
    assert (changes.count(True), rate.rate) == (0, held)
    changes = [rate.add(now := now + 0.1) for _ in range(300)]
    assert True in changes
    assert rate.rate == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("hertz", [300, 5000])
def test_a_fast_sensor_has_a_rate_too(hertz: int) -> None:
    """More rows come within a second than are remembered."""
    rate = ArrivalRate()
    changes = [rate.add(100.0 + index / hertz) for index in range(3 * hertz)]
    assert rate.rate == pytest.approx(hertz, rel=0.01)
    assert True not in changes


def test_a_sensor_that_speaks_once_a_minute_has_a_rate_too() -> None:
    gatherer = RowGatherer(None)
    gatherer.add((1.0,), 0.0)
    assert not gatherer.due(0.9)
    assert gatherer.take() is None
    assert gatherer.due_at() == 1.0
    assert gatherer.due(1.0)
    first = gatherer.take()
    gatherer.add((2.0,), 60.0)
    assert gatherer.due(60.0)
    second = gatherer.take()
    assert first is not None
    assert second is not None
    assert (first.rate, first.values.tolist(), second.values.tolist()) == (1.0, [[1.0]], [[2.0]])
    assert (second.rate, second.gap) == (pytest.approx(1 / 60, rel=0.01), True)


def test_a_burst_before_the_rate_is_known_waits_for_a_second_at_most() -> None:
    rows, gatherer, faults = Pipe(), RowGatherer(None), Faults()
    with rows:
        lines = TextRows(ByteLines(rows.end), RowParser(("x",)))
        rows.say(b"".join(b"%d\n" % number for number in range(1000)))
        begun = time.monotonic()
        block = next_block(lines, gatherer, faults, 20.0)
        assert time.monotonic() - begun < 15.0
    assert block is not None
    assert block.values[:, 0].tolist() == list(range(1000))


def test_what_came_before_a_fault_is_not_lost_because_no_rate_is_known_yet() -> None:
    gatherer = RowGatherer(None)
    gatherer.add((1.0,), 0.0)
    gatherer.add((2.0,), 0.1)
    gatherer.gap()
    block = gatherer.take()
    assert block is not None
    assert block.values.tolist() == [[1.0], [2.0]]
    assert gatherer.rate_known is None, "a port is given the time that it has before its rate is known"


def test_what_comes_before_the_rate_is_known_is_bounded() -> None:
    gatherer = RowGatherer(None)
    for number in range(MOST):
        assert not gatherer.due(number / 1e5)
        gatherer.add((0.0,), number / 1e5)
    assert gatherer.due(MOST / 1e5)
    assert gatherer.rate == pytest.approx(1e5, rel=0.01)


def test_a_pause_and_a_loss_are_gaps_and_nothing_before_them_is_lost() -> None:
    gatherer = RowGatherer(100.0)
    gatherer.add((1.0,), 0.0)
    gatherer.add((2.0,), 0.01)
    gatherer.gap()
    gatherer.add((3.0,), 0.02)
    gatherer.add((4.0,), 5.0)
    blocks = [gatherer.take(), gatherer.take(), gatherer.take()]
    assert [(block.values[:, 0].tolist(), block.gap) for block in blocks if block is not None] == [
        ([1.0, 2.0], False),
        ([3.0], True),
        ([4.0], True),
    ]


def after_a_pause() -> RowGatherer:
    """One that has measured a row every 2 s, and then nothing for a long time."""
    gatherer = RowGatherer(None)
    for number in range(5):
        gatherer.add((0.0,), 2.0 * number)
        gatherer.due(2.0 * number)
        gatherer.take()
    assert gatherer.rate == 0.5
    return gatherer


def test_rows_that_are_faster_after_a_pause_have_no_rate_until_it_is_measured() -> None:
    gatherer = after_a_pause()
    for number in range(200):
        gatherer.add((1.0,), 50.0 + number / 1000)
    assert gatherer.rate is None
    assert not gatherer.due(50.5)
    assert gatherer.due(51.1)
    block = gatherer.take()
    assert block is not None
    assert (len(block.values), block.gap) == (200, True)
    assert block.rate > 100


def test_a_burst_after_a_pause_is_not_slow() -> None:
    gatherer = after_a_pause()
    for _ in range(8000):
        gatherer.add((1.0,), 50.0)
    assert gatherer.due(50.0)
    block = gatherer.take()
    assert block is not None
    assert block.rate > 100_000


def test_a_slow_sensor_goes_on_at_once_after_a_pause() -> None:
    gatherer = after_a_pause()
    for number in range(3):
        gatherer.add((1.0,), 50.0 + 2 * number)
        assert gatherer.due(50.0 + 2 * number)
        block = gatherer.take()
        assert block is not None
        assert (block.rate, block.gap) == (0.5, number == 0)


def test_a_broken_line_is_counted_and_what_follows_has_a_gap() -> None:
    with Pipe() as pipe:
        faults = Faults()
        rows, gatherer = TextRows(ByteLines(pipe.end), RowParser(("x", "y"))), RowGatherer(50.0)
        pipe.say(b"1,2\n3\n4,5\n")
        first = next_block(rows, gatherer, faults, 5.0)
        second = next_block(rows, gatherer, faults, 5.0)
        assert first is not None
        assert second is not None
        assert (first.values.tolist(), first.gap, second.values.tolist(), second.gap) == (
            [[1, 2]],
            False,
            [[4, 5]],
            True,
        )
        assert (faults.count, faults.last) == (1, "1 column, but expected 2")
        assert next_block(rows, gatherer, faults, 0.05) is None


def test_a_line_that_was_cut_by_unplugging_is_no_row() -> None:
    with Pipe() as pipe:
        lines = ByteLines(pipe.end, patience=5.0)
        pipe.say(b"1.25\n3.1")
        pipe.hang_up()
        assert lines.next() == b"1.25"
        with pytest.raises(ValueError, match="an incomplete line of 3 bytes"):
            lines.next()
        with pytest.raises(EndOfInputError):
            lines.next()


def test_a_message_of_the_sensor_is_no_gap_and_a_broken_row_is_one() -> None:
    for line, gap in (
        (b"battery ok\n", False),
        (b"NA\n", True),
        (b"timeout\n", True),
        (b"3x\n", True),
        (b"\xff\n", True),
    ):
        with Pipe() as pipe:
            faults = Faults()
            rows, gatherer = TextRows(ByteLines(pipe.end), RowParser(("x",))), RowGatherer(50.0)
            pipe.say(b"1\n2\n" + line + b"3\n4\n")
            blocks = [next_block(rows, gatherer, faults, 0.5) for _ in range(2)]
        found = [(block.values[:, 0].tolist(), block.gap) for block in blocks if block is not None]
        assert found == ([([1, 2], False), ([3, 4], True)] if gap else [([1, 2, 3, 4], False)])
        assert faults.count == 1


def test_a_line_that_was_cut_off_is_a_gap() -> None:
    with Pipe() as pipe:
        faults = Faults()
        rows, gatherer = TextRows(ByteLines(pipe.end, patience=0.05), RowParser(("x", "y"))), RowGatherer(4.0)
        pipe.say(b"1,2\n3,")
        first = next_block(rows, gatherer, faults, 5.0)
        assert next_block(rows, gatherer, faults, 0.5) is None
        pipe.say(b"4\n5,6\n")
        second = next_block(rows, gatherer, faults, 5.0)
    assert first is not None
    assert second is not None
    assert (first.values.tolist(), second.values.tolist(), second.gap) == ([[1, 2]], [[5, 6]], True)
    assert (faults.count, faults.last) == (1, "an incomplete line of 2 bytes")


def test_rows_before_a_device_goes_are_not_lost_because_no_rate_is_known_yet() -> None:
    with Pipe() as pipe:
        faults, gatherer = Faults(), RowGatherer(None)
        rows = TextRows(ByteLines(pipe.end), RowParser(("x",)))
        pipe.say(b"1\n2\n3\n")
        pipe.hang_up()
        block = next_block(rows, gatherer, faults, 5.0)
        assert block is not None
        assert block.values[:, 0].tolist() == [1, 2, 3]
        for _ in range(2):
            with pytest.raises(EndOfInputError):
                next_block(rows, gatherer, faults, 5.0)


def test_a_number_beyond_a_float_takes_no_other_row_with_it() -> None:
    with Pipe() as pipe:
        faults = Faults()
        rows, gatherer = TextRows(ByteLines(pipe.end), RowParser(("x",))), RowGatherer(50.0)
        pipe.say(b"1\n2\n1e39\n3\n4\n")
        blocks = [next_block(rows, gatherer, faults, 5.0) for _ in range(2)]
    assert [(block.values[:, 0].tolist(), block.gap) for block in blocks if block is not None] == [
        ([1, 2], False),
        ([3, 4], True),
    ]
    assert faults.count == 1


def test_both_times_of_a_row_are_of_its_arrival() -> None:
    """The reader may be interrupted between the arrival and the row; otherwise times of results could go back."""
    gatherer = RowGatherer(100.0)
    arrived = time.monotonic() - 5.0
    gatherer.add((1.0,), arrived)
    gatherer.gap()
    block = gatherer.take()
    assert block is not None
    assert block.monotonic == arrived
    assert time.time() - block.wall == pytest.approx(time.monotonic() - arrived, abs=0.1)


def test_the_wall_time_of_rows_in_a_burst_never_goes_back() -> None:
    """The second row's thread is interrupted for 40 ms between its readings of the two clocks."""
    wall, monotonic = iter([1000.0, 1000.001]), iter([10.0, 10.041])
    gatherer, blocks = RowGatherer(10.0, ConvertedClock(lambda: next(wall), lambda: next(monotonic))), []
    for arrived in (10.0, 10.001):
        gatherer.add((1.0,), arrived)
        blocks.append(gatherer.take())
    assert [block.wall for block in blocks if block is not None] == pytest.approx([1000.0, 1000.001])
