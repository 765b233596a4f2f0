"""Tries models in short-lived processes, because a damaged file can crash, hang or fatten whoever loads it.

One process for each model: what a model leaves behind in the process that tried it is no other model's fate. What the
child imports is not imported here, and what it answers is compared with what it was asked (`verdict`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_infer.closing import Closing
from edge_infer.codec import decode_json, joined, replace
from edge_infer.config.plan import ModelPlan
from edge_infer.errors import ModelError, WireError
from edge_infer.logs import printable
from edge_infer.models.child import Child, GoneError
from edge_infer.models.order import Answer, Order
from edge_infer.models.plan_files import files_of
from edge_infer.models.request import ModelRequest, Policy
from edge_infer.models.resolution import Resolution
from edge_infer.models.store import holds, promised_digest

if TYPE_CHECKING:
    from edge_infer.models.checked_package import CheckedPackage

CHILD: Final = "edge_infer.models.prober"
TIMEOUT: Final = 60.0
"""Seconds for one model: loading YOLOv5n takes 26 ms on a desktop and some ten times that on a small board."""
ALL: Final = 80.0
"""Seconds for all models of a configuration together: whoever waits for its reading gives up after 120."""
LEAST: Final = 5.0
"""Seconds for a model that is tried after others which took their time."""


def probe(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> ModelPlan:
    """The plan of a model that loads, runs and finds what its manifest promises; raises `ModelError`, `StartError`."""
    return examine_safely(request, store, timeout).plan


def probe_all(
    requests: Sequence[ModelRequest], child: Probe, store: Path | None = None, kept: Collection[str] | None = None
) -> list[ModelPlan | ModelError]:
    """What `probe` says of several models, in their order: a plan or what is wrong with it. Raises `StartError`.

    Into the ``store`` go the files of those whose names are in ``kept``; None: of all.
    """
    last = time.monotonic() + ALL
    stores = [store if kept is None or request.name in kept else None for request in requests]
    return [child.outcome(request, place, last) for request, place in zip(requests, stores, strict=True)]


def examine_safely(request: ModelRequest, store: Path | None = None, timeout: float = TIMEOUT) -> Resolution:
    """Like `probe`, with the reasons."""
    with Probe(timeout) as child:
        return child.examine(request, store)


class Probe(Closing):
    """Tries models, each in a process of its own; the first may have begun before its model is known."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._next = Child(CHILD)
        self._known: dict[str, ModelPlan] = {}

    def knows(self, plans: Iterable[ModelPlan]) -> None:
        """Takes these as they are where the same would be asked again: the same bytes, the same configuration."""
        self._known.update((plan.question, plan) for plan in plans if plan.question)

    def begin(self) -> None:
        """Starts a process, so that it has loaded what it needs when the model comes; raises `StartError`."""
        self._next.begin()

    def outcome(
        self, request: ModelRequest, store: Path | None = None, last: float = math.inf
    ) -> ModelPlan | ModelError:
        """The plan of a model, or what is wrong with it; raises `StartError` when no model can be tried here.

        Of the time until ``last``, on the monotonic clock, others may have left little.
        """
        from edge_infer.models.checked_package import (
            CheckedPackage,
        )  # parses manifests, which not everybody does who imports this
        from edge_infer.models.verdict import still_holds

        seconds = min(self._timeout, max(LEAST, last - time.monotonic()))
        try:
            with CheckedPackage(request) as checked:
                known = self._known.get(checked.question)
                if known is not None and _is_there(known, store) and still_holds(known, checked, request):
                    return known
                return self._tried(request, checked, store, seconds).plan
        except ModelError as error:
            return error

    def examine(self, request: ModelRequest, store: Path | None = None) -> Resolution:
        """The resolution of a model that works here; raises `ModelError`, `StartError`.

        With a ``store`` its files are copied there under their digests, and the plan names the copies.
        """
        from edge_infer.models.checked_package import CheckedPackage

        with CheckedPackage(request) as checked:
            return self._tried(request, checked, store, self._timeout)

    def _tried(self, request: ModelRequest, checked: CheckedPackage, store: Path | None, seconds: float) -> Resolution:
        from edge_infer.models.verdict import check_answer, kept

        resolution = check_answer(*self._answer(request, checked, seconds), request, checked)
        plan = replace(resolution.plan, question=checked.question, manifest=checked.package.manifest_digest)
        return replace(resolution, plan=kept(plan, checked, store) if store else plan)

    @property
    def pid(self) -> int | None:
        """Of the process that waits for the next model, if there is one."""
        return self._next.pid

    def close(self) -> None:
        """Ends a process that has begun; may be called twice."""
        self._next.close()

    def _answer(self, request: ModelRequest, checked: CheckedPackage, seconds: float) -> tuple[Resolution, float]:
        """What the process says of the model, and how long it took to say it."""
        child, self._next = self._next, Child(CHILD)
        package = checked.package
        manifest = str(package.manifest_path) if package.manifest_path else None
        asked = replace(request, roots=(), policy=Policy(), private=())  # nothing of it is the child's to check
        order = Order(asked, str(package.file), manifest, checked.paths, seconds)
        try:
            with child:
                answer = decode_json(Answer, joined([child.ask(order, seconds, checked.descriptors)]))
        except GoneError as gone:
            answer = Answer(error=f"{package.file}: {_why_gone(gone, seconds)}", tried=True)
        except WireError as error:
            text = f"the process that tried the model gave no answer that makes sense: {error}"
            answer = Answer(error=f"{package.file}: {text}", tried=True)
        if answer.resolution is None:
            lines = map(printable, answer.error.split("\n"))  # of a manifest each problem is one
            raise ModelError("\n".join(lines), key=answer.key, tried=answer.tried)
        return answer.resolution, child.seconds


def _is_there(plan: ModelPlan, store: Path | None) -> bool:
    """Whether the files of a plan are where they are wanted, each as it was."""
    paths = [Path(path) for path in files_of(plan)]
    try:
        return all(holds(path, promised_digest(str(path))) and store in (None, path.parent) for path in paths)
    except OSError:  # such as one that a worn card cannot read: a new copy is made, or the reason told
        return False


def _why_gone(gone: GoneError, seconds: float) -> str:
    status = gone.status
    if gone.mute:
        return f"the process that tried the model gave no answer and had to be ended.{gone.said}"
    if status is None:
        return f"the model did not finish within {seconds:.0f} s; it is damaged or too large for this board"
    if status >= 0:
        return f"the process that tried the model ended with code {status}.{gone.said}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if -status == signal.SIGXCPU:
        return "the model computes without end; it is damaged or too large for this board"
    if -status == signal.SIGKILL:
        return "the process that tried the model was killed; this board has too little memory for it"
    return f"the model crashed the interpreter ({name}); it is damaged or needs a newer runtime.{gone.said}"
