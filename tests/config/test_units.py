"""Durations, sizes and picture sizes, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.yamlfile.units import format_duration, parse_duration, parse_pixels, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1.5s", 1.5), (3, 3), (0.25, 0.25)],
)
def test_durations(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(("word", "seconds"), [("60", 60), ("0.5", 0.5), ("600", 600), ("5m", 300)])
def test_durations_on_a_command_line(word: str, seconds: float) -> None:
    assert parse_seconds(word) == seconds


@pytest.mark.parametrize("word", ["", "x", "-5", "1e3", "5 m"])
def test_what_is_no_duration_on_a_command_line(word: str) -> None:
    with pytest.raises(ValueError, match="500ms, 10s"):
        parse_seconds(word)


@pytest.mark.parametrize("word", ["-1", "-0.5", "-5m"])
def test_a_negative_duration_is_named_on_a_command_line(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word} is negative; a duration is a number of seconds from 0 on"):
        parse_seconds(word)


@pytest.mark.parametrize(
    "written", ["", "s", "5", "5 m", "5min", "-5s", "5S", "1e3s", "\uff15s", "12:30", True, None, []]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="500ms, 10s, 5m, 2h, 7d"):
        parse_duration(written)  # type: ignore[arg-type]


@pytest.mark.parametrize(("written", "size"), [("64M", 64 << 20), ("256K", 262144), ("1G", 1 << 30), ("7", 7), (7, 7)])
def test_sizes(written: str | int, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "M", "64 M", "64MB", "64m", "-1", 1.5, False])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="256K, 64M, 1G"):
        parse_size(written)  # type: ignore[arg-type]


def test_picture_sizes() -> None:
    assert parse_pixels("640x480") == (640, 480)
    for written in ("640", "640X480", "640*480", "640x480x3", "x", 640):
        with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
            parse_pixels(written)  # type: ignore[arg-type]


@given(st.integers(1, 10**9).map(lambda count: count / 1000))
def test_a_duration_that_was_written_is_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


def test_defaults_are_written_as_people_write_them() -> None:
    assert [format_duration(seconds) for seconds in (0.1, 1, 60, 300, 3600, 604800)] == [
        *("100ms", "1s", "60s", "5m", "1h", "7d")
    ]
