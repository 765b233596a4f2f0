"""Runs code in a fresh process that locked itself as one of the rooms, and gives back what it printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge_infer.sandbox import Fence

ROOT = Path(__file__).parents[2]


def run(room: str, code: str, *, network: bool = False, before: str = "", fence: Fence | None = None) -> str:
    """What ``code`` printed; it finds ``walls``, the outcome of the lock. ``before`` runs ahead of the lock.

    Without a ``room`` nothing is locked: a control, which shows that an attack would have succeeded.
    """
    lock = f"walls = lock({room!r}, network={network}, fence={fence!r})" if room else ""
    script = f"{before}\nfrom edge_infer.sandbox import Fence, lock\n{lock}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ATTEMPT = """
import errno
def attempt(what):
    try:
        what()
    except OSError as error:
        print(errno.errorcode[error.errno])
    else:
        print("allowed")
"""
"""Code that prints how the kernel answered to a call."""
