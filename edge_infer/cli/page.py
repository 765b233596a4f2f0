"""``edge-infer page``: print how to open the local page, or serve the page while the command runs."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from edge_infer.drawing.edit_limit import EditLimit
from edge_infer.errors import ConfigError, StartError
from edge_infer.platform.logs import configure
from edge_infer.platform.paths import DEFAULT_CONFIG, default_device_id, hinted
from edge_infer.sandbox.change_user import become_changer
from edge_infer.sandbox.foreign import is_shared, refuse_foreign
from edge_infer.supervisor.control.page_relay import relayed, served
from edge_infer.supervisor.control.server import find_socket
from edge_infer.supervisor.page_process import StartedPage
from edge_infer.supervisor.processes.output import Output

SYSTEM_SOCKET: Final = Path("/run/edge-infer-page/page.sock")
"""The socket of ``systemd/edge-infer-page.socket``."""
PORT: Final = 8080
MAX_WRITERS: Final = 4
"""Maximum number of writers at the same time, as in the systemd unit."""
_writers: Final = threading.BoundedSemaphore(MAX_WRITERS)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--port", type=_port, metavar="N", help="serve it on this port of the loopback interface (0: any)"
    )
    where.add_argument("--socket", type=Path, metavar="PATH", help="serve it on a Unix socket at this path")
    parser.epilog = "example: edge-infer page"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Print the command for ssh if systemd serves the page; otherwise serve it until Ctrl-C or 15 idle minutes.

    Return 0.
    """
    if args.port is None and args.socket is None and args.config == DEFAULT_CONFIG and SYSTEM_SOCKET.exists():
        _print_way(SYSTEM_SOCKET)
        return 0
    if args.own_process:
        become_changer(args.config)
        configure("page", "info")  # the page logs each edit
    limit = EditLimit()
    with ExitStack() as stack:
        token = secrets.token_urlsafe(24)  # also for a socket: processes of the daemon may have the same user
        if args.socket is not None:
            listener = stack.enter_context(_unix_listener(args.socket))
            stack.callback(args.socket.unlink, missing_ok=True)
        else:
            listener = stack.enter_context(_tcp_listener(0 if args.port is None else args.port))
        config = args.config.absolute()
        settings = {"token": token, "why_not": _why_not(config)}
        if not is_shared(config):  # other users must not choose the folder, and so the page's user
            settings["state_dir"] = str(hinted(config))
        page = stack.enter_context(
            StartedPage(
                listener,
                settings,
                lambda: relayed(lambda: find_socket(config)),
                lambda: _to_writer(config, limit),
                stack.enter_context(Output("page")),
            )
        )
        if args.socket is not None:
            _print_way(args.socket.absolute(), token)
        else:
            port = listener.getsockname()[1]
            print(f"on this box: http://localhost:{port}/?token={token}")
            print(f"from elsewhere, first: ssh -L {port}:localhost:{port} {default_device_id()}", flush=True)
        print("the address works for one browser", file=sys.stderr)
        print("Ctrl-C ends the page", file=sys.stderr, flush=True)
        listener.close()
        with suppress(KeyboardInterrupt):
            return 1 if page.wait() else 0
        return 0


def _print_way(path: Path, token: str = "") -> None:
    """Print the commands to run on the computer with the browser."""
    print(f"ssh -L {PORT}:{path} {default_device_id()}")
    print(f"then open http://localhost:{PORT}/{f'?token={token}' if token else ''}", flush=True)


def _tcp_listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise StartError(
            f"port {port} cannot be used: {error.strerror or error}; name another one with --port"
        ) from error


def _unix_listener(path: Path) -> socket.socket:
    """Return a socket that listens at the path, for this user only. A leftover socket is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        listener.bind(str(path))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    return listener


def _why_not(config: Path) -> str:
    """Return why this user cannot save the configuration; empty if the user can."""
    try:
        refuse_foreign(config)
    except ConfigError as error:
        return str(error)
    if all(os.access(each, os.W_OK, effective_ids=True) for each in (config, config.parent)):
        return ""
    return f"this user may not change {config}; start the page with sudo to save drawings"


def _to_writer(config: Path, limit: EditLimit) -> socket.socket:
    """Return a connection to a writer with the rights of this command."""
    from edge_infer.drawing.writer import serve

    return served(lambda connection: serve(connection, config, lambda: find_socket(config), limit), _writers)
