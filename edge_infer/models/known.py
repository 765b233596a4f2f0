"""What was found out once about models on this board, so that it is not tried again: kept in the state directory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Record, at_most, between, decode_json, replace
from edge_infer.durable import keep_record
from edge_infer.errors import WireError
from edge_infer.messages import Digest

log = logging.getLogger(__name__)

FILE: Final = "equipment.json"
MOST: Final = 64
"""Of each kind that are remembered; the oldest may be tried again."""
LONGEST: Final = 1 << 17


class Count(Record, frozen=True):
    """With these bytes, by this runtime, on this board (a card may go into another one) so many threads are best."""

    sha: Digest
    runtime: Annotated[str, at_most(64)]
    board: Annotated[str, at_most(500)]
    threads: Annotated[int, between(1, 64)]

    def about(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.sha, self.runtime, self.board


class Proof(Record, frozen=True):
    """A delegate computes what the processor does, with this share of the operators; ``about`` is a digest of both."""

    about: Digest
    delegated: Annotated[float, between(0, 1)]


class Known(Record, frozen=True):
    """All of it, the oldest first."""

    counts: Annotated[tuple[Count, ...], at_most(MOST)] = ()
    proofs: Annotated[tuple[Proof, ...], at_most(MOST)] = ()

    def threads(self, sha: str, runtime: str, board: str) -> int | None:
        """The number that was measured; None where it has not been."""
        return next((each.threads for each in self.counts if each.about() == (sha, runtime, board)), None)

    def delegated(self, about: str) -> float | None:
        """The share of a delegate that was tried; None where it has not been."""
        return next((each.delegated for each in self.proofs if each.about == about), None)

    def having(self, fact: Count | Proof) -> Known:
        """The same with one more, which takes the place of one about the same."""
        if isinstance(fact, Count):
            counts = tuple(each for each in self.counts if each.about() != fact.about())
            return replace(self, counts=(*counts, fact)[-MOST:])
        proofs = tuple(each for each in self.proofs if each.about != fact.about)
        return replace(self, proofs=(*proofs, fact)[-MOST:])


def read_known(state_dir: Path) -> Known:
    """What is remembered; nothing where there is no such file for this user, or none that can be understood (told)."""
    path = state_dir / FILE
    try:
        with path.open("rb") as file:
            return decode_json(Known, file.read(LONGEST))
    except (FileNotFoundError, PermissionError):
        return Known()
    except (OSError, WireError) as error:
        log.warning("%s cannot be used, what it said is tried again: %s", path, error)
        return Known()


def write_known(state_dir: Path, known: Known) -> None:
    """Keeps it; raises `StartError` where the state directory cannot be written."""
    keep_record(state_dir / FILE, known)
