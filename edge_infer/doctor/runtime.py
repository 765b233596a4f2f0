"""Check of the model runtime: whether one is installed, and whether its fast path works, by timing it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import decode_json
from edge_infer.doctor.finding import Finding, fail, ok, warn
from edge_infer.errors import WireError
from edge_infer.models.trials.fast_path import CHILD, SHOW_PROCESSOR, Timed, remedy
from edge_infer.platform.child_process import go_first, own_module

_PATIENCE: Final = 120.0


def runtime(root: Path, model: Path | None) -> Iterator[Finding]:
    """Check which runtime works here, and how fast; ``root`` holds ``proc``."""
    if not (root / "proc/cpuinfo").exists():
        yield _no_processor("there is no /proc/cpuinfo here")
    elif _unit_hides_processor(root):
        yield _no_processor("ProcSubset=pid hides /proc/cpuinfo from the service")
    if model is None:
        yield warn("runtime", "not measured: the shipped model is missing", "run deploy/install again")
        return
    yield timed(model)


def _no_processor(why: str) -> Finding:
    return fail(
        "processor",
        f"{why}, so the runtime does not know the processor and is up to 60 times slower",
        SHOW_PROCESSOR,
    )


def _unit_hides_processor(root: Path) -> bool:
    if not (root / "run/systemd/system").exists():
        return False
    words = ["systemctl", "show", "--property=ProcSubset", "--value", "edge-infer.service"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=10, check=False,
            stdin=subprocess.DEVNULL, start_new_session=True,  # the user that root became must not get root's terminal
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "pid"


def timed(model: Path) -> Finding:
    """Time the model with and without the fast path in a child, and return the finding."""
    with subprocess.Popen(
        own_module(CHILD, str(model)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, start_new_session=True,  # the user that root became must not get root's terminal
    ) as process:  # fmt: skip
        go_first(process.pid)
        try:
            output, said = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return fail("runtime", f"one small model takes more than {_PATIENCE:.0f} s", "use a faster board")
    try:
        return verdict(decode_json(Timed, output.encode()))
    except WireError:
        last = said.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        return fail("runtime", f"it crashed with a small model: {last[0]}", "install another version of the runtime")


def verdict(found: Timed) -> Finding:
    """Return the finding about the times that the child measured."""
    if found.error:
        return fail("runtime", *found.error.split(". ", 1))
    fact = f"{found.runtime}, {found.fast:.1f} ms for the face model"
    if not found.works:
        told = f"{fact}; its fast path (XNNPACK) makes no difference here"
        return warn("runtime", told, remedy(found.runtime))
    return ok("runtime", f"{fact}, {found.gain:.1f} times faster with its fast path")
