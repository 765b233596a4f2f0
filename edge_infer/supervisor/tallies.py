"""How far the numbers of an engine were when it died, from its last report and from the memory that outlives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from edge_infer.lights import MOST
from edge_infer.messages import MOST as HIGHEST
from edge_infer.messages import NAME_PATTERN
from edge_infer.rooms import NumberedKind, Tally


def all_numbered(reported: tuple[Tally, ...], seen: Mapping[tuple[str, NumberedKind], int]) -> tuple[Tally, ...]:
    """The tallies with every number that was given since the report; what cannot be one is left out."""
    tallies = {(tally.pipeline, tally.kind): tally for tally in reported}
    for series, seq in seen.items():
        known = tallies.get(series)
        if known is not None:
            tallies[series] = replace(known, given=min(HIGHEST, max(known.given, seq)))
        elif re.fullmatch(NAME_PATTERN, series[0]) and seq <= HIGHEST and len(tallies) < MOST:
            tallies[series] = Tally(*series, seq)
    return tuple(tallies.values())
