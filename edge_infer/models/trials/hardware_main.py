"""Child process of `edge_infer.models.trials.hardware`. Unlike the model probe, it may start threads."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge_infer.contract.codec import decode_json, replace
from edge_infer.errors import EdgeInferError
from edge_infer.models.packages.package import handed_package
from edge_infer.models.trials.child_main import answer_one, fence_of, limit
from edge_infer.models.trials.file_handover import ReceivedCopies
from edge_infer.models.trials.messages import HardwareTrialRequest, HardwareTrialResult
from edge_infer.plan.files import moved
from edge_infer.plan.records import PipelinePlan

log = logging.getLogger(__name__)


def main() -> int:
    """Answer one question; a delegate also needs access to its library and devices."""
    answer_one(_answer, fence_of(sys.argv))
    return 0


def _answer(line: bytes, files: list[int]) -> HardwareTrialResult:
    wanted = decode_json(HardwareTrialRequest, line)
    handed, model = ReceivedCopies(wanted.paths, files), wanted.pipeline.model
    limit(handed.size(model.path), wanted.seconds, max(2, wanted.threads), files=len(files))
    try:
        return _found(wanted, replace(wanted.pipeline, model=moved(model, handed.place)), handed)
    except EdgeInferError as error:
        return HardwareTrialResult(error=handed.in_words(str(error))[:4000])
    except MemoryError:
        return HardwareTrialResult(error="it needs more memory than a model may have here")
    except Exception as error:
        log.exception("trial of %s failed: unexpected exception", model.path)
        return HardwareTrialResult(error=f"{type(error).__name__}: {error}"[:4000])


def _found(wanted: HardwareTrialRequest, pipeline: PipelinePlan, handed: ReceivedCopies) -> HardwareTrialResult:
    if pipeline.delegate is not None:
        from edge_infer.models.trials.delegation import (
            try_delegate,  # heavy, so imported only after the sandbox is locked
        )

        manifest = Path(wanted.manifest) if wanted.manifest else None
        return HardwareTrialResult(
            delegated=try_delegate(pipeline, handed_package(Path(wanted.pipeline.model.path), manifest, handed))
        )
    from edge_infer.models.trials.tune_threads import quickest

    return HardwareTrialResult(quickest(pipeline, wanted.threads))


if __name__ == "__main__":
    sys.exit(main())
