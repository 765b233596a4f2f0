"""No process that this program starts gets the terminal of the command, which root may have started."""

from __future__ import annotations

import ast
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_infer.platform.event_loop import readable
from tests.broker import eventually
from tests.page.attacking import HOOK
from tests.running import ROOT

STARTS = {"Popen", "run", "call", "check_call", "check_output", "posix_spawn", "posix_spawnp", "system", "popen"}
OWN_USER = {
    "cli/edit.py:_edit": "the editor, as the person who runs the command",
    "cli/edit.py:_is_valid": "a command of the same person, which changes its user itself",
    "cli/as_service.py:_printed": "systemctl and busctl",
    "cli/as_service.py:run_as_service": "systemd-run, whose service gets a session of its own",
    "cli/as_service.py:refused_by_service": "systemd-run, whose service gets a session of its own",
}
"""Starts of processes that may have the terminal: what they start."""


def starts() -> Iterator[tuple[str, ast.Call]]:
    """Each call in the package that starts a program, with its file and function."""
    for path in sorted((ROOT / "edge_infer").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and _starts(node.func):
                        yield f"{path.relative_to(ROOT / 'edge_infer')}:{function.name}", node


def _starts(function: ast.expr) -> bool:
    modules = ("subprocess", "os")
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in modules
        and function.attr in STARTS
    )


def has_no_terminal(call: ast.Call) -> bool:
    """Whether the process gets a session of its own, and none of the three standard files of this one."""
    words = {word.arg: word.value for word in call.keywords}
    session = words.get("start_new_session")
    if not (isinstance(session, ast.Constant) and session.value is True):
        return False
    if isinstance(whole := words.pop("capture_output", None), ast.Constant) and whole.value is True:
        words["stdout"] = words["stderr"] = whole
    files = [words.get(name) for name in ("stdin", "stdout", "stderr")]
    return all(each is not None and not _is_own(each) for each in files)


def _is_own(value: ast.expr) -> bool:
    """Whether an argument is the file of this process."""
    branches = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
    return any(
        (isinstance(each, ast.Constant) and each.value is not True) or ast.unparse(each).startswith("sys.std")
        for each in branches
    )


def test_each_process_is_started_without_the_terminal() -> None:
    found = list(starts())
    assert len({name for name, _ in found}) > 10
    assert {name for name, call in found if not has_no_terminal(call)} == set(OWN_USER)


ATTACK = """
def attack():
    import ctypes, fcntl, stat
    said = {}
    for fd in range(16):
        try:
            if stat.S_ISCHR(os.fstat(fd).st_mode) and os.fstat(fd).st_rdev >> 8 in range(136, 144):
                said[fd] = "terminal"
        except OSError:
            pass
    try:
        os.open("/dev/tty", os.O_RDWR)
        said["tty"] = "opened"
    except OSError:
        pass
    print(f"{os.getsid(0) == os.getpid()=} {said=}", file=sys.stderr, flush=True)
    os.write(2, b"\\x1b]0;forged\\x07\\n")
    for _ in range(3000):
        os.write(2, b"10:00:00 INFO supervisor: forged\\n" * 8)
    os.write(1, b"end of the flood\\n")
"""
"""What the page's process has after it has locked itself, and what a compromised one prints."""


@contextmanager
def on_a_terminal(command: list[str], environment: dict[str, str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Runs a command with a terminal, which also controls it."""
    ours, theirs = pty.openpty()

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    running = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        preexec_fn=control,  # noqa: PLW1509 - no thread runs here
    )  # fmt: skip
    os.close(theirs)
    try:
        yield ours, running
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def test_the_page_has_no_terminal_and_its_output_is_limited(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ATTACK + HOOK)
    tmp_path.chmod(0o755)
    config = tmp_path / "config.yaml"
    config.write_text("device: {id: box, state_dir: state}\nmqtt: {host: 127.0.0.1}\n")
    words = [sys.executable, "-m", "edge_infer", "page", "--port", "0", "-c", str(config)]
    shown = bytearray()

    def seen(end: str) -> bool:
        if end not in shown.decode(errors="replace") and readable([terminal], timeout=0.1):
            shown.extend(os.read(terminal, 65536))
        return end in shown.decode(errors="replace")

    with on_a_terminal(words, {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}) as (terminal, command):
        eventually(lambda: seen("getsid"), lambda: shown.decode(errors="replace"), 60.0)
        (page,) = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        assert Path(f"/proc/{page}/stat").read_text().rpartition(")")[2].split()[4] == "0", "controlling terminal"
        os.write(terminal, b"\x03")  # Ctrl-C still ends both
        eventually(lambda: seen("bytes dropped"), lambda: shown.decode(errors="replace"), 60.0)
        assert command.wait(30) in (0, -signal.SIGINT, 130)
        assert not Path(f"/proc/{page}").exists()
    text = shown.decode(errors="replace")
    assert "os.getsid(0) == os.getpid()=True said={}" in text
    assert "\x1b]0;" not in text
    assert not re.search(r"^10:00:00 INFO supervisor: forged", text, re.MULTILINE)
    assert text.count("forged") < 4000
