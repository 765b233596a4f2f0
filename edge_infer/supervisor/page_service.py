"""Entry point of the page's unit: ``python -m edge_infer.supervisor.page_service CONTROL WRITER``.

systemd passes the listening socket. This process starts the page's process, opens its connections to the sockets
CONTROL (of the daemon) and WRITER (of the configuration writer), and limits its output. So code that an attacker runs
in the page's process reaches neither the journal nor other services.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Final

from edge_infer.errors import StartError
from edge_infer.page.upstream import SocketPeers
from edge_infer.platform.child_process import unexpected_death
from edge_infer.platform.logs import configure
from edge_infer.platform.rate_limits import TokenBucket
from edge_infer.sandbox import privileges
from edge_infer.supervisor.page_process import StartedPage
from edge_infer.supervisor.processes.output import Output

log = logging.getLogger(__name__)

FIRST_PASSED: Final = 3
"""The descriptor of the first socket that systemd passes."""
MAX_WRITERS_IN_A_ROW: Final = 60
SECONDS_EACH_WRITER: Final = 6.0
"""Limits of the connections to the writer. For each connection, systemd starts a unit, which writes lines to the
journal. After 200 starts within two seconds, systemd stops listening for the writer."""
MIN_PAUSE: Final = 3.0
"""Minimum seconds between the end of the page's process and its next start, so that a page that ends at once does not
occupy a core. systemd stops listening for the page after 20 starts within two seconds."""


class LimitedPeers:
    """Opens connections for the page's process; those to the writer have a limit."""

    def __init__(self, peers: SocketPeers) -> None:
        self._peers = peers
        self._writers = TokenBucket(MAX_WRITERS_IN_A_ROW, 1 / SECONDS_EACH_WRITER)

    def daemon(self) -> socket.socket:
        """Connect to the daemon."""
        return self._peers.daemon()

    def writer(self) -> socket.socket:
        """Connect to the writer; raises `OSError` also after too many connections."""
        if not self._writers.take():
            raise OSError(errno.EAGAIN, "too many connections to the writer")
        return self._peers.writer()


def main() -> int:
    """Serve until the page's process ends, then wait until the next process has the whole output limit."""
    parser = argparse.ArgumentParser(prog="python -m edge_infer.supervisor.page_service")
    parser.add_argument("control", type=Path)
    parser.add_argument("writer", type=Path)
    args = parser.parse_args()
    configure("page service", "info")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        log.error("not started by systemd: start edge-infer-page.socket, or serve the page with: edge-infer page")
        return 2
    privileges.forbid_core_dumps()
    privileges.forbid_dumping()  # the page's process has the same user
    privileges.forbid_new_privileges()
    with Output("page") as output:
        try:
            code = _serve(args.control, args.writer, output)
        except (OSError, StartError) as error:
            log.error("%s", error)  # noqa: TRY400 - the reason is complete
            code = 1
    pause = max(MIN_PAUSE, output.seconds_to_burst())
    if code or pause > MIN_PAUSE:
        log.error("the page %s; it can start again in %.0f s", unexpected_death(code), pause)
    time.sleep(pause)  # the next process has the whole limit again
    return 1 if code else 0


def _serve(control: Path, writer: Path, output: Output) -> int:
    """Run the page's process and forward its output; return its exit code. Raises `StartError` or `OSError`."""
    peers = LimitedPeers(SocketPeers(control, writer))
    with socket.socket(fileno=FIRST_PASSED) as listener:
        page = StartedPage(listener, {"writer": str(writer)}, peers.daemon, peers.writer, output)
    with page:
        return page.wait()


if __name__ == "__main__":
    sys.exit(main())
