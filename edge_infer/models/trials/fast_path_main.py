"""Times a model with and without the runtime's fast path: ``python -m edge_infer.models.trials.fast_path_main FILE``.

The measurement runs in its own process, because a native runtime that does not fit the board may crash the process. The
process uses the sandbox of model trials, because the file may no longer be the shipped model, and a model file is not
trusted. With ``--background`` the process runs at the lowest priority. The process dies with its parent, and prints one
JSON object.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

from edge_infer.contract.codec import dumps
from edge_infer.errors import StartError
from edge_infer.models.trials.child_main import die_with_parent, give_way, limit, own_output
from edge_infer.models.trials.fast_path import Timed
from edge_infer.platform.child_process import go_first
from edge_infer.sandbox import Fence, lock

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 30
_SECONDS: Final = 2.0
_MOST_SECONDS: Final = 60.0
"""Maximum processor time in seconds for the whole measurement."""


def main() -> int:
    """Print a `Timed`."""
    model, *words = sys.argv[1:]
    die_with_parent()
    go_first()
    if "--background" in words:
        give_way()
    lock("probe", fence=Fence(reads=(model,)))
    with own_output() as output:
        output.write(dumps(_timed(model)) + b"\n")
    return 0


def _timed(model: str) -> Timed:
    from edge_infer.engine.interpreter import backend, backend_name  # heavy, so imported after the sandbox is locked

    try:
        runtime, module = backend_name(), backend()
    except StartError as error:
        return Timed(error=str(error)[:4000])
    limit(Path(model).stat().st_size, _MOST_SECONDS)
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    fast = _ready(module.Interpreter(model_path=model, num_threads=1))
    slow = _ready(module.Interpreter(model_path=model, num_threads=1, experimental_op_resolver_type=plain))
    best = [1000 * min(times) for times in zip(*_times(fast, slow), strict=True)]  # other load can only add time
    return Timed(runtime[:64], *best)


def _ready(interpreter: Any) -> Any:
    interpreter.allocate_tensors()
    interpreter.invoke()  # the first run allocates memory
    return interpreter


def _times(fast: Any, slow: Any) -> list[tuple[float, float]]:
    """Return seconds of interleaved runs of both, so that other load affects both equally."""
    found: list[tuple[float, float]] = []
    end = time.perf_counter() + _SECONDS
    while len(found) < _LEAST_ROUNDS or (len(found) < _MOST_ROUNDS and time.perf_counter() < end):
        found.append((_seconds(fast), _seconds(slow)))
    return found


def _seconds(interpreter: Any) -> float:
    """Return the processor time of a run, which happens in this thread only.

    The time of other processes does not count.
    """
    start = time.thread_time()
    interpreter.invoke()
    return time.thread_time() - start


if __name__ == "__main__":
    sys.exit(main())
