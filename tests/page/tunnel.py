"""A real SSH server on the loopback, and ``ssh -L`` from a port of this computer to a Unix socket behind it."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.broker import eventually, free_port

SBIN = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
DROPBEAR = shutil.which("dropbear", path=SBIN)
RUNTIME = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR")
"""Keys below a folder that others may write, as /tmp, are refused."""
OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "ExitOnForwardFailure=yes")


@contextmanager
def tunnel(folder: Path, path: Path) -> Iterator[int]:
    """Yields the local port that leads to the socket at ``path``; skips where there is no SSH server."""
    if DROPBEAR is None or shutil.which("ssh") is None or not RUNTIME:
        pytest.skip("no dropbear, no ssh, or no folder for its keys is here")
    key, log = folder / "key", folder / "ssh.log"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, stdin=subprocess.DEVNULL)
    with TemporaryDirectory(prefix="edge-infer-test-", dir=RUNTIME) as keys:
        (Path(keys) / "authorized_keys").write_text((folder / "key.pub").read_text())
        (Path(keys) / "authorized_keys").chmod(0o600)
        subprocess.run(["dropbearkey", "-t", "ed25519", "-f", folder / "host"], check=True, capture_output=True)
        ssh_port, port = free_port(), free_port()
        server = [
            DROPBEAR, "-F", "-E", "-s", "-r", folder / "host", "-D", keys, "-p", f"127.0.0.1:{ssh_port}",
            "-P", folder / "pid",
        ]  # fmt: skip
        options = [word for option in OPTIONS for word in ("-o", option)]
        client = [
            "ssh", "-N", "-i", key, *options, "-L", f"localhost:{port}:{path}", "-p", str(ssh_port),
            f"{getpass.getuser()}@127.0.0.1",
        ]  # fmt: skip
        with log.open("ab") as output, _ended(server, output):
            eventually(lambda: _listens(ssh_port), f"SSH server: {log}")
            with _ended(client, output):
                eventually(lambda: _listens(port), lambda: f"tunnel:\n{log.read_text()}")
                yield port


@contextmanager
def _ended(command: list[object], output: object) -> Iterator[None]:
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
