"""Tasks of models: each task has one file here and one line in `TASKS`.

A task *must* be a class with

- ``__init__(plan: PipelinePlan)``;
- ``__call__(candidates, transform, moment) -> Findings``: applies threshold, labels and merging, and maps coordinates
  back to the source frame; ``moment`` is the frame's capture time on the monotonic clock;
- ``unknown``: the keys of a state, each with None, while nothing is known (a class attribute).

The return value of the call *must* follow the interface `Findings`, which builds payloads within a number of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

from edge_infer.contract.codec import ABSENT, Absent, FrameRecord, dumps
from edge_infer.contract.messages import Parent, Result, State, Task
from edge_infer.contract.precision import FULL, Precision
from edge_infer.frames.geometry import Transform
from edge_infer.plan.plugins import load
from edge_infer.plan.records import PipelinePlan

TASKS: Final[Mapping[Task, str]] = {
    "classification": "edge_infer.engine.tasks.classification:ClassificationTask",
    "detection": "edge_infer.engine.tasks.detection:DetectionTask",
    "pose": "edge_infer.engine.tasks.pose:PoseTask",
    "segmentation": "edge_infer.engine.tasks.segmentation:SegmentationTask",
    "anomaly": "edge_infer.engine.tasks.anomaly:AnomalyTask",
    "regression": "edge_infer.engine.tasks.regression:RegressionTask",
}

Item = TypeVar("Item")
Essence: TypeAlias = tuple[Any, ...] | str | None
"""Value compared to detect a change: counts by label, the class, normal or anomalous, or values in steps."""


class Head(FrameRecord, frozen=True):
    """Common fields of every payload of a pipeline."""

    ts: str
    boot: str
    model: str
    sha: str
    ms: float | Absent = ABSENT
    parent: Parent | Absent = ABSENT
    still: Literal[True] | Absent = ABSENT
    since: str | Absent = ABSENT  # only in a state
    precision: Precision = FULL  # detail of the findings

    def result(self, seq: int, task: Task, **outcome: Any) -> Result:
        """Return a result with the outcome of its task."""
        more = {"parent": self.parent, "still": self.still, **outcome}
        return Result(1, self.ts, self.boot, seq, self.model, self.sha, task, self.ms, **more)

    def state(self, **outcome: Any) -> State:
        """Return a state with the outcome of its task."""
        return State(1, self.ts, self.boot, self.model, self.sha, self.since, **outcome)


class Findings(Protocol):
    """Findings of one frame. ``room`` is the maximum size of the payload in bytes."""

    @property
    def essence(self) -> Essence:
        """Value compared to detect a change."""

    def result(self, head: Head, seq: int, room: int) -> Result:
        """Return the result.

        Items that do not fit into ``room`` bytes are dropped, lowest score first, and counted in ``more``.
        """

    def state(self, head: Head, room: int) -> State:
        """Return the current state."""


class TaskOf(Protocol):
    """Interface of a task; see the module docstring."""

    unknown: ClassVar[Mapping[str, None]]

    def __init__(self, plan: PipelinePlan) -> None: ...

    def __call__(self, candidates: Any, transform: Transform, moment: float) -> Findings:
        """Return the findings from a frame's candidates, in source coordinates; ``moment`` is the capture time."""


def task_class(task: Task) -> type[TaskOf]:
    """Return the class of a task."""
    found: type[TaskOf] = load(TASKS[task])
    return found


HEAD: Final = 240
"""Maximum bytes of a result, without its model title, its parent and its findings."""


def fitted(
    make: Callable[[tuple[Item, ...], int | Absent], Result],
    items: tuple[Item, ...],
    room: int,
    most: int,
    each: int = 0,
) -> Result:
    """Return the result that ``make`` builds from the best items that fit and the number of items left out (``more``).

    ``each`` is the maximum bytes of an item without its label. If all items fit with that size, they are not measured
    one by one.
    """
    if each and len(items) <= most and HEAD + len(items) * each < room:
        whole = make(items, ABSENT)
        texts = [whole.model, *(item.label for item in items)]  # type: ignore[attr-defined]
        about = len(',"parent":') + len(dumps(whole.parent)) if isinstance(whole.parent, Parent) else 0
        if HEAD + about + len(items) * each + sum(map(_most_bytes, texts)) <= room:
            return whole
    sizes = (len(dumps(item)) + 1 for item in items)  # lazy: stops as soon as the count is known
    kept = min(most, fitting(sizes, len(items), room - len(dumps(make((), ABSENT)))))
    return make(items[:kept], len(items) - kept or ABSENT)


def _most_bytes(text: str) -> int:
    """Return the maximum bytes of a text; a quotation mark takes two bytes, a control character six."""
    return len(text) * (2 if text.isascii() and text.isprintable() else 6)


def fitting(sizes: Iterable[int], many: int, room: int) -> int:
    """Return the number of items that fit; ``sizes`` are the bytes of each of ``many`` items, comma included.

    If not all fit, the result reserves bytes for ``more``.
    """
    beside_more, kept, used = room - len(f',"more":{many}'), many, 0
    for count, size in enumerate(sizes):
        used += size
        if used > beside_more:
            kept = min(kept, count)
        if used > room:
            return kept
    return many
