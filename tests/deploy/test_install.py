"""``deploy/install``, the true script, into a root of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.sandbox.systemd_dropin import drop_in
from tests.publisher.samples import mqtt_plan, plan

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/install"
PYTHON = os.path.realpath(sys.executable)


def install(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script to its end."""
    return subprocess.run(
        [str(SCRIPT), *words],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with edge-infer in it."""
    root = tmp_path_factory.mktemp("image")
    done = install("--root", str(root), "--python", PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "systemd does not run here" in done.stdout
    return root


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "opt/edge-infer/versions").iterdir())


def edge_infer(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The installed program; its own script names the Python of the image, which is not there yet."""
    python = root / "opt/edge-infer/current/bin/python"
    return subprocess.run(
        [str(python), "-I", "-m", "edge_infer", *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_program_lies_where_the_unit_looks_for_it(image: Path) -> None:
    unit = (image / "etc/systemd/system/edge-infer.service").read_text()
    assert "ExecStart=/opt/edge-infer/bin/edge-infer run -c /etc/edge-infer/config.yaml" in unit
    script = image / "opt/edge-infer/bin/edge-infer"
    assert script.resolve().read_text().startswith("#!/opt/edge-infer/versions/")
    assert str((image / "usr/local/bin/edge-infer").readlink()) == "/opt/edge-infer/bin/edge-infer"
    assert edge_infer(image, "--version").stdout.startswith("edge-infer ")
    scripts = [path for path in (image / "opt/edge-infer/current/bin").iterdir() if not path.is_symlink()]
    assert [path.name for path in scripts if str(image) in path.read_text(errors="replace")] == []


def test_the_configuration_works_until_it_is_edited(image: Path, tmp_path: Path) -> None:
    text = (image / "etc/edge-infer/config.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=/opt/edge-infer/share/config.schema.json\n")
    assert (image / "opt/edge-infer/share/config.schema.json").stat().st_size > 1000
    assert (image / "opt/edge-infer/current/share/edge-infer/catalogue.yaml").stat().st_size > 1000
    moved = tmp_path / "config.yaml"
    moved.write_text(text.replace("/opt/", f"{image}/opt/").replace("/var/lib/", f"{image}/var/lib/"))
    done = edge_infer(image, "check", "-c", str(moved))
    assert done.returncode == 0, done.stdout


def test_an_upgrade_keeps_configuration_state_and_the_version_before(image: Path) -> None:
    config, state = image / "etc/edge-infer/config.yaml", image / "var/lib/edge-infer/kept"
    config.write_text("# mine\n")
    state.write_text("mine")
    manifest = image / "var/lib/edge-infer/models/face-detect/1.0.0/manifest.yaml"
    manifest.write_text(manifest.read_text() + "# seen\n")
    (before,) = versions(image)
    (image / "opt/edge-infer/versions/broken-off").mkdir()  # of an installation that was killed
    done = install("--upgrade", "--root", str(image), "--python", PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
    now, previous = ((image / "opt/edge-infer" / name).readlink().name for name in ("current", "previous"))
    assert (previous, now != before) == (before, True)
    assert versions(image) == sorted((before, now))
    assert (config.read_text(), state.read_text()) == ("# mine\n", "mine")
    assert manifest.read_text().endswith("# seen\n")
    assert edge_infer(image, "--version").returncode == 0


def test_a_failed_upgrade_leaves_what_works(image: Path) -> None:
    before = versions(image)
    done = install(
        "--root", str(image), "--python", PYTHON, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null"
    )
    assert done.returncode == 1
    assert "cannot be installed" in done.stderr
    assert versions(image) == before
    assert edge_infer(image, "--version").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--sideways"], 2, "unknown argument --sideways"),
        (["--prefix", "opt"], 2, "absolute path"),
        (["--prefix", "/"], 2, "absolute path"),
        (["--prefix"], 2, "needs a value"),
        (["--purge"], 2, "--remove"),
        (["--root", "/nowhere", "--python", "/nowhere/python3"], 3, "apt install python3 python3-venv"),
        (["--upgrade", "--root", "/nowhere", "--python", PYTHON], 3, "nothing is installed"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(words: list[str], code: int, text: str) -> None:
    done = install(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


def test_no_module_in_the_working_directory_runs(tmp_path: Path) -> None:
    """Root may stand in a folder of another user: the script ends at a Python that is not there, and asks it before."""
    folder, root = tmp_path / "folder", tmp_path / "root"
    folder.mkdir()
    planted = f"open({str(tmp_path / 'planted')!r}, 'a').write(__name__)\nraise SystemExit(1)\n"
    for name in ("ensurepip", "venv", "pip", "platform"):
        (folder / f"{name}.py").write_text(planted)
    (folder / "python").write_text(f'#!/bin/sh\ncase "$*" in "-m venv"*) exit 7;; esac\nexec {PYTHON} "$@"\n')
    (folder / "python").chmod(0o755)
    done = install("--root", str(root), "--python", "./python", cwd=folder)
    assert (done.returncode, "installing the program" in done.stdout) == (7, True), done.stderr
    assert not (tmp_path / "planted").exists()


def test_its_help_shows_an_example() -> None:
    done = install("-h")
    assert done.returncode == 0
    assert "example: sudo deploy/install" in done.stdout


def test_removal_keeps_what_is_yours_and_purge_does_not(image: Path) -> None:
    drop_ins = image / "etc/systemd/system/edge-infer.service.d"
    drop_ins.mkdir()
    box = drop_in(plan(mqtt_plan(1883)), Path("/etc/edge-infer/config.yaml"))
    (drop_ins / "box.conf").write_text(box)
    (drop_ins / "override.conf").write_text("[Service]\nNice=5\n")
    done = install("--remove", "--root", str(image))
    assert (done.returncode, f"to remove them: sudo rm -r {drop_ins}" in done.stdout) == (0, True), done.stdout
    assert sorted(path.name for path in drop_ins.iterdir()) == ["box.conf", "override.conf"]
    left = {str(path.relative_to(image)) for path in image.rglob("*") if path.is_file()}
    kept = ("etc/edge-infer/", "var/lib/edge-infer/", "etc/systemd/system/edge-infer.service.d/")
    assert all(name.startswith(kept) for name in left), left
    assert "etc/edge-infer/config.yaml" in left
    done = install("--remove", "--purge", "--root", str(image))
    assert (done.returncode, f"to remove them: sudo rm -r {drop_ins}" in done.stdout) == (0, True), done.stdout
    assert [path.name for path in drop_ins.iterdir()] == ["override.conf"]
    (drop_ins / "override.conf").unlink()
    assert install("--remove", "--purge", "--root", str(image)).returncode == 0
    assert [path for path in image.rglob("*") if not path.is_dir()] == []
    again = install("--remove", "--root", str(image))  # nothing left to remove is no fault
    assert (again.returncode, again.stdout) == (0, "edge-infer: removed; no configuration and no state are left\n")
