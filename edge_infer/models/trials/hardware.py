"""Trials of threads and delegates for a pipeline's model, in a child process.

The child's imports are not loaded here.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json, joined
from edge_infer.errors import ModelError, WireError
from edge_infer.models.packages.read_files import LARGEST_MODEL
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.checked_package import CheckedPackage
from edge_infer.models.trials.child import GoneError, TrialProcess
from edge_infer.models.trials.file_handover import SealedCopies
from edge_infer.models.trials.messages import HardwareTrialRequest, HardwareTrialResult
from edge_infer.plan.files import files_of
from edge_infer.plan.records import PipelinePlan
from edge_infer.platform.logs import printable
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.system_paths import accelerators

CHILD: Final = "edge_infer.models.trials.hardware_main"
COUNTING: Final = 20.0
"""Seconds to find the number of threads; `quickest` stops its search after about 10."""
DELEGATING: Final = 40.0
"""Seconds to try a delegate. Some delegates compile the graph for their accelerator when they load it."""


def threads(pipeline: PipelinePlan, request: ModelRequest, most: int) -> int:
    """Return the fastest number of threads, up to ``most``; raises `ModelError` if the trial fails, `StartError`."""
    return _found(TrialProcess(CHILD), pipeline, request, COUNTING, most).threads


def delegated(pipeline: PipelinePlan, request: ModelRequest) -> float:
    """Return the fraction of operators that the delegate runs; raises `ModelError` if not usable, `StartError`."""
    assert pipeline.delegate is not None
    library = pipeline.delegate.library
    reads = (str(Path(library).parent),) if library.startswith("/") else ()
    child = TrialProcess(CHILD, Fence(reads=reads, writes=accelerators()))
    return _found(child, pipeline, request, DELEGATING).delegated


def _found(
    child: TrialProcess, pipeline: PipelinePlan, request: ModelRequest, seconds: float, most: int = 1
) -> HardwareTrialResult:
    """Try one thing in its own process, because a third-party library may leave that process in any state."""
    what = "it" if pipeline.delegate is None else "the delegate"
    with child, SealedCopies() if pipeline.delegate is None else CheckedPackage(request) as copies:
        for path in files_of(pipeline.model):
            copies.add(Path(path), LARGEST_MODEL)
        described = copies.package.manifest_path if isinstance(copies, CheckedPackage) else None
        manifest = str(described) if described is not None else None
        wanted = HardwareTrialRequest(pipeline, manifest, copies.paths, seconds, most)
        try:
            found = decode_json(HardwareTrialResult, joined([child.ask(wanted, seconds, copies.descriptors)]))
        except GoneError as gone:
            raise ModelError(f"{what} {_why_gone(gone, seconds)}", foreign=True) from gone
        except WireError as error:
            raise ModelError(f"the process that tried {what} gave an invalid answer: {error}", foreign=True) from error
    if found.error:
        raise ModelError(printable(found.error), foreign=True)
    return found


def _why_gone(gone: GoneError, seconds: float) -> str:
    status = gone.status
    if gone.mute:
        return f"made the process that tried it hang; the process was stopped.{gone.said}"
    if status is None or status == -signal.SIGXCPU:
        return f"did not finish within {seconds:.0f} s"
    if status >= 0:
        return f"ended the process that tried it, with code {status}.{gone.said}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"crashed the process that tried it ({name}).{gone.said}"
