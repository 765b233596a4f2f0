"""The interpreter of models: whether there is one, and whether its fast path works, by timing it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_infer.doctor.finding import Finding, fail, ok, warn

_PATIENCE: Final = 120.0
_LEAST_GAIN: Final = 1.2
_WITHOUT_FAST_PATH: Final = (
    "this runtime leaves it out for quantized models; on a 64-bit system install ai-edge-litert instead, on a 32-bit "
    "one there is nothing faster"
)
SHIPPED: Final = Path("face-detect/1.0.0/face_full_range_int8.tflite")


def runtime(root: Path, model: Path | None) -> Iterator[Finding]:
    """Which runtime works here and how fast; ``root`` holds ``proc``."""
    if not (root / "proc/cpuinfo").exists():
        yield _no_processor("there is no /proc/cpuinfo here")
    elif _unit_hides_processor(root):
        yield _no_processor("ProcSubset=pid hides /proc/cpuinfo from the service")
    if model is None:
        yield warn("runtime", "not timed: the model that comes along is not here", "run deploy/install again")
        return
    yield timed(model)


def _no_processor(why: str) -> Finding:
    return fail(
        "processor",
        f"{why}, so the runtime does not know the processor and is up to 60 times slower",
        "remove ProcSubset=pid from the unit and its drop-ins (systemctl edit edge-infer), mount all of /proc",
    )


def _unit_hides_processor(root: Path) -> bool:
    if not (root / "run/systemd/system").exists():
        return False
    words = ["systemctl", "show", "--property=ProcSubset", "--value", "edge-infer.service"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "pid"


def shipped_model(state_dir: Path) -> Path | None:
    """The model that comes along, where this user can read it: installed, in the store, or in the checkout."""
    checkout = Path(__file__).parents[2]
    folders = (Path(sys.prefix) / "share/models", state_dir / "models", checkout / "models")
    for folder in folders:
        try:
            with (folder / SHIPPED).open("rb"):
                return folder / SHIPPED
        except OSError:
            continue
    return None


def timed(model: Path) -> Finding:
    """Runs the model with and without the fast path, in a child."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edge_infer.doctor.speed", str(model)],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return fail("runtime", f"one small model takes more than {_PATIENCE:.0f} s", "use a faster board")
    try:
        return verdict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return fail("runtime", f"it died with a small model: {last[0]}", "install another version of the runtime")


def verdict(found: dict[str, str | float]) -> Finding:
    """What the figures of the child mean."""
    if "error" in found:
        return fail("runtime", *str(found["error"]).split(". ", 1))
    fast, slow = float(found["fast"]), float(found["slow"])
    fact = f"{found['runtime']}, {fast:.1f} ms for the face model, {slow / fast:.1f} times faster with its fast path"
    if slow / fast < _LEAST_GAIN:
        return warn(
            "runtime",
            f"{found['runtime']}, {fast:.1f} ms for the face model; its fast path (XNNPACK) brings nothing here",
            _WITHOUT_FAST_PATH
            if str(found["runtime"]).startswith("tflite-runtime")
            else "is /proc/cpuinfo readable, is the runtime made for this processor? Otherwise install another version",
        )
    return ok("runtime", fact)
