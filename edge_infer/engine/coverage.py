"""How much of a model's graph runs on a delegate: the runtime's own (XNNPACK), or an external library."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_infer.engine.interpreter import Step

DELEGATE: Final = "DELEGATE"


def left_alone(steps: Sequence[Step], outputs: Sequence[int]) -> list[str]:
    """Return the names of the operators that no delegate has taken.

    A runtime lists the steps that a delegate has taken as well as the delegate. The steps that still run are those that
    the outputs need, traced back through the steps that produce their inputs.
    """
    makers = {index: step for step in steps for index in step.outputs}
    makers |= {index: step for step in steps if step.name == DELEGATE for index in step.outputs}
    wanted, seen = deque(outputs), set[int]()
    found: list[Step] = []
    while wanted:
        index = wanted.popleft()
        step = makers.get(index)
        if step is None or index in seen:
            continue
        seen.update(step.outputs)
        if step.name != DELEGATE:
            found.append(step)
        wanted.extend(step.inputs)
    return [step.name for step in found]
