"""A box that is reached over SSH and runs edge-infer as the service does, in namespaces on this machine.

It has files of its own below /etc, /var, /root, /home, /run and /usr/local, processes and a host name; the network is
this machine's, so that it listens on free ports of the loopback.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.platform.paths import DEFAULT_CONFIG
from tests.broker import eventually, free_port

ROOT = Path(__file__).parents[2]
SBIN = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
NAMESPACES = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private")
MADE = "the box is made"
PROGRAM = "/usr/local/bin/edge-infer"
PLACES = ("/etc", "/var", "/usr/local", "/root", "/home")
ENTER = """\
set -e
mount -t tmpfs none {work}
cd {work}
mkdir checkout python
mount --bind {root} checkout
mount --bind {base} python
for place in {places}; do
    mkdir -p .$place/upper .$place/work
    chmod --reference=$place .$place/upper
    mount -t overlay none -o lowerdir=$place,upperdir=.$place/upper,workdir=.$place/work $place
done
mkdir -p {root}
mount --bind checkout {root}
if [ ! -e {base}/bin ]; then mkdir -p {base}; mount --bind python {base}; fi
mount -t tmpfs -o mode=755 none /run
mount -t proc none /proc
hostname {name}

for folder in {closed}; do chmod o+x $folder; done
printf '#!/bin/sh\\nexec {python} -m edge_infer "$@"\\n' > {program}
chmod 755 {program}
getent passwd edge-infer > /dev/null || {{
    echo edge-infer:x:987: >> /etc/group
    echo edge-infer:x:987:987::/nonexistent:/usr/sbin/nologin >> /etc/passwd
}}
mkdir -p -m 700 /root/.ssh
cp {folder}/key.pub /root/.ssh/authorized_keys
mkdir -p /etc/dropbear /etc/edge-infer /run/edge-infer/tmp /var/lib/edge-infer
cp {folder}/{name}.yaml {config}
cp -r {folder}/models /var/lib/edge-infer
chgrp -R edge-infer /etc/edge-infer
chmod 640 {config}
chown -R edge-infer:edge-infer /run/edge-infer /var/lib/edge-infer
echo {made}

dropbear -F -E -s -R -p 127.0.0.1:{port} -P /run/dropbear.pid &
export RUNTIME_DIRECTORY=/run/edge-infer STATE_DIRECTORY=/var/lib/edge-infer TMPDIR=/run/edge-infer/tmp
setpriv --reuid=edge-infer --regid=edge-infer --clear-groups {program} run
"""


class Box:
    """``folder`` holds ``key``, ``key.pub`` and ``models``, the packages that are in the box's store."""

    def __init__(self, folder: Path, name: str, config: str) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Box:
        """Starts it and waits until its models serve; skips where that cannot be."""
        if os.geteuid() != 0 or shutil.which("dropbear", path=SBIN) is None:
            pytest.skip("only root, with dropbear installed, can make a box in namespaces")
        work = self._folder / f"{self.name}.work"
        work.mkdir()
        (self._folder / f"{self.name}.yaml").write_text(self._config)
        script = ENTER.format(
            work=work, root=ROOT, places=" ".join(PLACES), name=self.name, folder=self._folder, port=self.port,
            closed=" ".join(map(str, closed())), base=sys.base_prefix, python=sys.executable, config=DEFAULT_CONFIG,
            program=PROGRAM, made=MADE,
        )  # fmt: skip
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": SBIN},
            )  # fmt: skip
        try:
            eventually(self._serves, lambda: f"serving box:\n{self.log.read_text(errors='replace')}", 120)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all of its processes; may be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command there, as root, over SSH."""
        return subprocess.run(
            ["ssh", *self.ssh_options(), "-p", str(self.port), "root@127.0.0.1", shlex.join(words)],
            capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def output(self, *words: str) -> str:
        """What a command prints that does not fail."""
        done = self.command(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def text(self, path: str) -> str:
        """A file of it."""
        return self.output("cat", path)

    def history(self) -> str:
        """What happened to its models."""
        return self.output(PROGRAM, "models", "history")

    def serving(self) -> str | None:
        """The version of the model that serves, under the name ``faces``."""
        version: str | None = json.loads(self.output(PROGRAM, "status", "--json"))["models"]["faces"]["version"]
        return version

    def standing(self) -> str:
        """Configuration and packages, each with when it was written, and what happened to models."""
        files = self.output(
            "find", "/etc/edge-infer", "/var/lib/edge-infer/models", "-type", "f", "-printf", "%p %T@ %C@ %i %m %u\n"
        )
        return files + self.history()

    def ssh_options(self) -> list[str]:
        """How to log in: with this key alone, and whatever the box's own is."""
        known = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes"]
        return ["-i", str(self._folder / "key"), *(word for each in known for word in ("-o", each))]

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = self.log.read_text(errors="replace")
            assert MADE not in log, log
            pytest.skip(f"a box cannot be made in namespaces here: {log.strip()}")
        return "active" in self.command(PROGRAM, "models", "wait", "--timeout", "1s").stdout


def closed() -> list[Path]:
    """Folders of this checkout and its Python that only their owner may enter, and which the box has copies of."""
    parents = {*ROOT.parents, *Path(sys.executable).resolve().parents}
    return [each for each in sorted(parents) if not each.stat().st_mode & 0o001 and str(each).startswith(PLACES)]
