"""Entry point of the page's process, ``python -m edge_infer.page``; systemd's socket or `edge-infer page` starts it.

Without arguments systemd passes the listening socket. With ``--listen`` and ``--parent`` the command passes the
listening socket and a channel, over which it sends the settings as a line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from edge_infer.page.routes import static_files
from edge_infer.page.server import PageServer
from edge_infer.page.upstream import GivenPeers, Peers, SocketPeers
from edge_infer.sandbox import Fence, lock

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
FIRST_PASSED: Final = 3
"""The descriptor of the first socket that systemd passes."""
CONTROL: Final = Path("/run/edge-infer/control.sock")
WRITER: Final = Path("/run/edge-infer-page/draw.sock")
READ_ONLY: Final = "this page cannot save: the writer's socket, edge-infer-draw.socket, is not started"


def main() -> int:
    """Lock the process in its sandbox, then serve until there has been no connection for some time."""
    parser = argparse.ArgumentParser(prog="edge-infer page")
    parser.add_argument("--listen", type=int, help="an open listening socket")
    parser.add_argument("--parent", type=int, help="an open socket to the command that has started this process")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    settings: dict[str, Any] = {}
    peers: Peers
    fence = Fence(unix="page")
    if args.parent is not None:
        fence = Fence()
        channel = socket.socket(fileno=args.parent)
        settings = json.loads(channel.makefile("rb").readline())
        listener, peers = socket.socket(fileno=args.listen), GivenPeers(channel)
        _give_up_root(settings)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets this
    else:
        if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
            log.error("start this process with systemd (edge-infer-page.socket) or with: edge-infer page")
            return 2
        listener = socket.socket(fileno=FIRST_PASSED)
        peers = SocketPeers(CONTROL, WRITER)
    files = static_files()
    lock("page", fence=fence)
    token = settings.get("token", "")
    server = PageServer(listener, peers, files, token=token, why_not=lambda: _why_not(settings))

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
    return 0


def _why_not(settings: dict[str, Any]) -> str:
    """Return why nothing can be saved now. The writer's socket may appear and disappear while this process runs."""
    if "why_not" in settings:
        return str(settings["why_not"])
    return "" if WRITER.is_socket() else READ_ONLY


def _give_up_root(settings: dict[str, Any]) -> None:
    """Become another user if root started the command, because this process parses the input of browsers."""
    if os.geteuid() == 0:
        from edge_infer.sandbox.change_user import give_up_root

        folder = settings.get("state_dir")
        give_up_root(None if folder is None else Path(folder), devices=False)


if __name__ == "__main__":
    sys.exit(main())
