"""A subscriber in a thread of its own, while a fault is made."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from typing_extensions import Self


class Listening(ABC):
    """Runs `listen` from entering to leaving; that has to end soon after ``_stop`` is set."""

    _stop: threading.Event
    _thread: threading.Thread

    @abstractmethod
    def listen(self) -> None:
        """Listen until ``_stop`` is set."""

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
