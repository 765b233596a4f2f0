"""Times one model with and without the runtime's fast path: ``python -m edge_infer.doctor.speed FILE``.

A process of its own, because a native runtime that does not fit the board may kill it. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

from edge_infer.engine.interpreter import backend, backend_name
from edge_infer.errors import StartError

_LEAST_ROUNDS, _MOST_ROUNDS = 7, 30
_SECONDS: Final = 2.0


def main() -> int:
    """Prints ``{"runtime", "fast", "slow"}`` with milliseconds, or ``{"error"}``."""
    try:
        runtime, module = backend_name(), backend()
    except StartError as error:
        print(json.dumps({"error": str(error)}))
        return 0
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    fast = _ready(module.Interpreter(model_path=sys.argv[1], num_threads=1))
    slow = _ready(module.Interpreter(model_path=sys.argv[1], num_threads=1, experimental_op_resolver_type=plain))
    pairs = _times(fast, slow)
    milliseconds = [1000 * min(times) for times in zip(*pairs, strict=True)]  # whatever disturbs only adds
    print(json.dumps({"runtime": runtime, "fast": milliseconds[0], "slow": milliseconds[1]}))
    return 0


def _ready(interpreter: Any) -> Any:
    interpreter.allocate_tensors()
    interpreter.invoke()  # the first one allocates
    return interpreter


def _times(fast: Any, slow: Any) -> list[tuple[float, float]]:
    """Seconds of both, by turns, so that whatever else goes on here meets both."""
    found: list[tuple[float, float]] = []
    end = time.perf_counter() + _SECONDS
    while len(found) < _LEAST_ROUNDS or (len(found) < _MOST_ROUNDS and time.perf_counter() < end):
        found.append((_seconds(fast), _seconds(slow)))
    return found


def _seconds(interpreter: Any) -> float:
    start = time.perf_counter()
    interpreter.invoke()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
