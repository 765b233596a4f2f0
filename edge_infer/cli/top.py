"""``edge-infer top``: show the state of the running daemon, refreshed periodically."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.output import as_json
from edge_infer.cli.panel import DaemonSample, Processes, panel
from edge_infer.contract.codec import decode
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control.server import ask, find_socket
from edge_infer.supervisor.status import Status

OTHER_SCREEN: Final = "\x1b[?1049h\x1b[?25l"
BACK: Final = "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
PATIENCE: Final = 10.0
"""Seconds to wait for an answer of the daemon."""
Ended = Callable[[float], bool]
"""Function that waits for some seconds, and returns true if the view has to end."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--config", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between updates; default: 1")
    parser.add_argument("--count", type=int, help="end after this many updates")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, as status --json does")
    parser.epilog = "example: edge-infer top\nq or Ctrl-C ends it."


def run(args: argparse.Namespace) -> int:
    """Return 0 at the end; exit code 1 without a daemon at the start. If the daemon ends later, wait for it."""
    if not 0.1 <= args.interval <= 3600:
        raise ConfigError(f"--interval {args.interval:g} is not within 0.1 and 3600 seconds")
    path = find_socket(args.config)
    ask(path, {"do": "status"}, timeout=PATIENCE)
    for number in (signal.SIGINT, signal.SIGTERM):  # also if a shell ignores the signal, to restore the terminal
        signal.signal(number, signal.default_int_handler)
    try:
        if args.json:
            _print_lines(path, args)
        elif sys.stdout.isatty():
            with _screen():
                _show(path, args)
        else:
            _print_panels(path, args)
    except KeyboardInterrupt:
        pass
    return 0


def _answers(path: Path, args: argparse.Namespace, ended: Ended) -> Iterator[Any]:
    """Yield the daemon's status or, as text, the reason why there is no answer."""
    looks = 0
    while True:
        try:
            yield ask(path, {"do": "status"}, timeout=PATIENCE)
        except EdgeInferError as error:  # the daemon may be stopping or restarting
            yield str(error)
        looks += 1
        if looks == args.count or ended(args.interval):
            return


def _print_lines(path: Path, args: argparse.Namespace) -> None:
    for answer in _answers(path, args, _sleep):
        if not isinstance(answer, str):
            print(as_json(answer, separators=(",", ":")), flush=True)


def _print_panels(path: Path, args: argparse.Namespace) -> None:
    for lines in _panels(path, args, _sleep):
        print("\n".join([*lines, ""]), flush=True)


def _show(path: Path, args: argparse.Namespace) -> None:
    """Refresh the view in place on a terminal, until q is pressed."""
    for lines in _panels(path, args, _pressed_q):
        height = shutil.get_terminal_size().lines
        shown = lines if len(lines) <= height else [*lines[: height - 1], f"… {len(lines) - height + 1} more lines"]
        print(HOME + f"{REST_OF_LINE}\n".join(shown) + REST_OF_LINE + REST_OF_SCREEN, end="", flush=True)


def _panels(path: Path, args: argparse.Namespace, ended: Ended) -> Iterator[list[str]]:
    processes, before = Processes(), None
    for answer in _answers(path, args, ended):
        if isinstance(answer, str):
            yield [answer, "waiting for one"]
            before = None
            continue
        status = decode(Status, answer)
        pids = [pid for pid in (status.pid, *(room.pid for room in status.rooms.values())) if pid]
        look = DaemonSample(time.monotonic(), status, processes.look(pids))
        yield panel(look, before, shutil.get_terminal_size().columns)
        before = look


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed_q(seconds: float) -> bool:
    """Wait; return true as soon as the key q is pressed."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not sys.stdin.isatty():
            time.sleep(left)
        elif select.select([sys.stdin], [], [], left)[0]:
            keys = os.read(sys.stdin.fileno(), 1024)
            if not keys or b"q" in keys.lower():
                return True
    return False


@contextmanager
def _screen() -> Iterator[None]:
    """Switch to the terminal's alternate screen and read keys without Enter; restore both afterwards."""
    keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = termios.tcgetattr(keyboard) if keyboard is not None else None
    try:
        if keyboard is not None:
            tty.setcbreak(keyboard)
        print(OTHER_SCREEN, end="", flush=True)
        yield
    finally:
        print(BACK, end="", flush=True)
        if keyboard is not None and before is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
