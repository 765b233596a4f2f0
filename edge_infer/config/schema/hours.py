"""Keys for the hours in which a pipeline is active: days and times of day, in the time zone of the device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edge_infer.plan.records import MINUTES_A_DAY, HoursPlan
from edge_infer.yamlfile.error_text import ProblemAtError, unknown, wrong
from edge_infer.yamlfile.fields import Kind
from edge_infer.yamlfile.scalars import Written

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KEYS: Final = ("days", "from", "to")
MOST: Final = 32
_DAY: Final = rf"(?:{'|'.join(DAYS)})"
_DAYS_TEXT: Final = rf"{_DAY}(?:-{_DAY})?(?:, *{_DAY}(?:-{_DAY})?)*"
_TIME: Final = r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]|24:00"


def _days(value: Any) -> tuple[int, ...]:
    """Return the numbers of the days; Monday is 0. ``fri-mon`` includes the weekend."""
    parts = value if isinstance(value, list) else [value]
    found: set[int] = set()
    for part in parts:
        if not isinstance(part, str) or not re.fullmatch(_DAYS_TEXT, part):
            raise ValueError(wrong("days such as mon-fri, or a list such as [sat, sun]", value))
        for each in re.split(", *", part):
            first, _, last = each.partition("-")
            begin, end = DAYS.index(first), DAYS.index(last or first)
            found |= {day % 7 for day in range(begin, (end if end >= begin else end + 7) + 1)}
    if not found:
        raise ValueError(wrong("days such as mon-fri, or a list such as [sat, sun]", value))
    return tuple(sorted(found))


def _time(value: Any) -> int:
    """Return the minutes since midnight."""
    text = value.text if isinstance(value, Written) else value
    if not isinstance(text, str) or not re.fullmatch(_TIME, text):
        raise ValueError(wrong("a time of day between 00:00 and 24:00, such as 22:00", value))
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _hours(value: Any) -> HoursPlan:
    if not isinstance(value, dict):
        raise ValueError(wrong(f"the keys {', '.join(KEYS)}, or a list of such", value))  # noqa: TRY004
    for key in value:
        if key not in KEYS:
            raise ProblemAtError((key,), unknown(key, KEYS))
    days = _part(value, "days", _days, tuple(range(7)))
    start, end = _part(value, "from", _time, 0), _part(value, "to", _time, MINUTES_A_DAY)
    if start == MINUTES_A_DAY:
        raise ProblemAtError(("from",), "24:00 is the end of a day; a day begins at 00:00")
    if start == end:
        raise ProblemAtError(
            ("to",), ("equals from, so the pipeline would never be active; remove both keys for whole days")
        )
    return HoursPlan(days, start, end)


def _part(value: Mapping[str, Any], key: str, parse: Any, default: Any) -> Any:
    if key not in value:
        return default
    try:
        return parse(value[key])
    except ValueError as error:
        raise ProblemAtError((key,), str(error)) from error


def _active(value: Any) -> tuple[HoursPlan, ...]:
    """Return the hours of a mapping, or of a list of mappings."""
    if not isinstance(value, list):
        return (_hours(value),)
    if not 1 <= len(value) <= MOST:
        raise ValueError(wrong(f"1 to {MOST} entries with the keys {', '.join(KEYS)}", value))
    found = []
    for index, each in enumerate(value):
        try:
            found.append(_hours(each))
        except ValueError as error:
            raise ProblemAtError((index, *getattr(error, "path", ())), str(error)) from error
    return tuple(found)


_DAYS_JSON: Final = {"type": "string", "pattern": f"^{_DAYS_TEXT}$"}
_TIME_JSON: Final = {"type": "string", "pattern": f"^(?:{_TIME})$"}
_HOURS_JSON: Final = {
    "type": "object",
    "properties": {
        "days": {
            "anyOf": [_DAYS_JSON, {"type": "array", "items": _DAYS_JSON, "minItems": 1}],
            "description": "Days of the week on which the hours begin; without it every day.",
            "examples": ["mon-fri", ["sat", "sun"]],
        },
        "from": {**_TIME_JSON, "description": "Time at which they begin; without it at 00:00.", "examples": ["22:00"]},
        "to": {
            **_TIME_JSON,
            "description": (
                "Time at which they end, on the next day if it is not later than `from`; without it at 24:00."
            ),
            "examples": ["06:00"],
        },
    },
    "additionalProperties": False,
}
ACTIVE: Final = Kind(
    _active, {"anyOf": [_HOURS_JSON, {"type": "array", "items": _HOURS_JSON, "minItems": 1, "maxItems": MOST}]}
)
