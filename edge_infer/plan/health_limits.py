"""Limits of the numbers that an engine reports in health.

No board reaches them. They limit how much data the numbers can hide.
"""

from __future__ import annotations

import math
from typing import Final

from edge_infer.plan.records import Plan

EVERY: Final = 30.0
"""Seconds between two health messages."""
MAX_RATE: Final = 1e6
"""Maximum frames, readings or samples per second."""
MAX_LATENCY: Final = 1e7
"""Maximum milliseconds from capture to outcome."""
MAX_COUNT: Final = 10**12
LOOK, PACE = 2.0, 10.0
"""Seconds between two looks of the governor at the board, and between two steps down; those back take longer."""
STEPS: Final = 3
"""Limits that the governor has for a pipeline: halves of its rate, which has two digits."""
_STATES: Final = 8
_RATE, _LATENCY, _COUNT = math.log2(MAX_RATE * 100 + 1), math.log2(MAX_LATENCY * 10 + 1), math.log2(MAX_COUNT + 1)
_SHARE: Final = math.log2(10_001)
_LIMIT: Final = math.log2(1 + STEPS * (90 * math.log10(MAX_RATE) + 1))  # each decade has 90 rates, and fps may be one
_DRIFT: Final = math.log2(9 * 11 * 102)
"""Bits of the states of both parts, and of the learned share in hundredths."""


def health_bound(plan: Plan) -> float:
    """Return the maximum bytes per second that the engine's numbers in health can carry."""
    pipeline = _RATE + 3 * _LATENCY + 5 * _COUNT + _SHARE + 4  # and which of the four optional fields are present
    source = math.log2(_STATES) + 2 * _RATE + _COUNT + 2
    drift = sum(_DRIFT for each in plan.pipelines if each.drift)
    account = 6 * 53  # produced, pending and lost follow the numbers that the engine has reached
    numbers = (len(plan.pipelines) * pipeline + len(plan.sources) * source + account + drift) / 8 / EVERY
    if plan.governor is None:
        return numbers
    # Its load and its rates are the engine's: it chooses what is limited, to which rate, and at which look.
    return numbers + (len(plan.governor.shed) * _LIMIT + math.log2(PACE / LOOK)) / 8 / PACE
