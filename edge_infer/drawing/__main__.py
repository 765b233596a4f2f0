"""Entry point of the writer: ``python -m edge_infer.drawing CONFIG COUNT``, with a connection as standard input.

systemd starts it for each connection to a socket to which only the user of the page's process may connect. The file
COUNT has the number of edits so far, because this process ends after each request.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from pathlib import Path

from edge_infer.drawing.edit_limit import EditLimit
from edge_infer.drawing.writer import serve
from edge_infer.errors import EdgeInferError
from edge_infer.sandbox import privileges
from edge_infer.supervisor.control.server import find_socket


def main() -> int:
    """Answer one request."""
    parser = argparse.ArgumentParser(prog="python -m edge_infer.drawing")
    parser.add_argument("config", type=Path)
    parser.add_argument("count", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    privileges.forbid_core_dumps()
    privileges.forbid_new_privileges()
    try:
        with socket.socket(fileno=sys.stdin.fileno()) as connection:
            serve(connection, args.config, lambda: find_socket(args.config), EditLimit(args.count))
    except (OSError, EdgeInferError) as error:
        logging.getLogger(__name__).warning("the page closed the connection: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
