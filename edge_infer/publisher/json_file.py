"""One record in a small file of the publisher's folder, which the next process reads."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from edge_infer.contract.codec import decode_json, dumps
from edge_infer.errors import WireError
from edge_infer.platform.paths import content
from edge_infer.platform.rate_limits import LogThrottle
from edge_infer.publisher import reserved_space

log = logging.getLogger(__name__)

T = TypeVar("T")


class JsonFile(Generic[T]):
    """Reads and writes the file. It never raises: it logs errors with their consequence.

    A write replaces the whole file, so that after a kill either the old or the new file exists. It does not wait for
    the disk, because its thread also serves the broker.
    """

    def __init__(self, kind: type[T], name: str, most: int, without: str) -> None:
        """``most`` is the maximum number of bytes read. ``without`` is the logged consequence of having no file."""
        self._kind: Any = kind
        self._name = name
        self._most = most
        self._without = without
        self._rarely = LogThrottle(3600.0)

    def read(self, folder: Path) -> T | None:
        """Return the record in the file; None if there is none or it is unreadable."""
        path = folder / self._name
        try:
            found: T = decode_json(self._kind, content(path, self._most))
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            log.warning("%s cannot be read (%s): %s", path, error, self._without)
            return None
        return found

    def write(self, folder: Path, record: T | None) -> bool:
        """Replace the file by this record; with None remove it. Return False on failure."""
        return self.put(folder, None if record is None else dumps(record))

    def put(self, folder: Path, packed: bytes | None, *, last: bool = False) -> bool:
        """Do the same as `write` for an encoded record.

        The ``last`` one of the process may use the space that is reserved for this file.
        """
        path = folder / self._name
        try:
            if packed is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.with_suffix(".new").write_bytes(packed)
                path.with_suffix(".new").replace(path)
        except OSError as error:
            with suppress(OSError):
                path.with_suffix(".new").unlink(missing_ok=True)
                if last and packed is not None:
                    reserved_space.fill(path.with_suffix(reserved_space.SUFFIX), packed, path)
                    return True
            if self._rarely.due(path):
                log.warning("%s cannot be written (%s): %s", path, error.strerror, self._without)
            return False
        return True
