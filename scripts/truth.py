"""Compares reported events with the truth of a synthetic scene: missed, doubled and invented events."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from scenes import LINE, SIZE, ZONE, Actor, Due, Scene, Shot, shoot

from edge_infer.contract.codec import replace
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import Instant
from edge_infer.plan.records import DecoderPlan, EventsPlan, InputPlan, ModelPlan, NmsPlan, PipelinePlan, TrackPlan

NOW: Final = 1_700_000_000.0
MOST_MISSED: Final = 0.005
"""Maximum share of missed events. A person who arrives a moment after another one left, two sizes away, may look like
that one; boxes alone cannot separate the two."""


@dataclass(slots=True)
class Account:
    """The result of one scene; ``switches`` counts boxes whose id differs from the id of the object's previous box."""

    frames: int = 0
    true: Counter[str] = field(default_factory=Counter)
    missed: list[Due] = field(default_factory=list)
    doubled: list[Happening] = field(default_factory=list)
    invented: list[Happening] = field(default_factory=list)
    boxes: int = 0
    switches: int = 0
    unequal: int = 0

    @property
    def right(self) -> bool:
        """Whether nothing is doubled or invented, few events are missed, and at most 2 % of the objects changed their
        id."""
        wrong = self.doubled or self.invented or self.unequal
        return not wrong and self.missed_share <= MOST_MISSED and self.switch_share <= 0.02

    @property
    def missed_share(self) -> float:
        """Missed events as a share of the true ones."""
        return len(self.missed) / max(1, self.true.total())

    @property
    def switch_share(self) -> float:
        """Identity switches as a share of the objects."""
        return self.switches / max(1, self.true["appear"])


def pipeline(**settings: object) -> PipelinePlan:
    """Return a pipeline with a fictitious detector, one zone and one line."""
    model = ModelPlan(
        "people", "people@1", "1", "0" * 64, "/nowhere", "detection", DecoderPlan("none", "none:None"), ("person",),
        InputPlan(), 0.5, NmsPlan(),
    )  # fmt: skip
    events = EventsPlan(most=6000.0)
    plan = PipelinePlan("door", "cam", model, 0.5, track=TrackPlan(), zones=(ZONE,), lines=(LINE,), events=events)
    return replace(plan, **settings)


def judge(scene: Scene, fps: float, seed: int, plan: PipelinePlan, dropped: float = 0.2) -> Account:
    """Run tracker, zones, lines and events on a scene, and compare the events with the truth."""
    account, told, entered = Account(), list[Happening](), Counter[str]()
    numbers = itertools.count(1)
    follow = Follow(plan, lambda: next(numbers))
    last: dict[int, int] = {}
    moments: list[float] = []
    for shot in shoot(scene, fps, seed, dropped):
        account.frames += 1
        moments.append(shot.moment)
        followed, news = follow(Detections(shot.found, SIZE), Instant(shot.moment, NOW + shot.moment))
        told += news
        assert isinstance(followed, Followed)
        _count_switches(account, last, shot, followed)
        entered.update(happening.type for happening in news if happening.zone)
        inside = sum(count for _, labels in followed.zones for _, count in labels)
        account.unequal += inside != entered["enter"] - entered["exit"]
    _compare(account, [_patient(due, moments, fps) for due in scene.due], told)
    return account


def _patient(due: Due, moments: list[float], fps: float) -> Due:
    """Return the event with a later deadline: by the time of each pause between frames beyond two intervals."""
    high, place = due.high, bisect.bisect_left(moments, due.low)
    while 0 < place < len(moments) and moments[place - 1] < high:
        high += max(0.0, moments[place] - moments[place - 1] - 2 / fps)
        place += 1
    return replace(due, high=high)


def _count_switches(account: Account, last: dict[int, int], shot: Shot, followed: Followed) -> None:
    ids = {item.box: item.number for item in followed.detections.objects}
    for found, actor in zip(shot.found, shot.whose, strict=True):
        number = ids.get(found.box)
        if isinstance(actor, Actor) and number is not None:
            account.boxes += 1
            account.switches += last.get(id(actor), number) != number
            last[id(actor)] = number


def _compare(account: Account, due: Iterable[Due], told: Iterable[Happening]) -> None:
    """Assign a reported event to each due event, in the order of their deadlines; the remaining reported events are
    wrong."""
    left = list(told)
    met: list[Due] = []
    for item in sorted(due, key=lambda item: item.high):
        account.true[item.type] += not item.optional
        fitting = [happening for happening in left if _fits(item, happening)]
        if fitting:
            left.remove(fitting[0])
            met.append(item)
        elif not item.optional:
            account.missed.append(item)
    for happening in left:
        twice = any(_fits(item, happening) for item in met)
        (account.doubled if twice else account.invented).append(happening)


def _fits(due: Due, happening: Happening) -> bool:
    return (
        happening.type == due.type
        and (happening.direction or "") == due.direction
        and due.low <= happening.when.moment <= due.high
    )
