"""A recording is read to its end, whatever its source passes over."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar

import numpy as np
from typing_extensions import Self

from edge_infer.engine.replay.replay import _frames
from edge_infer.plan.records import Gives, SourcePlan
from edge_infer.readers.sources import PASSED, Passed, Picture


@dataclass(frozen=True, slots=True)
class Nothing:
    """No options."""


class Choosy:
    """Gives every other picture, as a source of another package may."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = False
    network: bool = False
    lossless: bool = True
    Options = Nothing

    def __init__(self, _: Nothing) -> None:
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Picture | Passed | None:
        self._count += 1
        if self._count > 6:
            return None
        return PASSED if self._count % 2 else Picture(np.zeros((4, 4, 3), np.uint8), "bgr", 0.0, 0.0)

    def close(self) -> None:
        pass


def test_a_picture_that_is_passed_over_is_not_the_end() -> None:
    plan = SourcePlan("clip", "choosy", "tests.engine.test_replay:Choosy", live=False, network=False, options={})
    assert [frame.number for frame in _frames(plan, paced=False)] == [1, 2, 3]
