"""Child process of `edge_infer.models.equip`. Unlike the model probe, it may start threads."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge_infer.codec import decode_json, replace
from edge_infer.config.plan import PipelinePlan
from edge_infer.errors import EdgeInferError
from edge_infer.models.answering import answer_one, fence_of
from edge_infer.models.equipment import Found, Wanted
from edge_infer.models.handed import HandedFiles
from edge_infer.models.limits import limit
from edge_infer.models.package import handed_package
from edge_infer.models.plan_files import moved

log = logging.getLogger(__name__)


def main() -> int:
    """Answer one question; a delegate also needs access to its library and devices."""
    answer_one(_answer, fence_of(sys.argv))
    return 0


def _answer(line: bytes, files: list[int]) -> Found:
    wanted = decode_json(Wanted, line)
    handed, model = HandedFiles(wanted.paths, files), wanted.pipeline.model
    limit(handed.size(model.path), wanted.seconds, max(2, wanted.threads), files=len(files))
    try:
        return _found(wanted, replace(wanted.pipeline, model=moved(model, handed.place)), handed)
    except EdgeInferError as error:
        return Found(error=handed.in_words(str(error))[:4000])
    except MemoryError:
        return Found(error="it needs more memory than a model may have here")
    except Exception as error:
        log.exception("trial of %s failed: unexpected exception", model.path)
        return Found(error=f"{type(error).__name__}: {error}"[:4000])


def _found(wanted: Wanted, pipeline: PipelinePlan, handed: HandedFiles) -> Found:
    if pipeline.delegate is not None:
        from edge_infer.models.delegation import try_delegate  # heavy, so imported only after the sandbox is locked

        manifest = Path(wanted.manifest) if wanted.manifest else None
        return Found(
            delegated=try_delegate(pipeline, handed_package(Path(wanted.pipeline.model.path), manifest, handed))
        )
    from edge_infer.models.quickest import quickest

    return Found(quickest(pipeline, wanted.threads))


if __name__ == "__main__":
    sys.exit(main())
