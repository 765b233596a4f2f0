"""Limits of the topics ``health``, ``info`` and ``model/NAME``, and the maximum data that a process can hide there."""

from __future__ import annotations

import math
from typing import Final

from edge_infer.plan.channel_rates import RESTED_AFTER, moment_bits
from edge_infer.plan.records import Plan

# Limits of the topics ``info`` and ``model/NAME``, and the maximum data that engine and readers can hide there.
#
# The supervisor publishes both topics, but their content comes from reports of the processes: the state of their
# sandbox rules, which models run, why a model failed, and the figures of shadows.

INFO_EVERY: Final = 60.0
INFO_AT_ONCE: Final = 4
"""Interval in seconds and burst of the messages on ``info`` about the same plan."""
SAID_EVERY: Final = RESTED_AFTER
"""Seconds in which a process that restarts by itself may change the content of ``info`` once."""
SAID_BITS: Final = 340.0
"""Bits that a process can choose in the states of its sandbox rules, plus the bits of the name of the engine's
runtime."""
FIGURES_EVERY: Final = 30.0
"""Minimum seconds between two publications of a model's status if only its figures changed."""
CHANGES_EVERY: Final = 60.0
CHANGES_AT_ONCE: Final = 40
"""Maximum number of immediate changes of a model's status that follow only from the engine's reports. Changes that the
supervisor decides have a separate limit of the same size. One replacement of a model causes three or four changes."""
WORDS_EVERY: Final = RESTED_AFTER
WORDS_AT_ONCE: Final = 4
KNOWN_WORDS: Final = 16
"""Limits for the engine's reasons that contain numbers: interval in seconds and burst of new reasons, and number of
earlier reasons that may be repeated."""
MAX_NAMED: Final = 3
"""Maximum number of pipelines that a reason names."""
MAX_FIGURE: Final = 10**9
MAX_RATIO: Final = 1000.0
"""Maximum published counts, differences and latencies of a shadow. They have two significant digits."""
RATIO_DECIMALS: Final = 4
SHARE_DECIMALS: Final = 3
DELEGATE_DECIMALS: Final = 2
_STEP: Final = 0.001
_STATES: Final = 5
_SHADOW_STATES: Final = 3
_WORDS_BITS: Final = 80.0
"""Bits of two numbers with nine characters each."""
_PHRASES: Final = 16
"""Number of fixed phrases about a failed model, and of fixed phrases about the end of the engine that name nothing."""
_OCCASIONS: Final = 6
"""Number of sentences about the end of the engine: on probation, as a shadow, with a delegate, in a crash loop."""
_SHARE_BITS: Final = math.log2(10**SHARE_DECIMALS + 2)
_FIGURE_BITS: Final = 3 * math.log2(100 + 90 * 8) + 2 * _SHARE_BITS + 2 * math.log2(90 * 8 + 2)


def announcement_bound(plan: Plan) -> tuple[float, float]:
    """Return the maximum bytes per second, and the maximum bytes at once, that the reports can hide in both topics."""
    models = plan.spoken_of()
    processes = 1 + sum(1 for each in plan.sources if each.live and each.parent is None)
    info = float(len(models))  # one bit for each: whether it has a topic
    rate = (info + 1) / INFO_EVERY + moment_bits(1 / INFO_EVERY, _STEP)
    rate += processes * SAID_BITS / SAID_EVERY + _WORDS_BITS / WORDS_EVERY
    burst = info * INFO_AT_ONCE + processes * SAID_BITS + _WORDS_BITS * WORDS_AT_ONCE
    for name in models:
        each, often = _status_bits(plan, name), _messages(plan, name)
        rate += often * each + moment_bits(often, _STEP)
        burst += 2 * CHANGES_AT_ONCE * each
    return rate / 8, burst / 8


def _status_bits(plan: Plan, name: str) -> float:
    """Return the bits of one status of a model."""
    reason = _reason_bits(plan)
    bits = math.log2(_STATES * (len(plan.spoken_of()) + 2)) + reason
    for each in plan.pipelines:
        if each.model.name == name and each.delegate is not None:
            bits += math.log2(10**DELEGATE_DECIMALS + 2) + reason
        if each.model.name == name and each.shadow is not None:
            bits += math.log2(_SHADOW_STATES) + _FIGURE_BITS + reason
    return bits


def _reason_bits(plan: Plan) -> float:
    """Return the bits of one reason: a known one, or a sentence about the end of the engine, which may name pipelines.

    A compromised engine chooses how it ends, in which pipelines it is stuck, and which model it does not finish.
    """
    stuck = 2 * sum(math.comb(len(plan.pipelines), count) for count in range(1, MAX_NAMED + 1))
    ends = _PHRASES + stuck + 2 * len(plan.spoken_of())
    return math.log2(KNOWN_WORDS + _PHRASES + _OCCASIONS * ends)


def _messages(plan: Plan, name: str) -> float:
    """Return the maximum messages per second about a model."""
    compared = any(each.model.name == name and each.shadow is not None for each in plan.pipelines)
    return 2 / CHANGES_EVERY + (1 / FIGURES_EVERY if compared else 0.0)


# Limits of the numbers that an engine reports in health.
#
# No board reaches these limits. They restrict the data that the numbers can hide.

HEALTH_EVERY: Final = 30.0
"""Seconds between two health messages."""
MAX_RATE: Final = 1e6
"""Maximum frames, readings or samples per second."""
MAX_LATENCY: Final = 1e7
"""Maximum milliseconds from capture to outcome."""
MAX_COUNT: Final = 10**12
GOVERNOR_LOOK, GOVERNOR_PACE = 2.0, 10.0
"""Seconds between two checks of the board by the governor, and between two steps down. Steps up take longer."""
GOVERNOR_STEPS: Final = 3
"""Number of limits that the governor can set for a pipeline: its rate, which has two digits, is halved repeatedly."""
_SOURCE_STATES: Final = 8
_RATE, _LATENCY, _COUNT = math.log2(MAX_RATE * 100 + 1), math.log2(MAX_LATENCY * 10 + 1), math.log2(MAX_COUNT + 1)
_SHARE: Final = math.log2(10_001)
_RATES: Final = 90 * math.log10(MAX_RATE) + 1  # each decade has 90 rates, and fps may be one
_LIMIT: Final = math.log2(1 + GOVERNOR_STEPS * _RATES)
_DRIFT: Final = math.log2(9 * 11 * 102)
"""Bits of the states of both parts, and of the learned share in hundredths."""


def health_bound(plan: Plan) -> float:
    """Return the maximum bytes per second that the engine's numbers in health can carry."""
    pipeline = _RATE + 3 * _LATENCY + 5 * _COUNT + _SHARE + 4  # and which of the four optional fields are present
    source = math.log2(_SOURCE_STATES) + 2 * _RATE + _COUNT + 2
    drift = sum(_DRIFT for each in plan.pipelines if each.drift)
    account = 6 * 53  # produced, pending and lost follow the numbers that the engine has reached
    numbers = (len(plan.pipelines) * pipeline + len(plan.sources) * source + account + drift) / 8 / HEALTH_EVERY
    if plan.governor is None:
        return numbers
    # The engine causes the load and the rates. So it can choose which pipelines are limited, to which rate, and at
    # which check.
    return numbers + (len(plan.governor.shed) * _LIMIT + math.log2(GOVERNOR_PACE / GOVERNOR_LOOK)) / 8 / GOVERNOR_PACE
