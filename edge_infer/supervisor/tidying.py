"""Removal of model copies that are no longer referenced."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_infer.models.plan_files import files_of, files_of_pipelines
from edge_infer.models.store import BLOBS, collect
from edge_infer.supervisor.compilation import remembered
from edge_infer.supervisor.swap import Swap

log = logging.getLogger(__name__)


def tidy(state_dir: Path, swap: Swap) -> None:
    """Remove unreferenced copies; call it between two readings of the configuration, as a reading makes copies.

    It keeps the models of the running, previous, wanted and stored plans, and of the record (fallbacks included).
    """
    plans = [plan for plan in (swap.plan, swap.before, swap.wanted, remembered(state_dir)) if plan is not None]
    needed = [path for plan in plans for path in files_of_pipelines(plan.pipelines)]
    needed += [path for model in swap.record.models() for path in files_of(model)]
    try:
        gone = collect(state_dir / BLOBS, needed)
    except OSError as error:
        log.warning("unused model copies cannot be removed: %s", error)
        return
    for path in gone:
        log.info("removed unused model copy %s", path)
