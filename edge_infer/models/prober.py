"""Child process of `edge_infer.models.probe`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge_infer.codec import decode_json, replace
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.models.answering import answer_one, fence_of
from edge_infer.models.handed import HandedFiles
from edge_infer.models.limits import limit
from edge_infer.models.order import Answer, Order
from edge_infer.models.package import handed_package
from edge_infer.models.plan_files import moved

log = logging.getLogger(__name__)


def main() -> int:
    """Answer one question with access only to the files that come with it."""
    answer_one(_answer, fence_of(sys.argv))
    return 0


def _answer(line: bytes, files: list[int]) -> Answer:
    from edge_infer.models.trial import try_model  # heavy, so imported only after the sandbox is locked

    order = decode_json(Order, line)
    handed = HandedFiles(order.paths, files)
    limit(handed.size(order.file), order.seconds, files=len(files))
    try:
        package = handed_package(Path(order.file), Path(order.manifest) if order.manifest else None, handed)
        found = try_model(order.request, package)
        return Answer(replace(found, plan=moved(found.plan, handed.origin)))
    except ModelError as error:
        return Answer(error=handed.in_words(str(error))[:4000], key=error.key, tried=error.tried)
    except EdgeInferError as error:
        return Answer(error=handed.in_words(f"{order.file}: {error}")[:4000])
    except MemoryError:
        return Answer(error=f"{order.file}: the model needs more memory than a model may have here")
    except Exception as error:
        log.exception("trial of %s failed: unexpected exception", order.file)
        return Answer(error=f"{order.file}: {type(error).__name__}: {error}"[:4000])


if __name__ == "__main__":
    sys.exit(main())
