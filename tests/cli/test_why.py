"""``edge-infer why``: moments as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edge_infer.cli import main
from edge_infer.cli.arguments import parse_moment

NOW = datetime(2026, 11, 25, 9, 30, 15, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("8:45", "2026-11-25T08:45:00+01:00"),
        ("08:45:30", "2026-11-25T08:45:30+01:00"),
        ("9:31", "2026-11-24T09:31:00+01:00"),  # it has not been 9:31 today
        ("23:59:59", "2026-11-24T23:59:59+01:00"),
        ("2026-11-25T08:45", "2026-11-25T08:45:00+01:00"),
        ("2026-11-25 08:45:12", "2026-11-25T08:45:12+01:00"),
        ("2026-11-25T07:45:12Z", "2026-11-25T08:45:12+01:00"),
        ("2026-11-25T02:45:12-05:00", "2026-11-25T08:45:12+01:00"),
        ("3m ago", "2026-11-25T09:27:15+01:00"),
        ("90s ago", "2026-11-25T09:28:45+01:00"),
        (" 2h ago ", "2026-11-25T07:30:15+01:00"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert parse_moment(text, NOW) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-25T10:00", "is in the future; the time is 2026-11-25 09:30:15"),
        ("24:00", "not '24:00'"),
        ("8:60", "a time is one of the day (8:45, 08:45:30)"),
        ("yesterday", "or how long ago (3m ago)"),
        ("ago", "a time is"),
        ("99999999999d ago", "a time is"),
        ("", "a time is"),
    ],
)
def test_what_is_no_moment(text: str, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_moment(text, NOW)
    assert words in str(raised.value)


def test_a_wrong_question_is_refused_before_anybody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--at", "soon"], ["--last", "long"], ["--at", "8:45", "--last", "5m"]):
        with pytest.raises(SystemExit) as ended:
            main(["why", *options])
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "not 'soon'" in said
    assert "a duration is a number of seconds" in said
    assert "not allowed with argument" in said
