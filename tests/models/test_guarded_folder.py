"""A manifest makes nobody copy or show a file that is more private than the manifest and its model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.packages.library import gather
from edge_infer.models.packages.package import find_package
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.checked_package import CheckedPackage
from edge_infer.sandbox import privileges

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the files of all users")
SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"


def made(folder: Path, labels: str, *, mode: int = 0o644, lone: bool = False) -> Path:
    """Return a package of files with this mode, whose manifest names these labels; ``lone``: its model file alone."""
    (folder / labels).parent.mkdir(parents=True, exist_ok=True)
    manifest = folder / ("m.yaml" if lone else "manifest.yaml")
    manifest.write_text(f"name: person\nversion: 1.0.0\nfile: m.tflite\nlabels: {labels}\n")
    for name in ("m.tflite", labels):
        (folder / name).write_text("content\n")
    for name in ("m.tflite", labels, manifest.name):
        (folder / name).chmod(mode)
    return folder / "m.tflite" if lone else folder


def closed(path: Path) -> None:
    path.chmod(0o600)


def closed_folder(path: Path) -> None:
    path.parent.chmod(0o700)


def of_a_group(path: Path) -> None:
    path.chmod(0o640)


def of_another_owner(path: Path) -> None:
    path.chmod(0o640)
    os.chown(path, 65534, -1)


@pytest.mark.parametrize("change", [closed, closed_folder, of_a_group, pytest.param(of_another_owner, marks=ROOT)])
def test_the_store_gets_no_file_that_is_more_private_than_its_manifest(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    package = made(tmp_path / "package", "deep/labels.txt")
    change(package / "deep/labels.txt")
    with pytest.raises(ModelError, match=r"deep/labels\.txt is more private than .*manifest\.yaml.*: ?.*ch(mod|own) "):
        gather(package, tmp_path / "store")


@ROOT
def test_a_file_of_another_owner_that_nobody_else_may_read_stays_where_it_is(tmp_path: Path) -> None:
    package = made(tmp_path / "package", "labels.txt", mode=0o600)
    os.chown(package / "labels.txt", 65534, -1)
    with pytest.raises(ModelError, match=r"labels\.txt is more private than .*run: chown --reference=.*manifest\.yaml"):
        gather(package, tmp_path / "store")


def test_the_remedy_in_the_error_is_enough(tmp_path: Path) -> None:
    package = made(tmp_path / "package", "labels.txt")
    closed(package / "labels.txt")
    with pytest.raises(ModelError) as error:
        gather(package, tmp_path / "store")
    subprocess.run(str(error.value).partition("run: ")[2], shell=True, check=True)
    assert gather(package, tmp_path / "store") == "person@1.0.0"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
@pytest.mark.parametrize("lone", [True, False])
def test_files_of_one_owner_and_mode_are_a_package(tmp_path: Path, mode: int, *, lone: bool) -> None:
    package = made(tmp_path / "package", "labels.txt" if lone else "deep/labels.txt", mode=mode, lone=lone)
    if not lone and mode == 0o600:
        closed_folder(package / "deep/labels.txt")
    assert gather(package, tmp_path / "store") == "person@1.0.0"
    assert (tmp_path / "store" / ("labels.txt" if lone else "deep/labels.txt")).exists()


def test_a_file_that_everyone_may_read_may_belong_to_another_user(tmp_path: Path) -> None:
    package = made(tmp_path / "package", "labels.txt", mode=0o600)
    (package / "labels.txt").chmod(0o644)
    if os.geteuid() == 0:
        os.chown(package / "labels.txt", 65534, 65534)
    assert gather(package, tmp_path / "store") == "person@1.0.0"


@pytest.mark.parametrize(
    ("labels", "lone", "said"),
    [
        ("deep/labels.txt", True, "is in a subfolder.*copy the file to"),
        (".ssh/key", True, r"is hidden \(\.ssh\)"),
        (".ssh/key", False, r"is hidden \(\.ssh\)"),
        (".netrc", True, r"is hidden \(\.netrc\)"),
    ],
)
def test_hidden_files_and_those_in_folders_beside_a_lone_model_are_not_copied(
    tmp_path: Path, labels: str, said: str, *, lone: bool
) -> None:
    """Also where all files have one mode, for example those that root has unpacked in its home with a umask of 077."""
    with pytest.raises(ModelError, match=said):
        gather(made(tmp_path / "home", labels, mode=0o600, lone=lone), tmp_path / "store")


def test_a_link_leads_to_none_of_them_either(tmp_path: Path) -> None:
    package = made(tmp_path / "home", "labels.txt", mode=0o600)
    (package / ".ssh").mkdir()
    (package / "labels.txt").rename(package / ".ssh" / "key")
    (package / "labels.txt").symlink_to(".ssh/key")
    with pytest.raises(ModelError, match=r"labels\.txt is hidden \(\.ssh\)"):
        gather(package, tmp_path / "store")


@pytest.mark.parametrize("lone", [True, False])
def test_a_file_that_has_another_name_elsewhere_is_not_copied(tmp_path: Path, *, lone: bool) -> None:
    """A hard link may lead to a file of any folder, and its permissions are that file's."""
    package = made(tmp_path / "home", "labels.txt", mode=0o600, lone=lone)
    (tmp_path / "key").hardlink_to(tmp_path / "home" / "labels.txt")
    with pytest.raises(ModelError, match=r"labels\.txt has 2 names \(hard links\)") as error:
        gather(package, tmp_path / "store")
    subprocess.run(str(error.value).partition("run: ")[2], shell=True, check=True)
    assert gather(package, tmp_path / "store") == "person@1.0.0"


def test_a_model_that_the_manifest_names_is_no_more_private_either(tmp_path: Path) -> None:
    package = made(tmp_path / "package", "labels.txt")
    closed(package / "m.tflite")
    with pytest.raises(ModelError, match=r"m\.tflite is more private than .*manifest\.yaml"):
        gather(package, tmp_path / "store")


def behind_a_link(path: Path) -> None:
    path.parent.joinpath("deep").mkdir()
    path.rename(path.parent / "deep" / path.name)
    path.symlink_to(Path("deep") / path.name)


@pytest.mark.parametrize("change", [closed, behind_a_link])
def test_a_text_that_the_manifest_does_not_name_is_left_out(
    tmp_path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    model = made(tmp_path / "package", "labels.txt", lone=True)
    for name in ("LICENSE", "README.md"):
        (model.parent / name).write_text("text\n")
        (model.parent / name).chmod(0o644)
    change(model.parent / "README.md")
    assert gather(model, tmp_path / "store") == "person@1.0.0"
    assert {path.name for path in (tmp_path / "store").iterdir()} == {
        "m.tflite",
        "manifest.yaml",
        "labels.txt",
        "LICENSE",
    }
    (line,) = caplog.messages
    assert line.startswith(f"left out of the package: {model.parent}/README.md is ")


def test_a_text_that_the_manifest_names_is_not_left_out(tmp_path: Path) -> None:
    model = made(tmp_path / "package", "README.md", lone=True)
    closed(model.parent / "README.md")
    with pytest.raises(ModelError, match=r"README\.md is more private than"):
        gather(model, tmp_path / "store")


def test_a_person_may_name_a_private_model(tmp_path: Path) -> None:
    model = made(tmp_path / "package", "labels.txt", lone=True)
    closed(model)
    assert gather(model, tmp_path / "store") == "person@1.0.0"


@ROOT
def test_a_process_that_may_read_every_file_tries_no_model_with_a_private_one(tmp_path: Path) -> None:
    package = made(tmp_path / "package", "labels.txt")
    closed(package / "labels.txt")
    with pytest.raises(ModelError, match=r"labels\.txt is more private than"):
        CheckedPackage(ModelRequest("m", str(package)))
    with pytest.raises(ModelError, match=r"labels\.txt is more private than"):
        find_package(package).checked_digests()


@pytest.mark.parametrize(("user", "capabilities", "refused"), [(0, 0, True), (7, 2, True), (7, 4, True), (7, 8, False)])
def test_each_right_to_read_every_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, capabilities: int, *, refused: bool
) -> None:
    """Root's user id, and ``CAP_DAC_OVERRIDE`` as much as ``CAP_DAC_READ_SEARCH``."""
    package = made(tmp_path / "package", "labels.txt")
    closed(package / "labels.txt")
    monkeypatch.setattr(privileges, "capabilities", lambda: capabilities)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(ModelError, match="is more private than") if refused else nullcontext():
        find_package(package).checked_digests()


def lone_model(folder: Path, labels: str) -> Path:
    """Return a model that works, with a manifest beside it that names these labels."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(SHIPPED / "face_full_range_int8.tflite", folder / "m.tflite")
    (folder / "m.yaml").write_text(f"name: vendor\nversion: 1.0.0\nlabels: {labels}\n")
    return folder / "m.tflite"


def added(model: Path, config: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edge_infer", "models", "add", str(model), "-c", str(config)]
    state = {**os.environ, "STATE_DIRECTORY": str(config.parent.parent / "state")}  # if the configuration names none
    return subprocess.run(line, env=state, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "config.yaml"
    path.write_text(
        f"device: {{state_dir: {tmp_path}/state}}\nmqtt: {{host: b, username: u, password_file: mqtt.pass}}\n"
        "sources: {s: {kind: rtsp, url: rtsp://camera/1, password_file: camera.pass}}\n"
    )
    return path


@ROOT
def test_root_copies_no_key_of_its_home_into_the_store(tmp_path: Path, config: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh" / "id_ecdsa").write_text("key\n")
    (home / ".ssh" / "id_ecdsa").chmod(0o600)
    found = added(lone_model(home, ".ssh/id_ecdsa"), config)
    assert (found.returncode, found.stdout) == (3, "")
    assert ".ssh/id_ecdsa is hidden" in found.stderr
    assert not list((tmp_path / "state").rglob("id_ecdsa"))


def test_the_command_names_each_file_that_it_copies(tmp_path: Path, config: Path) -> None:
    """The manifest chose them, and the permissions of a closed folder above them do not count."""
    model = lone_model(tmp_path / "vendor", "diary.txt")
    (model.parent / "diary.txt").write_text("face\n")
    (model.parent / "NOTICE").write_text("text\n")
    found = added(model, config)
    assert found.returncode == 0, found.stderr
    first, second = found.stderr.splitlines()
    assert first == "edge-infer: copied with the model and its manifest: NOTICE, diary.txt"
    assert second.startswith("edge-infer: vendor@1.0.0 is in the store now: ")
    assert "copied" not in added(model, config).stderr


@pytest.mark.parametrize("labels", ["mqtt.pass", "camera.pass", "config.yaml"])
def test_the_store_gets_no_secret_of_the_configuration(tmp_path: Path, config: Path, labels: str) -> None:
    """Not even if everyone may read it."""
    for name in ("mqtt.pass", "camera.pass"):
        (config.parent / name).write_text("secret\n")
    found = added(lone_model(config.parent, labels), config)
    assert (found.returncode, found.stdout) == (3, "")
    assert f"{labels} belongs to the configuration or its secrets" in found.stderr
    assert not list((tmp_path / "state").rglob(labels))


def whole_package(folder: Path, labels: str) -> None:
    """Make a package whose files are in this folder."""
    lone_model(folder, labels).with_suffix(".yaml").rename(folder / "manifest.yaml")
    with (folder / "manifest.yaml").open("a") as manifest:
        manifest.write("file: m.tflite\n")


def test_the_store_gets_no_backup_of_a_part_of_the_configuration(tmp_path: Path, config: Path) -> None:
    whole_package(config.parent, "conf.d/yard.yaml~")
    (config.parent / "conf.d").mkdir()
    (config.parent / "conf.d" / "yard.yaml~").write_text("secret\n")
    found = added(config.parent, config)
    assert (found.returncode, found.stdout) == (3, "")
    assert "yard.yaml~ belongs to the configuration or its secrets" in found.stderr
    assert not list((tmp_path / "state").rglob("yard*"))


def broken_part(config: Path) -> Path:
    (config.parent / "conf.d").mkdir()
    (config.parent / "conf.d" / "yard.yaml").write_text("sources: {\n")
    return config.parent / "conf.d" / "yard.yaml"


def broken_file(config: Path) -> Path:
    config.write_text(config.read_text() + "models: {\n")
    return config


def broken_link(config: Path) -> Path:
    config.unlink()
    config.symlink_to(config.parent / "not-mounted.yaml")
    return config


@pytest.mark.parametrize("change", [broken_part, broken_file, broken_link])
def test_nothing_is_added_while_the_secrets_are_unknown(
    tmp_path: Path, config: Path, change: Callable[[Path], Path]
) -> None:
    broken = change(config)
    (config.parent / "mqtt.pass").write_text("secret\n")
    found = added(lone_model(config.parent, "mqtt.pass"), config)
    assert (found.returncode, found.stdout) == (2, "")
    first, *further = found.stderr.splitlines()
    assert first == "edge-infer: the configuration cannot be read, so it is unknown which files are its secrets:"
    assert further[0].startswith(f"edge-infer:   {broken}:")
    assert not list((tmp_path / "state").rglob("mqtt.pass"))
