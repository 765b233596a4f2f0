"""The child of `edge_infer.models.probe`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from edge_infer.codec import decode, loads
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.models.answering import answer_all
from edge_infer.models.limits import limit
from edge_infer.models.order import Answer, Order
from edge_infer.sandbox import Fence

log = logging.getLogger(__name__)


def main() -> int:
    """Answers orders until there are no more, or until the parent dies; the arguments are folders it writes to."""
    answer_all(_answer, Fence(writes=tuple(sys.argv[1:]), anywhere=True))
    return 0


def _answer(line: bytes) -> Answer:
    from edge_infer.models.trial import try_model  # heavy, and only after the locks

    order = decode(Order, loads(line))
    store = Path(order.store) if order.store else None
    limit(order.request.file, order.seconds)
    try:
        return Answer(try_model(order.request, store))
    except ModelError as error:
        return Answer(error=str(error)[:4000], key=error.key, tried=error.tried)
    except EdgeInferError as error:
        return Answer(error=str(error)[:4000], machine=True)
    except MemoryError:
        return Answer(error=f"{order.request.file}: the model needs more memory than a model may have here")
    except Exception as error:
        log.exception("trying %s", order.request.file)
        return Answer(error=f"{order.request.file}: {type(error).__name__}: {error}"[:4000])


if __name__ == "__main__":
    sys.exit(main())
