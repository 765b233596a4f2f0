"""The sandbox of a reader, and whether it still fits the files of the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_infer.sandbox.fence import Identity, identities
from edge_infer.sandbox.selftest import ENFORCED


@dataclass(frozen=True, slots=True)
class Room:
    """The sandbox of a reader.

    ``walls`` has the state of each rule of the sandbox. ``places`` are the paths of the source, and ``were`` the
    identities of the files to which those paths led at the start.
    """

    walls: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    were: frozenset[Identity] = frozenset()

    def outdated(self) -> bool:
        """Return whether the sandbox may block the source, because its paths now lead to other files than at the start.

        The source is then another file or device, which the sandbox rules do not include.
        """
        return self.walls.get("files", "").startswith(ENFORCED) and not identities(self.places) <= self.were
