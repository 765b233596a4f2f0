"""The model store: packages appear whole, once they have been tried, and never change."""

from __future__ import annotations

import errno
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.errors import ConfigError, InputError, ModelError, StartError
from edge_infer.models.packages.acquire import add, pull
from edge_infer.models.packages.catalogue import read_catalogue
from edge_infer.models.packages.library import Library

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
MOODS = "nl_classifier_with_regex_tokenizer.tflite"
OFFER = read_catalogue()["film-reviews"]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "state" / "models")


@pytest.fixture
def mirror(assets: Path, tmp_path: Path) -> Iterator[str]:
    """A server with a copy of one file of the catalogue, and one file that is another under its name."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    shutil.copyfile(assets / "models" / MOODS, folder / OFFER.file)
    (folder / "vww_96_int8.tflite").write_bytes(b"no model")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ("ro", "Read-only file system; remount its disk with the right to write"),
        ("size=64k", "No space left on device; free space on its disk"),
    ],
)
def test_a_disk_that_takes_no_package_is_told(library: Library, options: str, remedy: str) -> None:
    state = library.folder.parent
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", state], check=True)
    try:
        with pytest.raises(StartError, match=re.escape(remedy)):
            add(SHIPPED, library)
    finally:
        subprocess.run(["umount", state], check=True)


def test_a_package_is_copied_with_what_belongs_to_it(library: Library) -> None:
    arrival = add(SHIPPED, library)
    assert (arrival.title, arrival.new) == ("face-detect@1.0.0", True)
    assert arrival.folder == library.folder / "face-detect" / "1.0.0"
    assert names(arrival.folder) == names(SHIPPED)
    assert [stored.title for stored in library.packages()] == ["face-detect@1.0.0"]
    assert names(library.folder) == {f"face-detect/1.0.0/{name}" for name in names(SHIPPED)}
    assert not add(SHIPPED, library).new


def test_what_is_in_the_store_does_not_change(library: Library, tmp_path: Path) -> None:
    add(SHIPPED, library)
    mine = tmp_path / "mine"
    shutil.copytree(SHIPPED, mine)
    manifest = mine / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("threshold: 0.5", "threshold: 0.6"))
    with pytest.raises(ConfigError, match=r"face-detect@1\.0\.0 is already in the store with other content"):
        add(mine, library)
    manifest.write_text(manifest.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    assert add(mine, library).title == "face-detect@1.1.0"
    assert [stored.title for stored in library.find("face-detect")] == ["face-detect@1.0.0", "face-detect@1.1.0"]


def test_packages_are_in_the_order_of_their_versions(library: Library) -> None:
    for version in ("1.10.0", "1.9.0", "1.9.0-rc.1"):
        shutil.copytree(SHIPPED, library.folder / "face-detect" / version)
    assert [stored.folder.name for stored in library.packages()] == ["1.9.0-rc.1", "1.9.0", "1.10.0"]


def test_what_is_left_of_a_broken_package_is_named(library: Library) -> None:
    place = library.folder / "face-detect" / "1.0.0"
    place.mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=rf"{place} is not a complete package: it has no manifest\.yaml; remove that folder"
    ):
        add(SHIPPED, library)


def test_a_file_with_a_manifest_beside_it_becomes_a_package(library: Library, assets: Path, tmp_path: Path) -> None:
    shutil.copyfile(assets / "models" / "vww_96_int8.tflite", tmp_path / "vww.tflite")
    (tmp_path / "names.txt").write_text("nobody\nperson\n")
    (tmp_path / "secret.txt").write_text("not yours")
    sidecar = tmp_path / "vww.yaml"
    with pytest.raises(
        ModelError, match=r"the store needs the name and the version of .*; set name: and version: in .*vww\.yaml"
    ):
        add(tmp_path / "vww.tflite", library)
    sidecar.write_text("name: somebody\nversion: 2.0\nlabels: names.txt\n")
    arrival = add(tmp_path / "vww.tflite", library)
    assert names(arrival.folder) == {"vww.tflite", "manifest.yaml", "names.txt"}
    config = tmp_path / "config.yaml"
    config.write_text(
        "device: {state_dir: state}\nmodels: {m: {use: somebody@2.0}}\nsources: {s: {kind: synthetic}}\n"
        "pipelines: {p: {source: s, model: m}}\n"
    )
    compiled = compile_config(config)
    assert compiled.plan is not None, compiled.problems
    assert compiled.plan.pipelines[0].model.labels == ("nobody", "person")


def test_what_does_not_work_leaves_nothing(library: Library, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(SHIPPED, mine)
    manifest = mine / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("label: face", "label: cat").replace("[face]", "[cat]"))
    manifest.write_text(manifest.read_text().replace("box: [0.2812", "box: [0.5").replace("0.1771", "0.44"))
    with pytest.raises(ModelError, match=r"expected .* in this golden input"):
        add(mine, library)
    assert names(library.folder) == set()
    assert list(library.folder.iterdir()) == []
    (mine / "golden" / "astronaut.png").unlink()
    (mine / "golden" / "astronaut.png").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="leads out of the folder"):
        add(mine, library)
    assert list(library.folder.iterdir()) == []


def test_a_model_is_pulled_from_a_mirror_once(library: Library, mirror: str) -> None:
    seen: list[int] = []
    arrival = pull(OFFER, library, lambda have, _all: seen.append(have), mirror)
    assert (arrival.title, arrival.new, seen[-1]) == ("film-reviews@1.0.0", True, OFFER.listed.bytes)
    assert names(library.folder) == {f"film-reviews/1.0.0/{name}" for name in ("manifest.yaml", OFFER.file)}
    assert not pull(OFFER, library, mirror="http://127.0.0.1:9/").new
    with pytest.raises(ConfigError, match="the mirror ftp://host is not an address"):
        pull(read_catalogue()["movenet"], library, mirror="ftp://host")


def test_a_stored_package_that_is_not_the_catalogues_is_no_success(library: Library, mirror: str) -> None:
    there = pull(OFFER, library, mirror=mirror).folder
    file, manifest = there / OFFER.file, there / "manifest.yaml"
    for path, data in ((file, b"garbage"), (manifest, manifest.read_bytes() + b"threshold: 0.9\n")):
        before = path.read_bytes()
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=f"in the store differs from .*; to replace it, remove {there}"):
            pull(OFFER, library, mirror=mirror)
        path.write_bytes(before)
    manifest.write_text(manifest.read_text().replace("source: ", "source: as copied from "))
    assert not pull(OFFER, library, mirror=mirror).new
    file.unlink()
    with pytest.raises(ConfigError, match="in the store differs from"):
        pull(OFFER, library, mirror=mirror)


def test_a_folder_gives_a_model_whatever_its_file_is_called(library: Library, assets: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / OFFER.file).write_bytes(b"x" * OFFER.listed.bytes)
    with pytest.raises(
        InputError, match=f"contains no file with the {OFFER.listed.bytes} bytes and the SHA-256 cb12618d"
    ):
        pull(OFFER, library, folder=tmp_path / "wrong")
    assert not library.folder.exists()
    assert pull(OFFER, library, folder=assets / "models").new


def test_a_broken_package_is_shown_as_that(library: Library) -> None:
    broken = library.folder / "mine" / "1.0"
    broken.mkdir(parents=True)
    (broken / "manifest.yaml").write_text("nme: mine\n")
    assert [(stored.title, stored.manifest) for stored in library.packages()] == [("mine@1.0", None)]
    assert "nme" in library.packages()[0].problem


def command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edge_infer", "models", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("device: {state_dir: state}\n")
    return path


def test_the_commands(config: Path, mirror: str, tmp_path: Path) -> None:
    found = command("list", "-c", config)
    assert (found.returncode, found.stderr) == (0, "")
    assert "film-reviews@1.0.0        pull it  0.8 MB  Apache-2.0" in found.stdout
    found = command("pull", "film-reviews", "-c", config, env={**os.environ, "EDGE_INFER_MIRROR": mirror})
    assert (found.returncode, found.stdout) == (0, "film-reviews@1.0.0\n")
    assert found.stderr.endswith("is in the store now: " + str(tmp_path / "state/models/film-reviews/1.0.0") + "\n")
    assert "\r" not in found.stderr
    found = command("add", SHIPPED, "-c", config)
    assert (found.returncode, found.stdout) == (0, "face-detect@1.0.0\n")
    lines = command("list", "-c", config).stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["face-detect@1.0.0", "here"], ["film-reviews@1.0.0", "here"]]
    shown = command("show", "film-reviews", "-c", config).stdout
    assert "film-reviews@1.0.0: in the store" in shown
    assert "{use: film-reviews@1.0.0}" in shown
    assert "  sha256: cb12618d" in shown


@pytest.mark.parametrize("size", [774_960, 100, None], ids=["flipped", "truncated", "missing"])
def test_a_damaged_model_file_is_listed_with_its_remedy(config: Path, tmp_path: Path, size: int | None) -> None:
    assert command("add", SHIPPED, "-c", config).returncode == 0
    folder = tmp_path / "state/models/face-detect/1.0.0"
    model = folder / "face_full_range_int8.tflite"
    data = model.read_bytes()
    assert len(data) == 774_960
    model.unlink() if size is None else model.write_bytes((data[:-1] + b"?")[:size])
    reason = f"{model} cannot be read: No such file" if size is None else f"{model}: its SHA-256 is "
    remedy = f"; remove {folder} and pull or add the package again"
    line = command("list", "-c", config).stdout.splitlines()[0]
    assert line.split()[:2] == ["face-detect@1.0.0", "damaged"]
    assert reason in line
    assert line.endswith(remedy)
    (problem,) = [line for line in command("show", "face-detect", "-c", config).stdout.splitlines() if remedy in line]
    assert reason in problem


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("show", "nothing"), 2, "neither the store nor the catalogue contains nothing"),
        (("pull", "nothing"), 2, "the catalogue has no nothing; it has"),
        (("pull", "person-present"), 1, "has the SHA-256|ended after 8 of 333288 bytes"),
        (("pull", "movenet"), 1, "the server answered 404"),
        (("pull", "movenet", "--from", "/nowhere"), 1, "/nowhere: No such file or directory"),
        (("add", "/nowhere"), 3, "there is no /nowhere"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(
    config: Path, mirror: str, words: tuple[str, ...], code: int, said: str
) -> None:
    more = ("--mirror", mirror) if words[0] == "pull" else ()
    found = command(*words, *more, "-c", config)
    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr.count("\n") == 1
    assert any(part in found.stderr for part in said.split("|"))


def test_a_terminal_sees_a_bar(config: Path, mirror: str) -> None:
    leader, follower = pty.openpty()
    line = [sys.executable, "-m", "edge_infer", "models", "pull", "film-reviews", "--mirror", mirror, "-c", str(config)]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=follower, timeout=120, check=False)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert done.returncode == 0
    assert "\rfilm-reviews@1.0.0 [" in shown
    assert f"[{'#' * 30}] 100 % of 0.8 MB\r\n" in shown


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can stand in for two users")
def test_root_writes_into_the_folders_of_another_user_as_that_user(config: Path, tmp_path: Path) -> None:
    """The service's folder lies behind one that is root's alone, and what it holds could lead elsewhere."""
    state, hidden, elsewhere = tmp_path / "state", tmp_path / "private", tmp_path / "elsewhere"
    for folder in (hidden, elsewhere):
        folder.mkdir(mode=0o700)
    (hidden / "state").mkdir(mode=0o750)
    os.chown(hidden / "state", 65534, 65534)
    state.symlink_to(hidden / "state")
    found = command("add", SHIPPED, "-c", config)
    assert (found.returncode, found.stdout) == (0, "face-detect@1.0.0\n"), found.stderr
    assert {path.stat().st_uid for path in (hidden / "state").rglob("*")} == {65534}
    (hidden / "state/models").rename(tmp_path / "kept")
    (hidden / "state/models").symlink_to(elsewhere)
    found = command("add", SHIPPED, "-c", config)
    assert found.returncode != 0
    assert list(elsewhere.iterdir()) == []


def test_who_may_not_look_into_the_store_is_told_so(closed: Path) -> None:
    with pytest.raises(StartError, match=r"this user cannot read .*; try it with sudo"):
        Library(closed / "models").packages()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write a folder")
@pytest.mark.parametrize(("owner", "remedy"), [(0, "run it with sudo"), (1234, "run the command as the daemon's user")])
def test_who_may_not_write_the_store_is_told_how(tmp_path: Path, owner: int, remedy: str) -> None:
    """A service has a user of its own without an account, and root becomes that user."""
    state = tmp_path / "state"
    state.mkdir(mode=0o750)
    os.chown(state, owner, 61778)
    os.setegid(61778)
    os.seteuid(61777)
    try:
        with pytest.raises(StartError, match=rf"this user cannot write {state}/models; {remedy}$"):
            Library(state / "models").incoming().__enter__()
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_write_that_is_refused_without_a_path_names_the_store(tmp_path: Path) -> None:
    library = Library(tmp_path / "models")
    with pytest.raises(StartError, match=rf"this user cannot write {tmp_path}/models; "), library.incoming():
        raise PermissionError(errno.EPERM, "Operation not permitted")
