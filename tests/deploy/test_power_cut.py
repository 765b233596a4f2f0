"""Power cuts while ``deploy/install``, the true script, works on an ext4 disk of its own.

The kernel plays the cut: `EXT4_IOC_SHUTDOWN` drops all that is in the memory alone, and the next mount replays the
journal as after a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import eventually
from tests.deploy.test_install import PYTHON, SCRIPT, install, versions

SHUTDOWN = 0x8004587D
NAMES_ARE_WRITTEN, NOTHING_IS_WRITTEN = 1, 2
"""Whether the kernel has just committed its journal: then names of new files are there whose content is not."""
MOVE = """\
#!/bin/sh
/bin/mv "$@"
case "$*" in *@PLACE@) touch {mark}; exec sleep 600 ;; esac
"""
SYSTEMCTL = """\
#!/bin/sh
case "$*" in
"enable --quiet edge-infer-upgrade.service")
    mkdir -p /etc/systemd/system/multi-user.target.wants
    ln -sf ../edge-infer-upgrade.service /etc/systemd/system/multi-user.target.wants/
    ;;
"start edge-infer-upgrade.service") touch {mark}; exec sleep 600 ;;
esac
"""
UNDER_SYSTEMD = """\
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system
mount --bind {root}/etc/systemd/system /etc/systemd/system
exec {script} --rollback --prefix {root}/opt/edge-infer
"""


class Disk:
    """An ext4 file system in the file ``image``, mounted at ``root``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "disk"
        self._image = folder / "image"
        self._mark = folder / "mark"
        self._tools = folder / "tools"

    def __enter__(self) -> Disk:
        self.root.mkdir()
        self._tools.mkdir()
        with self._image.open("wb") as image:
            image.truncate(1500 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        mounted = self._mount()
        if mounted.returncode != 0:
            self._image.unlink()
            pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.root)], check=True)
        self._image.unlink()

    def files(self) -> dict[str, str]:
        """Each file with its digest, each link with its target."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = str(path.readlink())
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def cut(self, how: int) -> dict[str, str]:
        """Cut the power and boot; return the files as they were before."""
        before = self.files()
        folder = os.open(self.root, os.O_RDONLY)
        fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", how))
        os.close(folder)
        return before

    def boot(self) -> None:
        """Mount a copy, after all of its processes have ended: another mount namespace may keep the dead disk."""
        eventually(lambda: subprocess.run(["umount", str(self.root)], check=False).returncode == 0, "free disk", 60.0)
        copy = self._image.with_name("copy")
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
        copy.replace(self._image)
        mounted = self._mount()
        assert mounted.returncode == 0, mounted.stderr

    def cut_within(self, how: int, tool: str, script: str, *words: str) -> dict[str, str]:
        """Run a command with ``script`` for one of its tools, and cut the power once that makes the mark."""
        (self._tools / tool).write_text(script.format(mark=self._mark))
        (self._tools / tool).chmod(0o755)
        log = self._mark.with_name("log")
        with log.open("w") as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**os.environ, "PATH": f"{self._tools}:{os.environ['PATH']}"},
            )  # fmt: skip
        try:
            eventually(lambda: self._mark.exists() or process.poll() is not None, log.read_text, 600.0)
            assert self._mark.exists(), log.read_text()
            before = self.cut(how)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            (self._tools / tool).unlink()
            self._mark.unlink(missing_ok=True)
        self.boot()
        return before

    def _mount(self) -> subprocess.CompletedProcess[str]:
        words = ["mount", "-o", "loop", str(self._image), str(self.root)]
        return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("no disk of its own can be mounted here: only root may")
    with Disk(tmp_path_factory.mktemp("box")) as made:
        yield made


def lost(before: dict[str, str], disk: Disk) -> list[str]:
    """The files that a power cut changed or lost."""
    after = disk.files()
    return [name for name in before if after.get(name) != before[name]]


def test_a_finished_installation_outlives_a_power_cut(disk: Disk) -> None:
    done = install("--root", str(disk.root), "--python", PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
    before = disk.cut(NOTHING_IS_WRITTEN)
    disk.boot()
    assert "etc/edge-infer/config.yaml" in before
    assert "etc/systemd/system/edge-infer.service" in before
    assert "var/lib/edge-infer/models/face-detect/1.0.0/manifest.yaml" in before
    assert lost(before, disk) == []


def test_at_the_moment_of_the_switch_the_new_version_is_on_the_disk(disk: Disk) -> None:
    opt = disk.root / "opt/edge-infer"
    (old,) = versions(disk.root)
    words = (str(SCRIPT), "--upgrade", "--root", str(disk.root), "--python", PYTHON)
    before = disk.cut_within(NAMES_ARE_WRITTEN, "mv", MOVE.replace("@PLACE@", "/current"), *words)
    assert lost(before, disk) == []
    new = (opt / "current").readlink().name
    assert new != old
    done = install("--settle", new, old, "--root", str(disk.root), script=opt / "current/share/install")
    assert done.returncode == 0, done.stderr
    assert (opt / "previous").readlink() == Path("versions") / old


def test_the_unit_that_goes_on_with_a_switch_is_complete_when_it_starts(disk: Disk) -> None:
    script = UNDER_SYSTEMD.format(root=disk.root, script=SCRIPT)
    before = disk.cut_within(NOTHING_IS_WRITTEN, "systemctl", SYSTEMCTL, "unshare", "--mount", "sh", "-c", script)
    assert lost(before, disk) == []
    units = disk.root / "etc/systemd/system"
    previous = (disk.root / "opt/edge-infer/previous").readlink().name
    assert f"--settle {previous} " in (units / "edge-infer-upgrade.service").read_text()
    assert (units / "multi-user.target.wants/edge-infer-upgrade.service").exists()
    (units / "edge-infer-upgrade.service").unlink()


def test_a_finished_rollback_outlives_a_power_cut(disk: Disk) -> None:
    previous = (disk.root / "opt/edge-infer/previous").readlink()
    done = install("--rollback", "--root", str(disk.root))
    assert done.returncode == 0, done.stdout + done.stderr
    before = disk.cut(NOTHING_IS_WRITTEN)
    disk.boot()
    assert lost(before, disk) == []
    assert (disk.root / "opt/edge-infer/current").readlink() == previous


def test_a_version_with_empty_files_never_serves(disk: Disk) -> None:
    opt = disk.root / "opt/edge-infer"
    serving = (opt / "current").readlink()
    unit = opt / "previous/share/edge-infer.service"
    kept = unit.read_bytes()
    unit.write_bytes(b"")
    done = install("--rollback", "--root", str(disk.root))
    assert (done.returncode, (opt / "current").readlink()) == (1, serving)
    assert "has empty files, as after a power cut; the present one stays" in done.stderr
    unit.write_bytes(kept)


def test_an_installation_replaces_what_an_earlier_power_cut_left(disk: Disk) -> None:
    """A bundled model with empty files, and the folder of the installation that another cut ends at the new model."""
    model = disk.root / "var/lib/edge-infer/models/face-detect/1.0.0"
    kept, manifest = versions(disk.root), (model / "manifest.yaml").read_bytes()
    (model / "manifest.yaml").write_bytes(b"")
    words = (str(SCRIPT), "--root", str(disk.root), "--python", PYTHON)
    before = disk.cut_within(NAMES_ARE_WRITTEN, "mv", MOVE.replace("@PLACE@", "models/face-detect/1.0.0"), *words)
    assert (model / "manifest.yaml").read_bytes() == manifest
    assert [name for name in lost(before, disk) if name.startswith(("var/", "etc/"))] == []
    assert set(versions(disk.root)) > set(kept)
    failing = disk.root / "python"
    failing.write_text(f'#!/bin/sh\ncase "$*" in "-m venv"*) exit 7;; esac\nexec {PYTHON} "$@"\n')
    failing.chmod(0o755)
    done = install("--root", str(disk.root), "--python", str(failing))
    assert (done.returncode, versions(disk.root)) == (1, kept), done.stderr


def test_only_one_installation_at_a_time_makes_a_version(disk: Disk) -> None:
    """The second would remove the folder of the first as incomplete."""
    kept = versions(disk.root)
    words = ["flock", str(disk.root / "opt/edge-infer/versions"), str(SCRIPT), "--root", str(disk.root)]
    done = subprocess.run([*words, "--python", PYTHON], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, versions(disk.root)) == (3, kept), done.stderr
    assert "another installation below" in done.stderr


IN_STATE = f"""
set -euo pipefail
eval "$(sed -n '/^in_state() (/,/^)/p; /^copy_models() {{/,/^}}/p; /^package_of() {{/,/^}}/p' {SCRIPT})"
systemd_runs() {{ false; }}
say() {{ true; }}
root= state=$PWD/state new=$PWD/new
copy_models
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_an_empty_file_of_a_model_is_found_as_the_user_of_the_state(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    shipped, stored = tmp_path / "new/share/models/a/1", tmp_path / "state/models/a/1"
    for folder, text in ((shipped, "whole"), (stored, "")):
        folder.mkdir(parents=True)
        (folder / "manifest.yaml").write_text(text)
    subprocess.run(["chown", "-R", "nobody:nogroup", str(tmp_path / "state")], check=True)
    words = ["bash", "-c", IN_STATE]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, (stored / "manifest.yaml").read_text()) == (0, "whole"), done.stderr
    assert stored.owner() == "nobody"
