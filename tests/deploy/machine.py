"""A copy of this system with a real systemd in namespaces of its own; whatever happens there is gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.broker import eventually

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/usr/lib/systemd/systemd")
# The host's network and devices are shared, so nothing that manages those may start.
MASKED = """
systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket
systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-timedated.service
systemd-sysctl.service
systemd-modules-load.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
systemd-remount-fs.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount getty.target
"""
UNIT = """\
[Unit]
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /shared/script
StandardOutput=file:/shared/output
StandardError=inherit
"""
ENTER = """\
set -e
mount -t tmpfs none {work}
mkdir {work}/upper {work}/work {work}/root
mount -t overlay none -o lowerdir=/,upperdir={work}/upper,workdir={work}/work {work}/root
cd {work}/root
mount -t tmpfs none run
mount -t tmpfs none tmp
mount -t tmpfs none var/log
mount -t proc none proc
mount --rbind /sys sys
umount --recursive --lazy sys/fs/cgroup
mount -t cgroup2 none sys/fs/cgroup
mount --rbind /dev dev
mkdir -p shared .{root}
mount --bind {shared} shared
mount --bind {root} .{root}
mkdir -p etc/systemd/system/task.target.wants
rm -rf etc/systemd/system/*.wants/*
for unit in {masked}; do ln -sf /dev/null etc/systemd/system/$unit; done
cp shared/task.service etc/systemd/system
ln -s ../task.service etc/systemd/system/task.target.wants/
printf '[Unit]\\nRequires=basic.target\\n' > etc/systemd/system/task.target
mkdir -p .before
pivot_root . .before
cd /
umount --lazy .before
mount --make-rshared /
exec env container=test {systemd} --system --unit=task.target --show-status=no --log-target=null
"""


def run_under_systemd(folder: Path, script: str, deadline: float = 300.0) -> str:
    """What a bash script printed that a fresh systemd ran; skips where that cannot be had."""
    group = _group()
    work, shared = folder / "machine", folder / "shared"
    work.mkdir()
    shared.mkdir()
    (shared / "script").write_text(f"{script}\ntouch /shared/done\n")
    (shared / "task.service").write_text(UNIT)
    enter = ENTER.format(work=work, shared=shared, root=ROOT, masked=" ".join(MASKED.split()), systemd=SYSTEMD)
    (folder / "enter").write_text(enter)
    begin = (
        f"echo $$ > {group}/cgroup.procs && exec unshare --mount --pid --fork --uts --ipc --cgroup --kill-child "
        f"--propagation private sh {folder}/enter"
    )
    log = (folder / "systemd.log").open("w")
    with (
        log,
        subprocess.Popen(["sh", "-c", begin], stdout=log, stderr=log) as machine,
    ):
        try:
            eventually(
                lambda: (shared / "done").exists() or machine.poll() is not None,
                lambda: f"end of the script; so far:\n{_text(shared / 'output')}{_text(folder / 'systemd.log')}",
                deadline,
            )
        finally:
            machine.kill()
            machine.wait()
            eventually(lambda: _removed(group), f"end of all processes in {group}", 60.0)
    if not (shared / "done").exists():
        pytest.skip(f"systemd cannot be started in a namespace here: {_text(folder / 'systemd.log').strip()}")
    return _text(shared / "output")


def _group() -> Path:
    """A new control group, in which the machine's systemd is at the top."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None:
        pytest.skip("only root, with systemd installed, can start one in a namespace")
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    top = next((Path(words[1]) for words in mounts if words[2] == "cgroup2"), None)
    if top is None or not os.access(top, os.W_OK):
        pytest.skip("systemd cannot be started in a namespace here: no control groups (version 2) that may be written")
    group = top / f"edge-infer-test-{secrets.token_hex(4)}"
    group.mkdir()
    return group


def _removed(group: Path) -> bool:
    """Removes the group with all below it; False while a process is left in one."""
    try:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
