"""Parser of points in time: ``8:45``, ``2026-11-25T08:45``, ``3m ago``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from edge_infer.config.units import parse_duration

CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")


def parse_moment(text: str, now: datetime) -> datetime:
    """Return a point in time before ``now``, which has a time zone; raises ValueError for anything else.

    A time of day is the last time that the clock showed it. A date and time without a zone is in the zone of ``now``.
    """
    moment = _parsed(text.strip(), now)
    if moment > now:
        raise ValueError(f"{text} is still to come; it is {now:%Y-%m-%d %H:%M:%S} now")
    return moment


def _parsed(text: str, now: datetime) -> datetime:
    if clock := CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        moment = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return moment if moment <= now else moment - timedelta(days=1)
    try:
        if text.endswith(" ago"):
            return now - timedelta(seconds=parse_duration(text[:-4].strip()))
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"a time is one of the day (8:45, 08:45:30), a date with it (2026-11-25T08:45) or how long ago (3m ago), "
            f"not {text!r}"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)
