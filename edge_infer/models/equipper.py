"""The child of `edge_infer.models.equip`: unlike the one that tried the model before, it may start threads."""

from __future__ import annotations

import logging
import sys

from edge_infer.codec import decode, loads
from edge_infer.errors import EdgeInferError
from edge_infer.models.answering import answer_all
from edge_infer.models.equipment import Found, Wanted
from edge_infer.models.limits import limit
from edge_infer.sandbox import Fence

log = logging.getLogger(__name__)


def main() -> int:
    """Answers orders until there are no more, or until the parent dies; the arguments are devices that it may open."""
    answer_all(_answer, Fence(writes=tuple(sys.argv[1:]), anywhere=True))
    return 0


def _answer(line: bytes) -> Found:
    wanted = decode(Wanted, loads(line))
    limit(wanted.pipeline.model.path, wanted.seconds, max(2, wanted.threads))
    try:
        return _found(wanted)
    except EdgeInferError as error:
        return Found(error=str(error)[:4000])
    except MemoryError:
        return Found(error="it needs more memory than a model may have here")
    except Exception as error:
        log.exception("trying %s", wanted.pipeline.model.path)
        return Found(error=f"{type(error).__name__}: {error}"[:4000])


def _found(wanted: Wanted) -> Found:
    if wanted.pipeline.delegate is not None:
        from edge_infer.models.delegation import try_delegate  # heavy, and only after the locks

        return Found(delegated=try_delegate(wanted.pipeline, wanted.request))
    from edge_infer.models.quickest import quickest

    return Found(quickest(wanted.pipeline, wanted.threads))


if __name__ == "__main__":
    sys.exit(main())
