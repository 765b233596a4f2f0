"""Reading a configuration, in a child: a file that others wrote cannot crash or fatten the supervisor."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer import __version__
from edge_infer.codec import decode, loads
from edge_infer.config.places import content, default_device_id
from edge_infer.config.plan import Compiled, Plan, Problem
from edge_infer.durable import keep_record
from edge_infer.errors import StartError, WireError
from edge_infer.models.store import BLOBS, digests_of
from edge_infer.supervisor.children import death

log = logging.getLogger(__name__)

DEADLINE: Final = 120.0
"""Seconds that validating a configuration and trying every model of it may take."""
LAST_WAIT: Final = 1.0
"""Seconds that it may take to end once it has said everything, or was killed."""
LONGEST: Final = 16 << 20
APPLIED: Final = "applied.json"


class Compilation:
    """One run of ``edge_infer.config`` over a file; wait on `fileno`, then `finished`.

    Raises `StartError` where the system has no room for it.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._output = bytearray()
        self._deadline = time.monotonic() + DEADLINE
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_infer.config", str(config), "--store"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        except OSError as error:
            raise StartError(f"no process can be started to read it: {error}") from error
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def fileno(self) -> int:
        """Readable when there is more to take in."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def finished(self) -> Compiled | None:
        """The outcome once it is there; a child that crashed or hung is a problem of the file."""
        if time.monotonic() > self._deadline:
            self.close()
            return failed(self._config, f"reading it took longer than {DEADLINE:.0f} s")
        if not self._drain():
            return None
        try:
            status = self._process.wait(LAST_WAIT)
        except subprocess.TimeoutExpired:  # it said too much, or hangs in its end
            status = -signal.SIGKILL
        self.close()
        try:
            return decode(Compiled, loads(bytes(self._output)))
        except WireError as error:
            log.debug("the outcome of the compilation: %s", error)
            return failed(self._config, f"the process that reads it {death(status)}")

    def close(self) -> None:
        """Ends the child; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nobody can do more
                self._process.wait(LAST_WAIT)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _drain(self) -> bool:
        """Takes in what is there; True at the end."""
        while True:
            try:
                part = os.read(self.fileno(), 65536)
            except BlockingIOError:
                return False
            self._output += part
            if not part or len(self._output) > LONGEST:
                return True


def failed(config: Path, why: str, *, machine: bool = False) -> Compiled:
    """The outcome of a compilation that came to no end; ``machine`` as in `Compiled`."""
    return Compiled(_digest(config), None, (Problem(str(config), 1, "", why),), machine=machine)


def _digest(config: Path) -> str:
    """Of the bytes of a file, or of nothing where there is none that could be a configuration."""
    data = b""
    with suppress(OSError, ValueError):
        data = content(config, LONGEST)
    return hashlib.sha256(data).hexdigest()


def remember(plan: Plan) -> None:
    """Keeps the plan as the last one that was applied; raises `StartError` when the state directory is not writable."""
    keep_record(Path(plan.state_dir) / APPLIED, plan)


def remembered(state_dir: Path) -> Plan | None:
    """The last plan that was applied, if there is one that this version understands."""
    path = state_dir / APPLIED
    try:
        return decode(Plan, loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.warning("%s cannot be used: %s", path, error)
        return None


def unchanged(config: Path, state_dir: Path) -> Plan | None:
    """The last plan that was applied, if the file is the one that it was made from and would come to the same again.

    What lies outside the file is as it was then: models run from their copies. A card that was copied to another box
    has that box's name, the environment may be another one, and another version may read the file otherwise.
    """
    try:
        text = content(config, LONGEST)
    except OSError:
        return None
    plan = remembered(state_dir) if b"${" not in text else None
    if plan is None or plan.digest != hashlib.sha256(text).hexdigest() or Path(plan.state_dir) != state_dir:
        return None
    named = re.search(rb"(?m)^[^#\n]*\bid:\s*[\"']?" + re.escape(plan.device.encode()) + rb"\b", text)
    here = named is not None or plan.device == default_device_id()
    copies = {path.name.partition(".")[0] for path in (state_dir / BLOBS).glob("*")}
    whole = digests_of((*plan.models(), *plan.shadows())) <= copies
    return plan if here and whole and plan.made_by == __version__ else None
