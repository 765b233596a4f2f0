"""Child side of a cascade: selects the objects for the model and keeps the answers about them."""

from __future__ import annotations

from collections.abc import Callable

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import Reason
from edge_infer.engine.cascade.answers import Answered, Answers
from edge_infer.engine.cascade.sighting import Key, Sighted, Sighting
from edge_infer.engine.events.event_ledger import Happening
from edge_infer.engine.events.follow import ANOMALY, Follow, make_spells
from edge_infer.engine.events.spells import Spells
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.frames.frame import ROUNDING, Captured, Frame, Instant
from edge_infer.plan.records import CropsPlan, PipelinePlan


class Inquiry(Follow):
    """Child stage of a cascade.

    The stage keeps an answer while the object is present. If the parent does not track objects, it keeps the answer
    until the next frame.
    """

    def __init__(self, plan: PipelinePlan, new_number: Callable[[], int]) -> None:
        super().__init__(plan, new_number)
        assert plan.crops is not None
        self._crops: CropsPlan = plan.crops
        self._answers: dict[Key, Answered] = {}
        self._asked: dict[int, tuple[float, float]] = {}  # capture time and area at the last run of the model
        self._spells_of: dict[int, Spells] = {}
        self._warm = True

    def asks(self, frame: Captured) -> tuple[Captured, ...]:
        """Return the crops of a frame that go into the model, the best first."""
        if not isinstance(frame, Frame) or frame.sighting is None:
            return ()
        self._see(frame.sighting)
        chosen: list[Sighted] = []
        for each in frame.sighting.objects:
            if why := self._why_not(each, len(chosen), frame.instant):
                stage, text = why
                self._note(each, frame.instant, stage, text)
            else:
                chosen.append(each)
        margin = self._crops.margin
        return tuple(replace(frame, region=each.region(margin), parent=each, sighting=None) for each in chosen)

    def __call__(
        self, findings: Findings, now: Instant, parent: Sighted | None = None, covers: float = 0.0
    ) -> tuple[Findings, tuple[Happening, ...]]:
        """Store the model's findings about the object ``parent``."""
        del covers
        assert parent is not None
        self._note_limits(findings, now)
        if isinstance(findings, Detections):
            findings = replace(findings, objects=tuple(replace(it, parent=parent.id) for it in findings.objects))
        self._answers[parent.key] = Answered(parent, findings, now.moment)
        if parent.found.number is not None:
            self._asked[parent.found.number] = now.moment, parent.area
        if not findings.essence:
            limit = f"the threshold of {self._plan.threshold:g}"
            self._note(parent, now, "nothing", f"examined, and no finding reached {limit}")
        return findings, ()

    def settled(self, now: Instant) -> tuple[Answers | None, tuple[Happening, ...]]:
        """Return the answers about all present objects after a frame, and new events."""
        answers = tuple(each for _, each in sorted(self._answers.items()))
        return Answers(answers, self._plan.state_key, self._warm), tuple(self._news(now))

    def end(self, reason: Reason, now: Instant) -> tuple[Happening, ...]:
        """Drop all answers and end open events."""
        self._answers.clear()
        self._asked.clear()
        self._spells_of.clear()
        return super().end(reason, now)

    def known(self) -> frozenset[Key]:
        """Return the keys of the objects that have an answer."""
        return frozenset(self._answers)

    def _see(self, sighting: Sighting) -> None:
        """Drop the answers that no longer hold, and update the places of the other objects.

        An answer no longer holds if its object is gone, or if the parent's model has just examined the object again.
        """
        present, asked, self._warm = sighting.present, sighting.asked, sighting.warm
        if present is None:
            self._answers.clear()
            return
        for key in [key for key in self._answers if key[0] not in present or (asked is not None and key[0] in asked)]:
            del self._answers[key]
        self._asked = {number: known for number, known in self._asked.items() if number in present}
        for each in sighting.objects:
            if each.key in self._answers:
                self._answers[each.key] = replace(self._answers[each.key], about=each)

    def _why_not(self, each: Sighted, chosen: int, now: Instant) -> tuple[str, str] | None:
        """Return the stage that excludes an object from the model, and the reason.

        Return None if the object is selected.
        """
        crops, number = self._crops, each.found.number
        if crops.labels is not None and each.found.label not in crops.labels:
            return "label", f"crops are for {', '.join(crops.labels)}"
        if number is not None and number in self._asked:
            at, area = self._asked[number]
            since, larger = now.moment - at, each.area / area - 1 if area else 0.0
            if 0 <= since < crops.again - ROUNDING and larger < crops.grown:
                change = "grown" if larger >= 0.0 else "shrunk"
                text = (
                    f"not examined again: the last time was {since:.1f} s ago, and it has {change} by "
                    f"{abs(larger):.0%} since; "
                )
                return "again", f"{text}crops.again is {crops.again:g} s, crops.grown {crops.grown:.0%}"
        if chosen >= crops.most:
            return "most", f"not examined: {crops.most} others of the frame came first (crops.most)"
        return None

    def _note(self, each: Sighted, now: Instant, stage: str, text: str) -> None:
        who = f"#{each.id} " if each.id else ""
        place = f"crop {stage} {each.id or ''}"
        self.decisions.note(now.wall, each.found.label, each.found.score, place, f"{who}{text}")

    def _news(self, now: Instant) -> list[Happening]:
        """Return starts and ends of spells for each object.

        The answer about an object counts in every frame until the next answer.
        """
        if self._plan.events is None:
            return []
        scores: dict[int, dict[str | None, float]] = {}
        for (number, _), answer in self._answers.items():
            if number:
                of_one = scores.setdefault(number, {})
                for label, score in _scores(answer.findings).items():
                    of_one[label] = max(score, of_one.get(label, 0.0))
        news: list[Happening] = []
        for number in [number for number in self._spells_of if number not in scores]:
            news += self._spells_of.pop(number).gone(now)
        for number, of_one in scores.items():
            if number not in self._spells_of and (made := make_spells(self._plan, self._ledger, number)):
                self._spells_of[number] = made
            news += self._spells_of[number](of_one, now)
        return news


def _scores(findings: Findings) -> dict[str | None, float]:
    if isinstance(findings, ClassificationFindings):
        return findings.scores
    return {ANOMALY: findings.score} if isinstance(findings, Deviation) else {}
