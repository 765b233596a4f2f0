"""Reading a configuration, in a child: a file that others wrote cannot crash or fatten the supervisor."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer import __version__
from edge_infer.codec import decode_json, joined
from edge_infer.config.places import content, default_device_id, hinted
from edge_infer.config.plan import Compiled, Plan, Problem
from edge_infer.durable import keep_record
from edge_infer.errors import StartError, WireError
from edge_infer.models.plan_files import files_of_pipelines
from edge_infer.supervisor.children import death
from edge_infer.supervisor.errand import LONGEST, Errand

log = logging.getLogger(__name__)

DEADLINE: Final = 120.0
"""Seconds that validating a configuration and trying every model of it may take."""
APPLIED: Final = "applied.json"
MOVED: Final = "cannot change while the daemon runs; restart it instead"


class Compilation:
    """One run of ``edge_infer.config`` over a file; wait on `fileno`, then `finished`.

    With ``store`` it copies the models for the engine, into ``state_dir`` alone; where that is None, because nothing
    runs yet, into the one that the file names. Raises `StartError` where the system has no room for it.
    """

    def __init__(self, config: Path, *, store: bool = True, state_dir: Path | None = None) -> None:
        self._config = config
        self._searching = store and state_dir is None
        self._words: tuple[str, ...] = (str(config),)
        if state_dir is not None:
            self._words = self._keeping(str(state_dir))
        elif store:
            guess = str(hinted(config.absolute()))
            self._words = (str(config), "--store", guess if os.path.isdir(guess) else "")  # noqa: PTH112 - any text
        self._errand = self._begun()

    def _keeping(self, state_dir: str) -> tuple[str, ...]:
        """The words for a reading that keeps models there; a fence opens nothing that is not there when it is made."""
        with suppress(OSError, ValueError):  # the process that reads the file says what stands in the way
            Path(state_dir).mkdir(mode=0o750, parents=True, exist_ok=True)
        return str(self._config), "--store", state_dir

    def _begun(self) -> Errand:
        try:
            return Errand("edge_infer.config", *self._words, seconds=DEADLINE, name="config")
        except OSError as error:
            raise StartError(f"no process can be started to read it: {error}") from error

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._errand.pid

    def fileno(self) -> int:
        """Readable when there is more to take in."""
        return self._errand.fileno()

    def finished(self) -> Compiled | None:
        """The outcome once it is there; a child that crashed or hung is a problem of the file."""
        if (said := self._errand.said()) is None:
            return None
        if said.status is None:
            return failed(self._config, f"reading it took longer than {DEADLINE:.0f} s")
        if said.excess:
            log.error("the process that reads %s %s and is killed", self._config, said.excess)
            return failed(self._config, f"the process that reads it {said.excess}")
        try:
            compiled = decode_json(Compiled, joined([said.output]))
        except WireError as error:
            log.debug("the outcome of the compilation: %s", error)
            return failed(self._config, f"the process that reads it {death(said.status)}")
        return self._again_in(compiled) if compiled.elsewhere else compiled

    def _again_in(self, compiled: Compiled) -> Compiled | None:
        """Reads it once more, behind a fence with the state directory that it names; not while another one is used."""
        if not self._searching:
            moved = Problem(str(self._config), 1, "device.state_dir", MOVED)
            return Compiled(compiled.digest, None, (moved,), seen=compiled.seen)
        self._searching = False
        self._words = self._keeping(compiled.elsewhere)
        try:
            self._errand = self._begun()
        except (StartError, ValueError) as error:
            return failed(self._config, str(error), machine=True)
        return None

    def close(self) -> None:
        """Ends the child; may be called twice."""
        self._errand.close()


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
        return decode_json(Plan, path.read_bytes())
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
    whole = all(Path(path).is_file() for path in files_of_pipelines(plan.pipelines))
    return plan if here and whole and plan.made_by == __version__ else None
