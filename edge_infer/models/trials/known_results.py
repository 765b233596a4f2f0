"""Results of earlier trials, kept in the state directory so that trials are not repeated."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most, between, decode_json, replace
from edge_infer.contract.messages import Digest
from edge_infer.errors import WireError
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.durable_files import keep_record
from edge_infer.platform.paths import content, trials_folder

# Results of earlier trials, stored in the state directory, so that identical models are not tried again.

log = logging.getLogger(__name__)

TRIED_FILE: Final = "tried.json"
MAX_TRIED_MODELS: Final = 64
MAX_TRIED_BYTES: Final = 16 << 20


class Tried(Record, frozen=True):
    """The models of the last configuration, each with the ``question`` that its plan answers."""

    plans: Annotated[tuple[ModelPlan, ...], at_most(MAX_TRIED_MODELS)] = ()


def read_tried(state_dir: Path) -> Tried:
    """Return the stored results; empty if the file is missing or this version does not understand it."""
    path = trials_folder(state_dir) / TRIED_FILE
    try:
        return decode_json(Tried, content(path, MAX_TRIED_BYTES))
    except FileNotFoundError:
        return Tried()
    except (OSError, WireError) as error:
        log.info("cannot use %s, trying the models again: %s", path, error)
        return Tried()


def write_tried(state_dir: Path, tried: Tried) -> None:
    """Write the results; raises `StartError` if the state directory is not writable."""
    keep_record(trials_folder(state_dir) / TRIED_FILE, tried)


# Results of threads and delegate trials on this board, stored in the state directory so that trials are not repeated.

KNOWN_FILE: Final = "equipment.json"
MAX_KNOWN_TRIALS: Final = 64
"""Maximum number of stored results of each kind. The oldest are dropped; their trials may then run again."""
MAX_KNOWN_BYTES: Final = 1 << 17


class Count(Record, frozen=True):
    """The fastest number of threads for a model, runtime and board (a card may move to another board)."""

    sha: Digest
    runtime: Annotated[str, at_most(64)]
    board: Annotated[str, at_most(500)]
    threads: Annotated[int, between(1, 64)]

    def about(self) -> tuple[str, str, str]:
        """Return the key of the result: model digest, runtime, board."""
        return self.sha, self.runtime, self.board


class Proof(Record, frozen=True):
    """A successful delegate trial with its share of the operators.

    ``about`` is a digest of delegate, model, runtime and board.
    """

    about: Digest
    delegated: Annotated[float, between(0, 1)]


class Known(Record, frozen=True):
    """All stored results, the oldest first."""

    counts: Annotated[tuple[Count, ...], at_most(MAX_KNOWN_TRIALS)] = ()
    proofs: Annotated[tuple[Proof, ...], at_most(MAX_KNOWN_TRIALS)] = ()

    def threads(self, sha: str, runtime: str, board: str) -> int | None:
        """Return the measured number of threads, or None."""
        return next((each.threads for each in self.counts if each.about() == (sha, runtime, board)), None)

    def delegated(self, about: str) -> float | None:
        """Return the fraction of operators that a tried delegate runs, or None if it was not tried."""
        return next((each.delegated for each in self.proofs if each.about == about), None)

    def having(self, fact: Count | Proof) -> Known:
        """Return a copy with one more result, which replaces an older result with the same key.

        The copy drops the oldest results beyond `MAX_KNOWN_TRIALS`.
        """
        if isinstance(fact, Count):
            counts = tuple(each for each in self.counts if each.about() != fact.about())
            return replace(self, counts=(*counts, fact)[-MAX_KNOWN_TRIALS:])
        proofs = tuple(each for each in self.proofs if each.about != fact.about)
        return replace(self, proofs=(*proofs, fact)[-MAX_KNOWN_TRIALS:])


def read_known(state_dir: Path) -> Known:
    """Return the stored results; empty if the file is missing or not readable for this user. Logs an invalid file."""
    path = trials_folder(state_dir) / KNOWN_FILE
    try:
        return decode_json(Known, content(path, MAX_KNOWN_BYTES))
    except (FileNotFoundError, PermissionError):
        return Known()
    except (OSError, WireError) as error:
        log.warning("cannot use %s; repeating its measurements: %s", path, error)
        return Known()


def write_known(state_dir: Path, known: Known) -> None:
    """Write the results; raises `StartError` if the state directory is not writable."""
    keep_record(trials_folder(state_dir) / KNOWN_FILE, known)
