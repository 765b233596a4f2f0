"""Trials of models in short-lived processes, because a damaged file can crash or hang a process or exhaust its memory.

Each model gets its own process, so that no model can affect another model. The child's imports are not loaded here, and
its answer is checked against the request (`verify_answer`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.contract.codec import decode_json, joined, replace
from edge_infer.errors import ModelError, WireError
from edge_infer.models.packages.blob_store import holds, promised_digest
from edge_infer.models.request import ModelRequest, Policy, Resolution
from edge_infer.models.trials.child import GoneError, TrialProcess
from edge_infer.models.trials.messages import ProbeAnswer, ProbeRequest
from edge_infer.plan.files import files_of
from edge_infer.plan.records import ModelPlan
from edge_infer.platform.child_process import unexpected_death
from edge_infer.platform.closing import Closing
from edge_infer.platform.logs import printable

if TYPE_CHECKING:
    from edge_infer.models.trials.checked_package import CheckedPackage

CHILD: Final = "edge_infer.models.trials.probe_main"
TIMEOUT: Final = 60.0
"""Seconds for one model: loading YOLOv5n takes 26 ms on a desktop and about ten times that on a small board."""
ALL: Final = 80.0
"""Seconds for all models of a configuration together: the process that waits for the result gives up after 120."""
LEAST: Final = 5.0
"""Minimum seconds for a model if earlier models used up the time."""


def probe(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> ModelPlan:
    """Return the plan of a model that loads, runs and meets its manifest; raises `ModelError`, `StartError`."""
    return examine_safely(request, store, timeout).plan


def probe_all(
    requests: Sequence[ModelRequest], child: Probe, store: Path | None = None, kept: Collection[str] | None = None
) -> list[ModelPlan | ModelError]:
    """Probe several models and return a plan or an error for each, in order; raises `StartError`.

    The ``store`` gets the files of the models with names in ``kept``; None means all models.
    """
    last = time.monotonic() + ALL
    stores = [store if kept is None or request.name in kept else None for request in requests]
    return [child.outcome(request, place, last) for request, place in zip(requests, stores, strict=True)]


def examine_safely(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> Resolution:
    """Probe a model as `probe` does, and return the plan with its reasons."""
    with Probe(timeout) as child:
        return child.examine(request, store)


class Probe(Closing):
    """Tries models, each in its own process; the first process may start before its model is known."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._next = TrialProcess(CHILD)
        self._known: dict[str, ModelPlan] = {}

    def knows(self, plans: Iterable[ModelPlan]) -> None:
        """Reuse these plans for identical questions, that is, for the same bytes and the same configuration."""
        self._known.update((plan.question, plan) for plan in plans if plan.question)

    def begin(self) -> None:
        """Start a process early, so that its imports are complete when the model arrives; raises `StartError`."""
        self._next.begin()

    def outcome(
        self, request: ModelRequest, store: Path | None = None, last: float = math.inf
    ) -> ModelPlan | ModelError:
        """Return the plan of a model, or its error; raises `StartError` if no model can be tried here.

        ``last`` is a deadline on the monotonic clock, of which earlier models may have left little time.
        """
        from edge_infer.models.trials.checked_package import (
            CheckedPackage,  # this module parses manifests, which not every importer of this one needs
        )
        from edge_infer.models.trials.verify_answer import still_holds

        seconds = min(self._timeout, max(LEAST, last - time.monotonic()))
        try:
            with CheckedPackage(request) as checked:
                known = self._known.get(checked.question)
                if known is not None and _is_there(known, store) and still_holds(known, checked, request):
                    return replace(known, signed=checked.signed)
                return self._tried(request, checked, store, seconds).plan
        except ModelError as error:
            return error

    def examine(self, request: ModelRequest, store: Path | None = None) -> Resolution:
        """Return the resolution of a model that works here; raises `ModelError`, `StartError`.

        With a ``store``, its files are copied there under their digests, and the plan names the copies.
        """
        from edge_infer.models.trials.checked_package import CheckedPackage

        with CheckedPackage(request) as checked:
            return self._tried(request, checked, store, self._timeout)

    def _tried(self, request: ModelRequest, checked: CheckedPackage, store: Path | None, seconds: float) -> Resolution:
        from edge_infer.models.trials.verify_answer import check_answer, kept

        resolution = check_answer(*self._answer(request, checked, seconds), request, checked)
        plan = replace(
            resolution.plan,
            question=checked.question,
            manifest=checked.package.manifest_digest,
            signed=checked.signed,
        )
        return replace(resolution, plan=kept(plan, checked, store) if store else plan)

    @property
    def pid(self) -> int | None:
        """Id of the process that waits for the next model, or None."""
        return self._next.pid

    def close(self) -> None:
        """End a started process; may be called twice."""
        self._next.close()

    def _answer(self, request: ModelRequest, checked: CheckedPackage, seconds: float) -> tuple[Resolution, float]:
        """Return the child's answer about the model, and its duration in seconds."""
        child, self._next = self._next, TrialProcess(CHILD)
        package = checked.package
        manifest = str(package.manifest_path) if package.manifest_path else None
        asked = replace(request, roots=(), policy=Policy(), private=())  # the child checks none of these
        order = ProbeRequest(asked, str(package.file), manifest, checked.paths, seconds)
        try:
            with child:
                answer = decode_json(ProbeAnswer, joined([child.ask(order, seconds, checked.descriptors)]))
        except GoneError as gone:
            outside = gone.status == -signal.SIGKILL  # not sent by this process: others may have used the memory
            answer = ProbeAnswer(error=f"{package.file}: {_why_gone(gone, seconds)}", tried=not outside)
        except WireError as error:
            text = f"the process that tried the model gave an invalid answer: {error}"
            answer = ProbeAnswer(error=f"{package.file}: {text}", tried=True)
        if answer.resolution is None:
            lines = map(printable, answer.error.split("\n"))  # each problem of a manifest is one line
            raise ModelError("\n".join(lines), key=answer.key, tried=answer.tried, foreign=True)
        return answer.resolution, child.seconds


def _is_there(plan: ModelPlan, store: Path | None) -> bool:
    """Return whether the files of a plan are in the store with their original content."""
    paths = [Path(path) for path in files_of(plan)]
    try:
        return all(holds(path, promised_digest(str(path))) and store in (None, path.parent) for path in paths)
    except OSError:  # for example on a worn card; the caller then makes a new copy or reports the error
        return False


def _why_gone(gone: GoneError, seconds: float) -> str:
    status = gone.status
    if gone.mute:
        return f"the process that tried the model gave no answer and was stopped.{gone.said}"
    if status is None:
        return f"the model did not finish within {seconds:.0f} s; it is damaged or too large for this board"
    if status >= 0:
        return f"the process that tried the model ended with code {status}.{gone.said}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if -status == signal.SIGXCPU:
        return "the model does not finish; it is damaged or too large for this board"
    if -status == signal.SIGKILL:
        how = unexpected_death(status)
        return f"the process that tried the model {how}; the model may be good: try again when more memory is free"
    return f"the model crashed the interpreter ({name}); it is damaged or needs a newer runtime.{gone.said}"
