"""When an object came over a border: where its path crosses it, however slow it is."""

from __future__ import annotations

import pytest

from edge_infer.engine.events.visit import MARGIN, Side
from edge_infer.frames.frame import Instant

BOX = 80.0
SPAN = 0.2


def walk(side: Side, speed: float, until: float, start: float = 5.0) -> Instant | None:
    """Looks at a point five times a second, which is at the border at ``start``; when it came over, once it has."""
    for number in range(round(until * 5) + 1):
        now = Instant(number / 5, 1000.0 + number / 5)
        if side.look((now.moment - start) * speed, BOX * MARGIN, now, SPAN) and side.settled:
            return side.changed
    return None


@pytest.mark.parametrize("speed", [5.0, 10.0, 20.0, 40.0, 400.0])
@pytest.mark.parametrize("start", [5.0, 5.05])
def test_since_is_when_the_path_crossed_the_border(speed: float, start: float) -> None:
    came = walk(Side(), speed, 20.0, start)
    assert came is not None
    assert came.moment == pytest.approx(start)
    assert came.wall == pytest.approx(1000.0 + start)


def test_who_turns_back_within_the_margin_came_the_second_time() -> None:
    side = Side()
    path = [-20, -10, -3, 4, 6, -2, 2, 6, 12, 20, 30, 40]
    changed = None
    for number, distance in enumerate(path):
        now = Instant(float(number), 1000.0 + number)
        if side.look(float(distance), BOX * MARGIN, now, SPAN) and side.settled:
            changed = side.changed
            break
    assert changed is not None
    assert changed.moment == pytest.approx(5.5)
