"""Child process of `edge_infer.models.trials.probe`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge_infer.contract.codec import decode_json, replace
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.models.packages.package import handed_package
from edge_infer.models.trials.child_main import answer_one, fence_of, limit
from edge_infer.models.trials.file_handover import ReceivedCopies
from edge_infer.models.trials.messages import ProbeAnswer, ProbeRequest
from edge_infer.plan.files import moved

log = logging.getLogger(__name__)


def main() -> int:
    """Answer one question with access only to the files that come with it."""
    answer_one(_answer, fence_of(sys.argv))
    return 0


def _answer(line: bytes, files: list[int]) -> ProbeAnswer:
    from edge_infer.models.trials.trial import try_model  # heavy, so imported only after the sandbox is locked

    order = decode_json(ProbeRequest, line)
    handed = ReceivedCopies(order.paths, files)
    limit(handed.size(order.file), order.seconds, files=len(files))
    try:
        package = handed_package(Path(order.file), Path(order.manifest) if order.manifest else None, handed)
        found = try_model(order.request, package)
        return ProbeAnswer(replace(found, plan=moved(found.plan, handed.origin)))
    except ModelError as error:
        return ProbeAnswer(error=handed.in_words(str(error))[:4000], key=error.key, tried=error.tried)
    except EdgeInferError as error:
        return ProbeAnswer(error=handed.in_words(f"{order.file}: {error}")[:4000])
    except MemoryError:
        return ProbeAnswer(error=f"{order.file}: the model needs more memory than a model may have here")
    except Exception as error:
        log.exception("trial of %s failed: unexpected exception", order.file)
        return ProbeAnswer(error=f"{order.file}: {type(error).__name__}: {error}"[:4000])


if __name__ == "__main__":
    sys.exit(main())
