"""``edge-infer edit``: edit a copy of the configuration, check it, and let the daemon apply it, as ``visudo`` does.

`apply_edit` also serves the commands that edit the configuration themselves.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge_infer.cli.output import say
from edge_infer.cli.waiting import wait_until_it_serves
from edge_infer.config.file_edit import apply_text, problems_of, read, save
from edge_infer.errors import ConfigError, EdgeInferError
from edge_infer.platform.child_process import own_module
from edge_infer.platform.config_files import part_file
from edge_infer.platform.durable_files import with_disk_remedy
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.sandbox.foreign import refuse_foreign
from edge_infer.supervisor.control.server import NotRunningError, ask, find_socket
from edge_infer.yamlfile.scalars import plain

EDITORS: Final = ("editor", "nano", "vi")
"""Editors to look for if the environment names none."""
TEMPLATE: Final = b"# Models, sources and pipelines for the configuration in the folder above.\n"
LONGEST: Final = 80
"""Maximum number of characters of a value that are shown."""
MOST: Final = 40
"""Maximum number of changes that are shown."""
OUTCOME_SECONDS: Final = 30.0


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("part", nargs="?", metavar="PART", help="edit conf.d/PART.yaml, and create it if necessary")
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s"
    )
    parser.epilog = "example: edge-infer edit"


def run(args: argparse.Namespace) -> int:
    """Return 0 if applied, saved or unchanged; 1 if a pipeline then has no outcome; 2 if discarded."""
    config = args.config.absolute()
    file = part_file(config, args.part)
    refuse_foreign(file)
    before = read(file) if file.exists() or args.part is None else None
    start = TEMPLATE if before is None else before
    copy = _copy(file, start)
    kept = False
    received: list[int] = []

    def end(number: int, _frame: object) -> None:
        received.append(number)  # Python ignores an exception that is raised while it starts a process
        raise _ended(number)

    before_signals = {number: signal.signal(number, end) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        while True:
            _edit(copy)
            if received:
                raise _ended(received[0])
            text = read(copy)
            if text == start:
                print(f"{file} is unchanged" if before is not None else f"{file} is not made: nothing was written")
                return 0
            if _is_valid(config, args.part, copy) and (code := _apply(config, file, before, text)) is not None:
                return code
            if not _again():
                kept_as = "is unchanged" if before is not None else "is not made"
                print(f"edge-infer: discarded; {file} {kept_as}", file=sys.stderr)
                return 2
    except EdgeInferError as error:
        if _is_gone(copy, start):
            raise
        kept = True
        raise type(error)(f"{error}; your text is in {copy}") from error
    finally:
        if not kept:
            shutil.rmtree(copy.parent, ignore_errors=True)
        for number, handler in before_signals.items():
            signal.signal(number, handler)


def _copy(file: Path, text: bytes) -> Path:
    """Write the text to a new file in a new folder beside ``file``; raises `ConfigError`."""
    above = _writable_folder(file)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".edge-infer-edit-", dir=above))
        copy = folder / file.name
        copy.write_bytes(text)
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"{file} cannot be copied to {above}: {with_disk_remedy(error)}") from error
    return copy


def _ended(number: int) -> ConfigError:
    """Return the error for a signal. As after any error, an unchanged copy is deleted; another one is printed."""
    return ConfigError(f"ended by {signal.Signals(number).name}")


def _is_gone(copy: Path, start: bytes) -> bool:
    """Return whether the copy contains no changes: it is unchanged, or does not exist."""
    try:
        return copy.read_bytes() == start
    except OSError:
        return True


def _writable_folder(file: Path) -> Path:
    """Return the folder of the file.

    Raise `ConfigError` before any work unless this user may replace or create the file.

    The copy is in the same folder, because sources may write to the folder for temporary files.
    """
    folder = next(each for each in file.resolve().parents if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise ConfigError(f"{file} cannot be replaced: {folder} is on a read-only disk; remount it")
        remedy = "" if os.geteuid() == 0 else "; run: sudo edge-infer edit"
        raise ConfigError(f"this user cannot replace {file}{remedy}")
    return folder


def _edit(copy: Path) -> None:
    """Run the editor until it ends; raises `ConfigError` if there is none or it fails."""
    words = _editor()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the editor
    try:
        done = subprocess.run(
            [*words, str(copy)], check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
    except OSError as error:
        raise ConfigError(f"the editor {words[0]} cannot be started: {error.strerror or error}; set EDITOR") from error
    finally:
        signal.signal(signal.SIGINT, before)
    if done.returncode:
        raise ConfigError(f"the editor {words[0]} ended with {done.returncode}; nothing was changed")


def _editor() -> list[str]:
    """Return the editor command that the environment names, or the first installed editor."""
    for name in ("SUDO_EDITOR", "VISUAL", "EDITOR"):
        if words := shlex.split(os.environ.get(name, "")):
            return words
    for name in EDITORS:
        if found := shutil.which(name):
            return [found]
    raise ConfigError(f"there is no editor: none of {', '.join(EDITORS)} is installed; name one with EDITOR")


def _is_valid(config: Path, part: str | None, copy: Path) -> bool:
    """Check the copy with ``edge-infer check``, which prints its problems.

    The check runs in its own process, because it may change its user. Raises `EdgeInferError` if it was not possible.
    """
    words = ["check", "-c", str(config), "--draft", str(copy), *(["--part", part] if part is not None else [])]
    try:
        code = subprocess.run(own_module("edge_infer", *words), check=False).returncode
    except OSError as error:
        raise ConfigError(f"the check cannot be started: {error.strerror or error}: {error.filename}") from error
    if code == 1:
        raise EdgeInferError("the text could not be checked (see above)")
    return code == 0


def _again() -> bool:
    """Ask whether to edit again; the end of the input means no."""
    while True:
        print("edit again (e) or discard (d)? [e] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer or answer.strip().lower() in ("d", "discard"):
            return False
        if answer.strip().lower() in ("", "e", "edit"):
            return True


def _apply(config: Path, file: Path, before: bytes | None, text: bytes) -> int | None:
    """Save the text and wait until it is applied; return the exit code, None if the daemon rejects it."""
    changes = [*differences(_values(config, file, before), _values(config, file, text))]
    more = [f"… and {len(changes) - MOST} more"] if len(changes) > MOST else []
    try:
        socket = find_socket(config)
        ask(socket, {"do": "status"}, timeout=30.0)
    except NotRunningError:
        save(file, text, before, config)
        say([*changes[:MOST], *more])
        print(f"{file} is saved; no daemon uses it, so the next start applies it")
        return 0
    digest = apply_edit(file, socket, before, text, (), like=config)
    if digest is None:
        return None
    say([*changes[:MOST], *more, f"applied {digest}"])
    return wait_until_it_serves(config, OUTCOME_SECONDS)


def _values(config: Path, file: Path, text: bytes | None) -> Any:
    from edge_infer.config.parts import read_config

    return read_config(config, draft=None if text is None else (file, text)).value


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each value that was added, removed or changed, such as ``pipelines.door.fps: 5 -> 10``."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        if before != after:
            yield f"{path}: {_shown(before)} -> {_shown(after)}"
        return
    for key in [*before, *(key for key in after if key not in before)]:
        place = f"{path}.{plain(str(key), 64)}".lstrip(".")
        if key not in after:
            yield f"{place}: removed"
        elif key in before:
            yield from differences(before[key], after[key], place)
        elif isinstance(after[key], Mapping) and path == "":  # a section: show the names of its entries
            yield from differences({}, after[key], place)
        else:
            yield f"{place}: added" + ("" if isinstance(after[key], Mapping) else f": {_shown(after[key])}")


def _shown(value: Any) -> str:
    return plain(str(value), LONGEST)


# Edits by other commands: saved atomically, applied, and restored if the daemon rejects them.


def apply_edit(
    config: Path, socket: Path, data: bytes | None, edited: bytes, news: Sequence[str], *, like: Path | None = None
) -> str | None:
    """Save ``edited`` in place of ``data``, print ``news`` and let the daemon apply it (see `apply_text`).

    Return the beginning of the active digest. If the daemon rejects the text, print the reasons, restore the file and
    return None. Raises `ConfigError`, `EdgeInferError`.
    """

    def reload() -> Mapping[str, Any]:
        say(news)  # before the daemon's answer, also if the output is a file
        return ask(socket, {"do": "reload"})

    applied = apply_text(config, data, edited, reload, like)
    if applied.digest:
        return applied.digest[:8]
    say(applied.errors, sys.stderr)
    print("edge-infer: the configuration is rejected; the file is unchanged", file=sys.stderr)
    return None


def tell(answer: Mapping[str, Any]) -> None:
    """Print why the daemon did not apply a configuration."""
    say(problems_of(answer), sys.stderr)
