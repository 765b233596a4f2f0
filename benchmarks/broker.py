"""A broker for the measured programs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run mosquitto on a free port of this machine; yield the port."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        sys.exit("there is no mosquitto here; the other designs publish to one: sudo apt install mosquitto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([path, "-c", folder / "broker.conf"], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10.0
        while _closed(port) and time.monotonic() < end:
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
