"""Whom a cascade asks its model about, what it remembers of the answers, and what it tells of them."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.engine.cascade.child import Inquiry
from edge_infer.engine.cascade.sighting import Sighted
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.frames.frame import Frame, Instant
from edge_infer.plan.records import EventsPlan, PipelinePlan
from tests.engine.cascade.sightings import SIZE, child, classified, seen, shown
from tests.running import ROOT


def inquiry(plan: PipelinePlan) -> Inquiry:
    return Inquiry(plan, lambda: 1)


def asked(one: Inquiry, frame: Frame, said: str | None = "mask") -> list[int | None]:
    """Looks at a frame, gives every crop the same answer; whom it asked about."""
    found = []
    for crop in one.asks(frame):
        assert crop.parent is not None
        one(classified(said), frame.instant, crop.parent)
        found.append(crop.parent.id)
    return found


def without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", text)


def test_the_best_of_a_frame_come_first_and_the_others_in_the_next() -> None:
    one = inquiry(child(most=2))
    objects = (seen(1, 0.9), seen(2, 0.8), seen(3, 0.7))
    assert asked(one, shown(*objects, present={1, 2, 3})) == [1, 2]
    assert asked(one, shown(*objects, at=0.1, present={1, 2, 3})) == [3]
    assert asked(one, shown(*objects, at=0.2, present={1, 2, 3})) == []
    stages = [each.sentence().partition(": ")[2] for each in one.decisions.between(-1.0)]
    assert stages[0] == "#3 not examined: 2 others of the frame came first (crops.most)"
    assert stages[1] == (
        "#1 not examined again: the last time was 0.2 s ago, and it has grown by 0% since; crops.again is 5 s, "
        "crops.grown 50%"
    )
    page = without_numbers((ROOT / "docs/cascades.md").read_text())
    assert [stage for stage in stages if without_numbers(stage) not in page] == []


def test_an_object_is_asked_about_again_after_a_time_or_when_it_has_grown() -> None:
    one = inquiry(child(again=2.0, grown=0.5))
    assert asked(one, shown(seen(1), present={1})) == [1]
    assert asked(one, shown(seen(1, side=48.0), at=1.0, present={1})) == []  # 44 % more area
    assert asked(one, shown(seen(1, side=50.0), at=1.1, present={1})) == [1]
    assert asked(one, shown(seen(1, side=50.0), at=3.0, present={1})) == []
    assert asked(one, shown(seen(1, side=50.0), at=3.2, present={1})) == [1]


def test_an_object_that_is_smaller_has_shrunk() -> None:
    one = inquiry(child())
    assert asked(one, shown(seen(1), present={1})) == [1]
    assert asked(one, shown(seen(1, side=36.0), at=1.0, present={1})) == []
    (said,) = (each.sentence() for each in one.decisions.between(-1.0))
    assert "and it has shrunk by 19% since; crops.again is" in said


def test_every_frame_is_asked_about_where_that_is_wanted_or_nobody_is_followed() -> None:
    always, unknown = inquiry(child(again=0.0)), inquiry(child())
    for at in (0.0, 0.1, 0.2):
        assert asked(always, shown(seen(1), at=at, present={1})) == [1]
        assert asked(unknown, shown(seen(None), seen(None, 0.8, nth=1), at=at)) == [None, None]


def test_only_objects_with_its_labels_are_asked_about() -> None:
    one = inquiry(child(labels=("person",), most=1))
    assert asked(one, shown(seen(1, 0.9, label="dog"), seen(2, 0.5), present={1, 2})) == [2]
    assert [each.text for each in one.decisions.between(-1.0, label="dog")] == ["#1 crops are for person"]


def test_a_crop_is_the_frame_with_a_region() -> None:
    frame = shown(seen(1, side=40.0), present={1})
    (crop,) = inquiry(child(margin=0.5)).asks(frame)
    assert isinstance(crop, Frame)
    assert crop.pixels is frame.pixels
    assert crop.region is not None
    assert (crop.region.left, crop.region.top, *crop.region.size) == (80, 80, 80, 80)


def test_answers_hold_until_there_is_another_or_the_object_is_gone() -> None:
    one = inquiry(child())
    asked(one, shown(seen(1), seen(2), present={1, 2}))
    assert one.known() == {(1, 0), (2, 0)}
    asked(one, shown(seen(2), at=1.0, present={1, 2}))  # 1 is hidden for a moment
    assert one.known() == {(1, 0), (2, 0)}
    asked(one, shown(seen(2), at=1.0, present={2}))
    answers, _ = one.settled(Instant(1.0, 1.0))
    assert answers is not None
    assert [each.about.id for each in answers.each] == [2]


def test_without_ids_answers_hold_until_the_next_frame() -> None:
    one = inquiry(child())
    asked(one, shown(seen(None), seen(None, nth=1)))
    assert len(one.known()) == 2
    asked(one, shown(seen(None), at=0.1))
    assert len(one.known()) == 1
    asked(one, shown(at=0.2))
    assert not one.known()


def test_in_a_cascade_of_a_cascade_only_what_was_looked_at_is_told_anew() -> None:
    one = inquiry(child())
    inner = [replace(seen(None, nth=nth), found=replace(seen(None).found, parent=number)) for number, nth in
             ((1, 0), (1, 1), (2, 0))]  # fmt: skip
    assert asked(one, shown(*inner, present={1, 2}, asked={1, 2})) == [1, 1, 2]
    assert asked(one, shown(present={1, 2}, asked={1}, at=1.0)) == []  # nothing is found in 1 any more
    assert one.known() == {(2, 0)}
    asked(one, shown(present={1}, asked=set(), at=2.0))
    assert not one.known()


def test_what_is_found_in_a_crop_says_whose_it_is() -> None:
    one, parent = inquiry(child("detection")), seen(4)
    found, _ = one(Detections((Detection("mask", 0, 0.8, (1.0, 2.0, 3.0, 4.0)),), SIZE), Instant(0.0, 0.0), parent)
    assert isinstance(found, Detections)
    assert [item.parent for item in found.objects] == [4]


def told(one: Inquiry, frame: Frame, said: str | None) -> list[tuple[str, str | None, int | None]]:
    asked(one, frame, said)
    return [(each.type, each.label, each.number) for each in one.settled(frame.instant)[1]]


def test_an_answer_that_holds_is_an_event_of_its_object() -> None:
    one = inquiry(replace(child(again=1.0), events=EventsPlan(min_duration=0.5)))
    assert told(one, shown(seen(3), present={3}), "none") == []
    assert told(one, shown(seen(3), present={3}, at=0.6), "none") == [("start", "none", 3)]
    assert told(one, shown(seen(3), present={3}, at=1.1), "mask") == []
    assert told(one, shown(seen(3), present={3}, at=1.7), "mask") == [("start", "mask", 3), ("end", "none", 3)]
    assert told(one, shown(present=set(), at=1.8), "mask") == [("end", "mask", 3)]


@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(1, 4)), st.lists(st.sampled_from(["mask", "none", None]), min_size=4, max_size=4)
        ),
        max_size=30,
    )
)
def test_every_start_has_one_end(frames: list[tuple[set[int], tuple[str | None, ...]]]) -> None:
    one = inquiry(replace(child(again=0.3), events=EventsPlan(min_duration=0.2, most=6000)))
    news: list[Happening] = []
    for index, (present, answers) in enumerate(frames):
        frame = shown(*(seen(number) for number in sorted(present)), present=present, at=index * 0.1)
        for crop in one.asks(frame):
            parent = crop.parent
            assert isinstance(parent, Sighted)
            one(classified(answers[(parent.id or 1) - 1]), frame.instant, parent)
        news += one.settled(frame.instant)[1]
        assert {key[0] for key in one.known()} <= present
    news += one.end("stopped", Instant(100.0, 100.0))
    balance: Counter[tuple[str | None, int | None]] = Counter()
    for each in news:
        balance[each.label, each.number] += 1 if each.type == "start" else -1
        assert balance[each.label, each.number] in {0, 1}
    assert not any(balance.values())
    assert not one.known()
