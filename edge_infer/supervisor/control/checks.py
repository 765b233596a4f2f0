"""Configuration checks on request: a child process reads the file as for a reload, without applying it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.contract.codec import encode
from edge_infer.errors import StartError
from edge_infer.plan.records import Compiled, Plan, Problem
from edge_infer.supervisor.control.answers import CheckAnswer
from edge_infer.supervisor.control.server import Request
from edge_infer.supervisor.processes.output import Output
from edge_infer.supervisor.reload.compilation import NAME, Compilation, failed

MOST_LINES: Final = 200
"""Maximum number of problems in one answer, because the answer has to fit into one message of the control socket."""


class Checks:
    """Runs one check at a time, in a process of its own that tries every model."""

    def __init__(self, config: Path, state_dir: Callable[[], str | None] = lambda: None) -> None:
        """``state_dir`` returns the state directory of the running daemon, which no reload changes."""
        self._config = config
        self._state_dir = state_dir
        self._output = Output(NAME)
        self._compilation: Compilation | None = None
        self._request: Request | None = None

    def begin(self, request: Request) -> None:
        """Start a check.

        Reject the request if it names another file or another installation, or if a check is in progress.
        """
        if not self._is_ours(request.body.get("config")):
            request.answer({"error": f"this daemon runs {self._config}"})
        elif request.body.get("program") != sys.prefix:  # another version may read the file differently
            request.answer({"error": f"this daemon runs the program in {sys.prefix}"})
        elif (draft := request.body.get("draft")) is not None and request.peer.uid not in (0, os.geteuid()):
            # its check opens any file that the text names
            request.answer({"refused": "only root and the daemon's user may check a draft; run the command with sudo"})
        elif self._request is not None:
            request.answer(
                {"busy": "the daemon is checking the configuration for another client; try again in a moment"}
            )
        elif draft is not None and not (isinstance(draft, str) and "\0" not in draft and len(request.files) == 1):
            request.answer(
                {"error": "a draft needs the path of its configuration file, and an open file with its text"}
            )
        else:
            self._request = request
            try:
                at = None if draft is None else (str(draft), request.files[0])
                ours = self._state_dir()
                self._compilation = Compilation(
                    self._config,
                    store=False,
                    state_dir=None if ours is None else Path(ours),
                    draft=at,
                    output=self._output,
                )
            except StartError as error:
                self._answer(failed(self._config, str(error), machine=True))

    def files(self) -> list[int]:
        """Return the descriptors to wait on while the file is being read."""
        return [] if self._compilation is None else [self._compilation.fileno()]

    def pids(self) -> list[int]:
        """Return the id of the process that reads the file, if such a process runs."""
        return [] if self._compilation is None else [self._compilation.pid]

    def go_on(self) -> None:
        """Answer the request once the file has been read."""
        if self._compilation is not None and (compiled := self._compilation.finished()) is not None:
            self._compilation = None
            self._answer(compiled)

    def close(self) -> None:
        """Cancel the check in progress; may be called twice."""
        if self._compilation is not None:
            self._compilation.close()
            self._compilation = None
        if self._request is not None:
            self._request.close()
            self._request = None

    def _is_ours(self, path: object) -> bool:
        with suppress(OSError, ValueError):
            return isinstance(path, str) and self._config.samefile(path)
        return path == str(self._config.absolute())

    def _answer(self, compiled: Compiled) -> None:
        assert self._request is not None
        if compiled.unread:
            self._request.answer({"unread": str(compiled.problems[0])})
            self._request = None
            return
        found = counts(compiled.plan) if compiled.plan is not None else None
        self._request.answer(encode(CheckAnswer(_lines(compiled.problems), _lines(compiled.warnings), found)))
        self._request = None


def counts(plan: Plan) -> dict[str, int]:
    """Return the numbers of sources, models (including shadow models) and pipelines of a plan, by noun."""
    models = {model.name for model in plan.models()}
    models |= {pipeline.shadow.model.name for pipeline in plan.pipelines if pipeline.shadow is not None}
    return {"source": len(plan.sources), "model": len(models), "pipeline": len(plan.pipelines)}


def _lines(problems: Sequence[Problem]) -> tuple[str, ...]:
    lines = tuple(str(problem)[:4000] for problem in problems[:MOST_LINES])
    return (*lines, f"… and {len(problems) - MOST_LINES} more") if len(problems) > MOST_LINES else lines
