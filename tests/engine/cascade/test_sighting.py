"""Where a crop lies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.contract.precision import FULL
from tests.engine.cascade.sightings import SIZE, seen

SIDE = st.floats(-50.0, 700.0)


@given(SIDE, SIDE, SIDE, SIDE, st.floats(0.0, 2.0))
def test_a_crop_is_a_part_of_the_frame_and_holds_what_of_the_box_is_in_it(
    left: float, top: float, right: float, bottom: float, margin: float
) -> None:
    box = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
    each = replace(seen(1), found=replace(seen(1).found, box=box))
    region = each.region(margin)
    assert 0 <= region.left < region.left + region.width <= SIZE[0]
    assert 0 <= region.top < region.top + region.height <= SIZE[1]
    for axis, start, length in ((0, region.left, region.width), (1, region.top, region.height)):
        most = SIZE[axis]
        assert start <= max(0.0, box[axis]) or start == most - 1
        assert start + length >= min(box[axis + 2], most)


def test_a_box_as_a_result_tells_of_it() -> None:
    parent = seen(4).wire(FULL)
    assert (parent.pipeline, parent.label, parent.id, parent.seq) == ("people", "person", 4, 7)
    assert parent.box == (0.1562, 0.2083, 0.2188, 0.2917)
