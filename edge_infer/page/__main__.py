"""Entry point of the page's process, ``python -m edge_infer.page``; see `edge_infer.supervisor.page_process`.

The parent is `edge-infer page` or `edge_infer.supervisor.page_service`. It passes the listening socket and a channel,
over which it sends the settings as a line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from edge_infer.page.routes import static_files
from edge_infer.page.server import PageServer
from edge_infer.page.upstream import GivenPeers
from edge_infer.platform.logs import configure
from edge_infer.sandbox import lock

_PR_SET_PDEATHSIG: Final = 1
READ_ONLY: Final = "this page cannot save: the writer's socket, edge-infer-draw.socket, is not started"


def main() -> int:
    """Lock the process in its sandbox, then serve until there has been no connection for some time."""
    parser = argparse.ArgumentParser(prog="edge-infer page")
    parser.add_argument("--listen", type=int, required=True, help="an open listening socket")
    parser.add_argument("--parent", type=int, required=True, help="an open socket to the process that started this one")
    args = parser.parse_args()
    configure("page", "info")
    channel = socket.socket(fileno=args.parent)
    settings = json.loads(channel.makefile("rb").readline())
    listener = socket.socket(fileno=args.listen)
    _give_up_root(settings)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets this
    if _has_ended(channel):  # the parent, before this process asked the kernel to end with it
        return 0
    files = static_files()
    lock("page")
    token = settings.get("token", "")
    server = PageServer(listener, GivenPeers(channel), files, token=token, why_not=lambda: _why_not(settings))

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
    return 0


def _has_ended(channel: socket.socket) -> bool:
    """Return whether the process at the other end has ended."""
    try:
        return not channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _why_not(settings: dict[str, Any]) -> str:
    """Return the reason why nothing can be saved now; empty if edits can be saved.

    The writer's socket may appear and disappear while this process runs.
    """
    if "why_not" in settings:
        return str(settings["why_not"])
    return "" if Path(settings["writer"]).is_socket() else READ_ONLY


def _give_up_root(settings: dict[str, Any]) -> None:
    """Become another user if root started the command, because this process parses the input of browsers."""
    if os.geteuid() == 0:
        from edge_infer.sandbox.change_user import give_up_root

        folder = settings.get("state_dir")
        give_up_root(None if folder is None else Path(folder), devices=False)


if __name__ == "__main__":
    sys.exit(main())
