"""Results of earlier probes, kept in the state directory, so that identical models are not probed again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

from edge_infer.codec import Record, at_most, decode_json
from edge_infer.config.places import content, trials_folder
from edge_infer.config.plan import ModelPlan
from edge_infer.durable import keep_record
from edge_infer.errors import WireError

log = logging.getLogger(__name__)

FILE: Final = "tried.json"
MAX_MODELS: Final = 64
MAX_BYTES: Final = 16 << 20


class Tried(Record, frozen=True):
    """The models of the last configuration, each with the ``question`` that its plan answers."""

    plans: Annotated[tuple[ModelPlan, ...], at_most(MAX_MODELS)] = ()


def read_tried(state_dir: Path) -> Tried:
    """Return the stored results; empty if the file is missing or this version does not understand it."""
    path = trials_folder(state_dir) / FILE
    try:
        return decode_json(Tried, content(path, MAX_BYTES))
    except FileNotFoundError:
        return Tried()
    except (OSError, WireError) as error:
        log.info("%s cannot be used, so models are tried again: %s", path, error)
        return Tried()


def write_tried(state_dir: Path, tried: Tried) -> None:
    """Write the results; raises `StartError` if the state directory is not writable."""
    keep_record(trials_folder(state_dir) / FILE, tried)
