"""``active:`` of a pipeline: what may be written, and what every mistake is told."""

from __future__ import annotations

import pytest

from edge_infer.config.schema.hours import ACTIVE
from edge_infer.plan.records import HoursPlan
from edge_infer.yamlfile.error_text import ProblemAtError

WORKDAYS, ALL = (0, 1, 2, 3, 4), tuple(range(7))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"days": "mon-fri", "from": "22:00", "to": "06:00"}, (HoursPlan(WORKDAYS, 1320, 360),)),
        ({"from": "6:30"}, (HoursPlan(ALL, 390, 1440),)),
        ({"days": ["sat", "sun"], "to": "24:00"}, (HoursPlan((5, 6), 0, 1440),)),
        ({"days": "fri-mon"}, (HoursPlan((0, 4, 5, 6), 0, 1440),)),
        ({"days": "mon, wed-thu"}, (HoursPlan((0, 2, 3), 0, 1440),)),
        ([{"days": "sat"}, {"to": "06:00"}], (HoursPlan((5,), 0, 1440), HoursPlan(ALL, 0, 360))),
    ],
)
def test_hours(written: object, meant: tuple[HoursPlan, ...]) -> None:
    assert ACTIVE.parse(written) == meant


@pytest.mark.parametrize(
    ("written", "path", "text"),
    [
        ("nights", (), "expected the keys days, from, to, or a list of such"),
        ([], (), "expected 1 to 32 entries"),
        ({"day": "mon"}, ("day",), 'did you mean "days"?'),
        ({"days": "mo-fr"}, ("days",), "expected days such as mon-fri"),
        ({"days": []}, ("days",), "expected days such as mon-fri"),
        ({"from": "25:00"}, ("from",), "expected a time of day between 00:00 and 24:00"),
        ({"from": "24:00"}, ("from",), "a day begins at 00:00"),
        ({"to": 6}, ("to",), "expected a time of day"),
        ({"from": "06:00", "to": "06:00"}, ("to",), "the pipeline would never be active"),
        ([{"from": "06:00"}, {"to": "7"}], (1, "to"), "expected a time of day"),
    ],
)
def test_mistakes(written: object, path: tuple[object, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("?", r"\?")) as caught:
        ACTIVE.parse(written)
    assert (caught.value.path if isinstance(caught.value, ProblemAtError) else ()) == path
