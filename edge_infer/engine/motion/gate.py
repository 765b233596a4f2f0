"""Motion gate: selects the parts of a frame on which the model runs; for the other parts the last findings stay valid.

Without ``motion`` in the plan the model runs on every part of every frame. With ``motion`` it runs on a part

- while something moves in the part, and for `LINGER` seconds longer;
- if the light has changed, while the background is being learned, and while nothing is known: at the first frame, and
  after a fault or a lost source;
- ``still_check`` seconds after its last run on the part;
- while the part contains an object, if something moves elsewhere or the findings are not settled: a tracked object is
  missing or not confirmed yet, or a label is about to start or to end.

If no part of a frame is selected, the pipeline uses the last findings again. The tracker and all later steps receive
these findings as if they had been found in this frame. Therefore time continues for a still object, and no timeout
expires only because the model did not run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_infer.contract.codec import replace
from edge_infer.engine.events.decision_record import STILL
from edge_infer.engine.events.follow import Follow
from edge_infer.engine.model.loaded_model import Look
from edge_infer.engine.motion.background import Background, Change
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import ROUNDING, Captured, Frame
from edge_infer.frames.geometry import Box, Region
from edge_infer.plan.records import InputPlan, MotionPlan, PipelinePlan

COMPARED: Final = 0.2
"""Minimum seconds between two comparisons with the background while something moves.

The model runs during this time anyway, so it suffices if the next comparison comes well before `LINGER` is over.
"""
LINGER: Final = 1.0
"""Seconds for which the model continues to run on a part after motion in it, so that the model also sees the object at
rest."""


class Glance(NamedTuple):
    """Decision on a frame: its change against the background, and the selected parts (None: the whole frame)."""

    change: Change
    chosen: tuple[Region | None, ...]
    parts: int


class Unmoved(NamedTuple):
    """Reason why the model did not run on a frame. The sentence is built only when it is needed."""

    share: float
    plan: MotionPlan
    parts: int

    def __str__(self) -> str:
        place = "the picture" if self.parts == 1 else "a tile"
        text = f"at most {self.share:.2%} of {place} has changed by {self.plan.threshold:g} of full brightness, and "
        return (
            f"{text}motion.area is {self.plan.area:.2%}; the model did not run, and its previous findings remain valid"
        )


class Gate:
    """Motion gate of one pipeline, used by its thread.

    For each frame, call `choose`; after the runs of the model, call `joined` and then `stand`.
    """

    standing: Findings | None
    """The last findings, which stay valid; None if nothing is known."""

    def __init__(self, plan: PipelinePlan) -> None:
        self.plan = plan.motion
        self.glance: Glance | None = None
        """The newest decision; None without ``motion`` in the plan."""
        taken = plan.model.input
        tiles = taken.tiles if isinstance(taken, InputPlan) else (1, 1)
        self._background = Background(plan.motion, plan.mask, tiles) if plan.motion is not None else None
        self._change: Change | None = None
        self._compared = 0.0
        self._moved: list[float] = []
        self._stirred = -math.inf
        self.forget()

    def forget(self) -> None:
        """Discard the last findings, so that the model runs on all of the next frame."""
        self.standing = None
        self._looks: list[Look] = []
        self._looked: list[float] = []

    @property
    def open(self) -> bool:
        """Whether the model runs on all of the newest frame, which makes this likely for the next frame, too."""
        return self.glance is None or len(self.glance.chosen) == self.glance.parts

    def choose(self, parts: Sequence[Captured], follow: Follow, *, anyway: bool = False) -> tuple[int, ...]:
        """Return the parts of the newest frame on which the model runs; with ``anyway`` all of them."""
        background, plan = self._background, self.plan
        if background is None or plan is None or not isinstance(frame := parts[0], Frame):
            return tuple(range(len(parts)))
        moment = frame.moment
        change = self._compare(background, frame, moment)
        regions = [part.region for part in parts if isinstance(part, Frame)]
        shares = [change.within(region) for region in regions]
        moving = self._moving(shares, plan.area, moment)
        if anyway or change.light or change.learning or self.standing is None or len(self._looked) != len(parts):
            chosen = tuple(range(len(parts)))
        else:
            chosen = self._parts(regions, moving, follow, moment)
        if not chosen:  # answers the question why nothing was reported
            share = max(shares)
            follow.decisions.note(frame.wall, None, share, STILL, Unmoved(share, plan, len(parts)))
        self.glance = Glance(change, tuple([regions[part] for part in chosen]), len(parts))
        return chosen

    def _compare(self, background: Background, frame: Frame, moment: float) -> Change:
        """Return the change against the background.

        Without motion it is computed for every frame; during motion it is reused briefly.
        """
        last = self._change
        if last is not None and 0.0 <= moment - self._stirred < LINGER:
            known = last.source == frame.size and not (last.light or last.learning)
            if known and 0.0 <= moment - self._compared < COMPARED - ROUNDING:
                return last
        self._change, self._compared = background(frame.pixels, moment), moment
        return self._change

    def _parts(
        self, regions: Sequence[Region | None], moving: frozenset[int], follow: Follow, moment: float
    ) -> tuple[int, ...]:
        """Return the parts on which the model has to run when the background is known."""
        assert self.plan is not None
        rest = self.plan.still_check - ROUNDING
        due = [part for part, looked in enumerate(self._looked) if not 0.0 <= moment - looked < rest]
        if not moving and not follow.unsettled:
            return tuple(due)
        every = range(len(regions))
        held = {part for part in every if part in moving or self._somebody(regions[part], follow)}
        return tuple(sorted(held.union(due))) or tuple(every)

    def joined(self, chosen: Sequence[int], looks: Sequence[Look], moment: float) -> Sequence[Look]:
        """Return the candidates of all parts: new candidates of the chosen parts, the last candidates of all others."""
        if self.plan is None:
            return looks
        fresh = dict(zip(chosen, looks, strict=True))
        count = max(len(self._looked), len(looks))
        whole = [fresh[part] if part in fresh else self._looks[part] for part in range(count)]
        self._looked = [moment if part in fresh else self._looked[part] for part in range(count)]
        if count > 1:  # non-finite values of the last findings have been counted already
            self._looks = [(replace(candidates, nonfinite=0), transform) for candidates, transform in whole]
        return whole

    def stand(self, findings: Findings) -> Findings:
        """Store the findings, which stay valid until the model runs again, and return them."""
        if self.plan is not None:
            self.standing = findings
        return findings

    def _moving(self, shares: Sequence[float], area: float, moment: float) -> frozenset[int]:
        """Return the parts in which at least ``area`` moves now or moved within the last `LINGER` seconds."""
        if len(self._moved) != len(shares):
            self._moved = [-math.inf] * len(shares)
        if self._compared == moment and self._change is not None and not self._change.light and max(shares) >= area:
            self._moved = [moment if share >= area else at for share, at in zip(shares, self._moved, strict=True)]
            self._stirred = moment
        if not 0.0 <= moment - self._stirred < LINGER:
            return frozenset()
        return frozenset(part for part, at in enumerate(self._moved) if 0.0 <= moment - at < LINGER)

    def _somebody(self, region: Region | None, follow: Follow) -> bool:
        """Return whether a part contains a detection or a tracked object."""
        if region is None:
            return True
        found = self.standing.objects if isinstance(self.standing, Detections) else ()
        return any(_overlap(box, region) for box in (*(item.box for item in found), *follow.places()))


def _overlap(box: Box, region: Region) -> bool:
    xmin, ymin, xmax, ymax = box
    across = xmin < region.left + region.width and xmax > region.left
    return across and ymin < region.top + region.height and ymax > region.top
