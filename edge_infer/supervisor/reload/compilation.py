"""Compilation of a configuration in a child: a file by others cannot crash the supervisor or fill its memory or log."""

from __future__ import annotations

import logging
import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer import __version__
from edge_infer.contract.codec import decode_json, joined
from edge_infer.errors import StartError, WireError
from edge_infer.models.serving_record import remembered
from edge_infer.plan.files import files_of_pipelines
from edge_infer.plan.records import Compiled, Plan, Problem
from edge_infer.platform.child_process import death, unexpected_death
from edge_infer.platform.config_files import MAX_BYTES, digest_of_texts, environment_for, texts_of
from edge_infer.platform.environment import take
from edge_infer.platform.logs import LONGEST_LINE, printable
from edge_infer.platform.paths import content, default_device_id, default_state_dir, hinted, written_state_dirs
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.platform.state_owner import mount_advice
from edge_infer.supervisor.processes.helper_process import HelperProcess
from edge_infer.supervisor.processes.output import MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE, Output
from edge_infer.supervisor.statedir import make_folders

log = logging.getLogger(__name__)

NAME: Final = "config"
"""Name of the process in the log."""
DEADLINE: Final = 120.0
"""Seconds that validating a configuration and trying each of its models may take."""
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An encoded NUL in a text of JSON, but not an encoded backslash before ``u0000``."""
_STATE_DIR: Final = re.compile(rb"""^[^#\n]*\bstate_dir["']?[ \t]*:""", re.MULTILINE)
_MERGED: Final = re.compile(rb"""^[^#\n]*\brooms["']?\s*:\s*["']?(?:merged\b|\$\{)""", re.MULTILINE)
ENDS: Final = (0, 2)
"""Exit statuses of a process that has read the file to its end."""


class Compilation:
    """One run of ``edge_infer.config`` over a file; wait on `fileno`, then call `finished`.

    With ``store`` the child copies the models for the engine, and may write only to ``state_dir``. If ``state_dir`` is
    None, because nothing runs yet, the child may write to the state directory that the file names. Without ``store`` it
    writes nowhere, and ``state_dir`` is the directory of the daemon for which the file is checked. With ``ahead`` the
    child loads its modules and reads the file only after `go`. Raises `StartError` if the process cannot be started.
    """

    def __init__(
        self,
        config: Path,
        *,
        store: bool = True,
        state_dir: Path | None = None,
        draft: tuple[str, int] | None = None,
        output: Output | None = None,
        ahead: bool = False,
    ) -> None:
        """``draft``: the path of one file of the configuration, and an open file with a text to read in its place.

        ``output`` limits what several runs write into the log.
        """
        self._config = config
        self._output = output or Output(NAME)
        self._stdin = subprocess.DEVNULL if draft is None else draft[1]
        self._signal = -1
        """The write end of the pipe on which a process that was started ahead waits for a line; -1 without one."""
        self._searching = store and state_dir is None
        self._words: tuple[str, ...] = (str(config), *(() if draft is None else ("--draft", draft[0])))
        if state_dir is not None:  # it is the last word, see `_again_in`
            self._words = self._keeping(str(state_dir)) if store else (*self._words, "--running", str(state_dir))
        elif store:
            guess = str(hinted(config.absolute()))
            self._words = (str(config), "--store", "")
            if os.path.isdir(guess):  # noqa: PTH112 - any text
                with suppress(StartError):  # the guess was wrong, or `_again_in` reports the error
                    self._words = self._keeping(guess)
        self._errand = self._started_ahead() if ahead else self._begun()

    def _started_ahead(self) -> HelperProcess:
        words, self._words = self._words, (*self._words, "--wait")
        self._stdin, self._signal = os.pipe()
        try:
            return self._begun()
        except StartError:
            self._drop()
            raise
        finally:
            os.close(self._stdin)
            self._stdin, self._words = subprocess.DEVNULL, words

    def go(self) -> None:
        """Let a process that was started ahead read the file."""
        if self._signal >= 0:
            environment_for(self._config)  # the file has changed since, and may name other variables
            self._errand.begin_again(DEADLINE)
            with suppress(OSError):  # it has ended, which `finished` reports
                os.write(self._signal, b"\n")
            self._drop()

    def _drop(self) -> None:
        if self._signal >= 0:
            os.close(self._signal)
            self._signal = -1

    def waits(self) -> bool:
        """Return whether the process was started ahead and still waits for `go`."""
        return self._signal >= 0 and self._errand.runs()

    def _keeping(self, state_dir: str) -> tuple[str, ...]:
        """Create the state directory and return the arguments for storing models there.

        Raises `StartError` for a folder of another program; the process that reads the file reports other errors.
        """
        try:
            make_folders(Path(state_dir))
        except StartError:
            raise
        except (OSError, ValueError) as error:
            log.debug("%s: %s", state_dir, error)
        return str(self._config), "--store", state_dir

    def _begun(self) -> HelperProcess:
        try:
            return HelperProcess(
                "edge_infer.config",
                *self._words,
                seconds=DEADLINE,
                output=self._output,
                stdin=self._stdin,
                environment=environment_for(self._config),
            )
        except (OSError, ValueError) as error:  # no argument has a NUL
            raise StartError(f"no process can be started to read it: {error}") from error

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._errand.pid

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is more output to read."""
        return self._errand.fileno()

    def finished(self) -> Compiled | None:
        """Return the outcome once it is complete.

        If the child hung or sent an invalid outcome, the file is the problem. If the child died, this machine is the
        problem: the kernel may have killed the child for lack of memory, and a later reading may succeed.
        """
        if (said := self._errand.said()) is None:
            return None
        if said.status is None:
            return failed(self._config, f"reading it took longer than {DEADLINE:.0f} s")
        if said.excess:
            log.error("the process that reads %s %s; killing it", self._config, said.excess)
            return failed(self._config, f"the process that reads it {said.excess}")
        try:
            compiled = decode_json(Compiled, joined([said.output]))
        except WireError as error:
            log.debug("the process that reads the configuration sent an invalid answer: %s", error)
            if said.status in ENDS:
                return failed(self._config, f"the process that reads it {death(said.status)}")
            why = f"it could not be read now: the process that reads it {unexpected_death(said.status)}"
            return failed(self._config, why, machine=True)
        if compiled.elsewhere:
            return self._again_in(compiled)
        return self._believed(compiled, said.output)

    def _believed(self, compiled: Compiled, output: bytes) -> Compiled:
        """Return the outcome, or a failure if its plan asks this process for something that is not in the file."""
        if compiled.plan is None or "--store" not in self._words:
            return compiled
        if _NUL.search(output):
            return failed(self._config, "the process that reads it sends a text with a NUL, which no path can contain")
        if Path(compiled.plan.state_dir) != Path(self._words[-1]):
            return failed(self._config, "the process that reads it names another state directory than the one it had")
        if compiled.plan.merged and not _names_merged(self._config):
            why = "the process that reads it merges rooms and the file does not; write rooms: merged on one line"
            return failed(self._config, why)
        return compiled

    def _again_in(self, compiled: Compiled) -> Compiled | None:
        """Compile again, in a sandbox with the state directory in the file; fail if the daemon uses another one."""
        if not self._searching:
            problem = moved(self._config, self._words[-1], compiled.elsewhere)
            return Compiled(compiled.digest, None, (problem,), seen=compiled.seen)
        self._searching = False
        if not _names_folder(self._config.absolute(), compiled.elsewhere):
            why = (
                "the process that reads it names a state directory that is not in the file; write its path on one line"
            )
            return failed(self._config, why)
        try:
            self._words = self._keeping(compiled.elsewhere)
            self._errand = self._begun()
        except (StartError, ValueError) as error:
            return failed(self._config, str(error), machine=True)
        return None

    def close(self) -> None:
        """End the child; may be called twice."""
        self._drop()
        self._errand.close()


def _names_merged(config: Path) -> bool:
    """Return whether the file seems to contain ``rooms: merged``.

    With this setting the publisher runs inside the supervisor, which accepts the setting only if the file contains it.
    """
    with suppress(OSError):
        return _MERGED.search(content(config, MAX_BYTES)) is not None
    return False


def _names_folder(config: Path, state_dir: str) -> bool:
    """Return whether the file names this state directory, which this process would create and lock."""
    with suppress(OSError):
        return Path(state_dir) in {default_state_dir(), *written_state_dirs(config, MAX_BYTES)}
    return False


def moved(config: Path, before: str, state_dir: str) -> Problem:
    """Return the problem of a file that names another state directory than that of the running daemon, ``before``."""
    advice = "" if mount_advice(before) else mount_advice(state_dir)  # the previous one shows that others are writable
    remedy = advice or "restart it instead"
    text = f"cannot change while the daemon runs; {remedy}"
    return Problem(str(config), _line_of_state_dir(config), "device.state_dir", text[:4096])


def _line_of_state_dir(config: Path) -> int:
    """Return the line that seems to name the state directory; 1 if another file does. YAML is not parsed here."""
    with suppress(OSError):
        if found := _STATE_DIR.search(text := content(config, MAX_BYTES)):
            return text.count(b"\n", 0, found.end()) + 1
    return 1


def failed(config: Path, why: str, *, machine: bool = False) -> Compiled:
    """Return the outcome of a compilation that did not finish; ``machine`` as in `Compiled`."""
    problem = Problem(str(config), 0 if machine else 1, "", why, outside=machine)
    return Compiled(_digest(config), None, (problem,), machine=machine)


def _digest(config: Path) -> str:
    """Return the digest of a configuration; empty if the file is missing or cannot be a configuration."""
    with suppress(OSError, ValueError):
        if config.is_file():
            return digest_of_texts(texts_of(config))
    return ""


def unchanged(config: Path, state_dir: Path) -> Plan | None:
    """Return the last applied plan if it was made from this file and compiling again would give the same plan.

    A later change of a model's file does not matter: the plan names its copy in the state directory. The result is None
    if the file refers to the environment, if another version made the plan, if the device name comes from another box
    (a copied card), or if a model copy is missing. It is also None for a stored plan that cannot be used: a compromised
    process may have written it.
    """
    try:
        return _unchanged(config, state_dir)
    except Exception as error:  # noqa: BLE001 - a file that a compromised process made must not end every start
        log.warning("cannot use the last applied configuration: %s", error)
        return None


def _unchanged(config: Path, state_dir: Path) -> Plan | None:
    try:
        texts = texts_of(config)
    except (OSError, ValueError):
        return None
    text = texts[config]
    if any(b"${" in each for each in texts.values()):
        return None
    take(())  # the files name no variable
    plan = remembered(state_dir)
    if plan is None or plan.digest != digest_of_texts(texts) or Path(plan.state_dir) != state_dir:
        return None
    named = re.search(rb"(?m)^[^#\n]*\bid:\s*[\"']?" + re.escape(plan.device.encode()) + rb"\b", text)
    here = named is not None or plan.device == default_device_id()
    whole = all(Path(path).is_file() for path in files_of_pipelines(plan.pipelines))
    return plan if here and whole and plan.made_by == __version__ else None


# The log lines about problems and warnings of a configuration, which the process that reads it has worded.

MAX_LOGGED_PROBLEMS: Final = 100
"""Maximum number of lines for one reading."""


class ProblemLog:
    """Logs problems within the limits of the reading process's output: if compromised, it chooses their texts."""

    def __init__(self) -> None:
        self._allowance = TokenBucket(MAX_BURST_BYTES, MAX_BYTES_PER_MINUTE / 60)

    def write(self, level: int, problems: Sequence[Problem]) -> None:
        """Log one line for each problem, and at last one line with the number of those that exceed the limits."""
        for number, problem in enumerate(problems):
            line = printable(str(problem))[:LONGEST_LINE]
            if number == MAX_LOGGED_PROBLEMS or not self._allowance.take(len(line.encode())):
                log.log(level, "… and %d more such lines; edge-infer check prints them all", len(problems) - number)
                return
            log.log(level, "%s", line)
