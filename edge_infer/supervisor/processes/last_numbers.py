"""The last sequence numbers of an engine that died: from its last report, and from memory that outlives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import MOST as HIGHEST
from edge_infer.contract.messages import NAME_PATTERN
from edge_infer.ipc.activity_table import MOST
from edge_infer.ipc.messages import NumberedKind, Tally

FURTHEST: Final = 1 << 20
"""Maximum difference between a sequence number and the last report. The report is one second old, and no model gives
that many results in a minute."""


def believed(before: tuple[Tally, ...], reported: tuple[Tally, ...]) -> tuple[Tally, ...]:
    """Return a report; implausible values are replaced by the previous ones."""
    known = {(tally.pipeline, tally.kind): tally for tally in before}
    found: list[Tally] = []
    for tally in reported:
        last = known.get((tally.pipeline, tally.kind))
        highest = max(tally.given, tally.safe, tally.lost)
        if highest - (last.given if last else 0) <= FURTHEST:
            found.append(tally)
        elif last:
            found.append(last)
    return tuple(found)


def all_numbered(reported: tuple[Tally, ...], seen: Mapping[tuple[str, NumberedKind], int]) -> tuple[Tally, ...]:
    """Return the tallies, advanced to the numbers that were used after the report. Implausible numbers are ignored."""
    tallies = {(tally.pipeline, tally.kind): tally for tally in reported}
    for series, seq in seen.items():
        known = tallies.get(series)
        if seq - (known.given if known else 0) > FURTHEST:
            continue
        if known is not None:
            tallies[series] = replace(known, given=min(HIGHEST, max(known.given, seq)))
        elif re.fullmatch(NAME_PATTERN, series[0]) and len(tallies) < MOST:
            tallies[series] = Tally(*series, seq)
    return tuple(tallies.values())
