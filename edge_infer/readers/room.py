"""What a reader's walls are, and whether they still stand where its source is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_infer.sandbox.fence import Identity, identities
from edge_infer.sandbox.selftest import ENFORCED


@dataclass(frozen=True, slots=True)
class Room:
    """``walls`` are what the lock has said; ``places`` is what the source lies in, ``were`` what that led to then."""

    walls: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    were: frozenset[Identity] = frozenset()

    def outdated(self) -> bool:
        """Whether the source may be out of reach now only because it is another file or device than at the start."""
        return self.walls.get("files", "").startswith(ENFORCED) and not identities(self.places) <= self.were
