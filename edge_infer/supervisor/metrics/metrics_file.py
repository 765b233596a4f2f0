"""The file with the metrics of a running daemon. It is written only if the configuration names it."""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edge_infer.plan.records import MetricsPlan, Plan
from edge_infer.supervisor.metrics.collector import Collector, render
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.reload.reload import Reload
from edge_infer.supervisor.rollout.rollout import ModelRollout

# The file that node_exporter's textfile collector reads. Each write replaces the whole file.

log = logging.getLogger(__name__)

MODE: Final = 0o644
"""Permissions of the file; it is readable for all users because node_exporter runs as another user."""
SUFFIX: Final = ".prom"
BEGIN: Final = b"# HELP edge_infer_"
_KNOWN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _check_replaceable(name: str, folder: int) -> None:
    """Raise `OSError` if the name does not end with `SUFFIX`, or if a file of another kind has this name.

    A link or an empty file may be replaced, too. A directory passes, because the renaming reports it. The check is
    needed because the plan may come from a compromised process.
    """
    if not name.endswith(SUFFIX):
        raise OSError(errno.EINVAL, f"its name does not end with {SUFFIX}")
    try:
        file = os.open(name, _KNOWN, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        raise
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            return  # the renaming will report the error
        if not stat.S_ISREG(status.st_mode) or (status.st_size and os.pread(file, len(BEGIN), 0) != BEGIN):
            raise OSError(errno.EEXIST, "it exists and is not a metrics file of edge-infer; remove it")
    finally:
        os.close(file)


class MetricsFile:
    """Writes a temporary file and renames it, so that a reader always gets a complete file.

    Nothing is synced to the disk: the file is worthless after a power cut, and an SD card wears out. A link in place of
    the file is replaced and never followed.
    """

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        """Report failures for ``status`` through ``note``."""
        self.path = path
        self._note = note
        self._failure = ""
        self._written = False

    def write(self, text: str) -> None:
        """Replace the file. A failure is logged when it first occurs, and the next call tries again."""
        try:
            self._replace(text.encode())
        except (OSError, ValueError) as error:  # ValueError: the path may contain a NUL
            self._failed(error)
        else:
            if self._failure:
                log.info("metrics: writing %s works again", self.path)
            self._failure, self._written = "", True

    def remove(self) -> None:
        """Remove the file if it was written, so that no reader takes it for the state of a running daemon."""
        if self._written:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _replace(self, data: bytes) -> None:
        fresh = f".{self.path.name}.new"  # the collector ignores files with this ending
        folder = os.open(self.path.parent, _FOLDER)
        try:
            if not self._written:
                _check_replaceable(self.path.name, folder)
            with suppress(FileNotFoundError):  # a leftover of a daemon that was killed
                os.unlink(fresh, dir_fd=folder)
            try:
                with os.fdopen(os.open(fresh, _FRESH, MODE, dir_fd=folder), "wb", buffering=0) as file:
                    os.fchmod(file.fileno(), MODE)  # the umask of the unit would hide the file from other users
                    while data:
                        data = data[file.write(data) :]
                os.replace(fresh, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(fresh, dir_fd=folder)
                raise
        finally:
            os.close(folder)

    def _failed(self, error: OSError | ValueError) -> None:
        failure = f"metrics: cannot write {self.path}: {getattr(error, 'strerror', None) or error}"
        if failure != self._failure:
            self._failure = failure
            told = f"{failure} (set metrics: file: to a file in an existing folder where the daemon may write)"
            log.error(told)
            self._note(told)


# Metrics of a running daemon: collected all the time, and written when the configuration names a file.


class MetricsWriter:
    """Off until a plan names a file. The file may change at any time."""

    def __init__(self, house: ProcessSupervisor, swap: ModelRollout, reload: Reload, board: Path) -> None:
        """Read the temperature of the board below ``board``."""
        self._house = house
        self._collector = Collector(house, swap, reload, board)
        self._plan: MetricsPlan | None = None
        self._file: MetricsFile | None = None
        self._due = math.inf

    def due(self) -> float:
        """Return the monotonic time of the next `look`."""
        return self._due

    def look(self, plan: Plan | None) -> None:
        """Follow the reports; write the file when it is due."""
        self._collector.follow()
        wanted = plan.metrics if plan is not None else None
        if wanted != self._plan:
            self._change(wanted)
        now = time.monotonic()
        if self._plan is not None and self._file is not None and now >= self._due:
            self._due = now + self._plan.every
            self._file.write(self.text())

    def text(self) -> str:
        """Return the current metrics in the text format of Prometheus."""
        return render(self._collector.families())

    def close(self) -> None:
        """Remove the file, because a stopped daemon has no metrics. May be called twice."""
        self._change(None)

    def _change(self, wanted: MetricsPlan | None) -> None:
        if self._file is not None and (wanted is None or wanted.file != str(self._file.path)):
            self._file.remove()
            self._file = None
        if self._file is None and wanted is not None:
            self._file = MetricsFile(Path(wanted.file), self._house.note)
        self._plan, self._due = wanted, math.inf if wanted is None else 0.0
