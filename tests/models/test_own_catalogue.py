"""A catalogue of one's own: made of packages, signed, put on a server or a stick, and pulled from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.config.compile.compile import compile_config
from edge_infer.errors import ConfigError, DownloadError, InputError, ModelError
from edge_infer.models.packages.acquire import pull
from edge_infer.models.packages.catalogue import choose, fetch_catalogue, read_catalogue
from edge_infer.models.packages.download import fetch
from edge_infer.models.packages.library import Library
from edge_infer.models.packages.release import write_listing
from edge_infer.models.packages.signature import trusted_key
from tests.models.test_signature import make_key

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
MODEL = "face_full_range_int8.tflite"
CONFIG = (
    "device: {state_dir: state}\nsecurity: {require_signature: true, keys: release}\n"
    "models: {m: {use: face-detect@1.1.0}}\nsources: {s: {kind: synthetic}}\npipelines: {p: {source: s, model: m}}\n"
)


def command(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edge_infer", "models", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **more})


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two versions of the shipped package, with their labels in a file."""
    folder = tmp_path / "packages"
    for version in ("1.0.0", "1.1.0"):
        package = folder / "face-detect" / version
        shutil.copytree(SHIPPED, package)
        edit(package / "manifest.yaml", "labels: [face]", "labels: words/labels.txt  # ours")
        edit(package / "manifest.yaml", "version: 1.0.0", f"version: {version}")
        (package / "words").mkdir()
        (package / "words" / "labels.txt").write_text("face\n")
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, whose public half lies in the folder ``release``."""
    return make_key(tmp_path, "release")[0]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts servers, of a folder or with a handler of the test's own, and hands back their addresses."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(handler: Callable[..., BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        running.append((server, threading.Thread(target=server.serve_forever, args=(0.02,))))
        running[-1][1].start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_packages_become_a_catalogue_on_a_server_and_serve_where_signatures_are_required(
    packages: Path, key: Path, config: Path, tmp_path: Path, serve: Callable[..., str]
) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert command("sign", packages / "face-detect" / version, "--key", key).returncode == 0
    found = command("catalogue", packages)
    assert (found.returncode, found.stdout) == (0, "")
    assert found.stderr.endswith("catalogue.yaml, which lists face-detect@1.0.0, face-detect@1.1.0\n")
    found = command("sign", packages / "catalogue.yaml", "--key", key)
    assert (found.returncode, (packages / "catalogue.yaml.sig").exists()) == (0, True), found.stderr
    found = command("verify", packages / "catalogue.yaml", "--keys", tmp_path / "release")
    assert found.returncode == 0, found.stderr
    assert "catalogue.yaml is signed, and the 14 files beside it are unchanged\n" in found.stderr

    address = serve(partial(Quiet, directory=str(packages))) + "/catalogue.yaml"
    listed = command("list", "--catalogue", address, "-c", config).stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [[f"face-detect@1.{n}.0", "pull", "it"] for n in (0, 1)]
    shown = command("show", "face-detect@1.1.0", "-c", config, EDGE_INFER_CATALOGUE=address).stdout
    assert f"address  {address.removesuffix('catalogue.yaml')}face-detect/1.1.0/{MODEL}" in shown
    assert "words/labels.txt, 5 bytes" in shown
    found = command("pull", "face-detect", "--catalogue", address, "-c", config)
    assert (found.returncode, found.stdout) == (0, "face-detect@1.1.0\n"), found.stderr
    package, original = tmp_path / "state/models/face-detect/1.1.0", packages / "face-detect/1.1.0"
    for path in (path for path in original.rglob("*") if path.is_file()):
        assert (package / path.relative_to(original)).read_bytes() == path.read_bytes()
    compiled = compile_config(config)
    assert compiled.plan is not None, compiled.problems
    assert compiled.plan.pipelines[0].model.title == "face-detect@1.1.0"
    assert command("pull", "face-detect@1.0.0", "--catalogue", address, "-c", config).stdout == "face-detect@1.0.0\n"


def test_a_signed_catalogue_answers_for_the_files_beside_it(
    packages: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def verified() -> tuple[int, str]:
        capsys.readouterr()
        code = main(["models", "verify", str(place), "--keys", str(tmp_path / "release")])
        return code, capsys.readouterr().err

    place, _ = write_listing(packages)
    labels = packages / "face-detect/1.1.0/words/labels.txt"
    text = place.read_text()
    place.write_text(text.replace("face-detect/1.0.0/" + MODEL, "https://models.example.org/" + MODEL))
    assert main(["models", "sign", str(place), "--key", str(key)]) == 0
    code, said = verified()
    assert (code, ("files beside it are unchanged; files at other addresses were not checked: ") in said) == (
        0,
        True,
    ), said
    assert "files at other addresses were not checked: " in said

    labels.write_text("face\nnose\n")
    (packages / "face-detect/1.1.0" / MODEL).unlink()
    code, said = verified()
    assert code == 1
    assert f"{labels}: its SHA-256 is" in said
    assert f"{MODEL} cannot be read: No such file" in said
    assert "unchanged" not in said


def test_a_stick_needs_no_network_and_no_key(packages: Path, config: Path) -> None:
    place, _ = write_listing(packages)
    found = command("pull", "face-detect@1.0.0", "--catalogue", place, "-c", config)
    assert (found.returncode, found.stdout) == (0, "face-detect@1.0.0\n"), found.stderr


def test_from_an_address_only_what_a_trusted_key_has_signed(
    packages: Path, key: Path, config: Path, tmp_path: Path, serve: Callable[..., str]
) -> None:
    place, _ = write_listing(packages)
    address = serve(partial(Quiet, directory=str(packages))) + "/catalogue.yaml"
    pulling = ("pull", "face-detect", "--catalogue", address, "-c", config)

    found = command(*pulling)
    assert (found.returncode, found.stdout) == (1, "")
    assert f"needs a signature: {address}.sig: the server answered 404" in found.stderr
    assert command("sign", place, "--key", make_key(tmp_path, "other")[0]).returncode == 0
    found = command(*pulling)
    assert found.returncode == 2
    assert "no trusted key (release.pem) made the signature" in found.stderr
    assert command("list", "--catalogue", address, "--keys", tmp_path / "other", "-c", config).returncode == 0
    assert command("sign", place, "--key", key).returncode == 0
    edit(place, "about: detection", "about: something else")
    found = command(*pulling)
    assert (found.returncode, "was changed after it was signed" in found.stderr) == (2, True)
    edit(config, "keys: release", "keys: nowhere")
    found = command(*pulling)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert f"there is no {tmp_path}/nowhere; put public keys (*.pem) there, or name some with --keys" in found.stderr
    assert not (tmp_path / "state/models/face-detect").exists()


def test_the_signature_of_a_manifest_is_none_of_a_catalogue(
    packages: Path, key: Path, tmp_path: Path, serve: Callable[..., str]
) -> None:
    """Whoever may serve files cannot make a catalogue of what was signed as a package."""
    package = packages / "face-detect" / "1.0.0"
    assert command("sign", package, "--key", key).returncode == 0
    shutil.copyfile(package / "manifest.yaml", packages / "catalogue.yaml")
    shutil.copyfile(package / f"{MODEL}.sig", packages / "catalogue.yaml.sig")
    address = serve(partial(Quiet, directory=str(packages))) + "/catalogue.yaml"
    with pytest.raises(ConfigError, match="models: is missing"):
        fetch_catalogue(address, [trusted_key(tmp_path / "release" / "release.pem")])


def test_whatever_differs_from_the_catalogue_stays_outside(packages: Path, tmp_path: Path) -> None:
    place, _ = write_listing(packages)
    library = Library(tmp_path / "models")
    labels = packages / "face-detect/1.1.0/words/labels.txt"
    labels.write_text("fake\n")
    with pytest.raises(InputError, match=r"labels\.txt: its SHA-256 is \w{64}, but the catalogue lists"):
        pull(choose(read_catalogue(place), "face-detect"), library)
    labels.unlink()
    with pytest.raises(InputError, match=r"labels\.txt cannot be read: No such file"):
        pull(choose(read_catalogue(place), "face-detect"), library)
    edit(place, "url: face-detect/1.0.0", "url: face-detect/1.1.0")  # a true manifest, of another package
    shutil.rmtree(packages / "face-detect/1.1.0")
    (packages / "face-detect/1.0.0").rename(packages / "face-detect/1.1.0")
    text = place.read_text()
    place.write_text(text[: text.index("  face-detect@1.1.0")].replace("1.0.0:", "3.0.0:").replace("n: 1.0", "n: 3.0"))
    with pytest.raises(ConfigError, match=r"lists face-detect@3\.0\.0, but its manifest names face-detect@1\.0"):
        pull(choose(read_catalogue(place), "face-detect"), library)
    assert library.packages() == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  face-detect@1.0.0:", "  face-detect@1.2.0:", r"models\.face-detect@1\.2\.0: its version is 1\.0\.0"),
        ("  face-detect@1.1.0:\n    version: 1.1.0", "  face-detect:\n    version: 1.0.0", r"1\.0\.0 is listed twice"),
        ("url: face-detect/1.0.0/", "url: ../face-detect/1.0.0/", "expected https://HOST/PATH, or a path below"),
        ("url: face-detect/1.0.0/", "url: ftp://host/", "expected an address such as https://"),
        (f"1.0.0/{MODEL}", "1.0.0/manifest.yaml", "which is not a valid name for a model file"),
        ("golden/astronaut.png:", "../astronaut.png:", r"expected a file in the manifest's own folder"),
    ],
)
def test_a_catalogue_that_is_wrong_names_the_line(packages: Path, old: str, new: str, words: str) -> None:
    place, _ = write_listing(packages)
    text = place.read_text()
    assert old in text
    place.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"catalogue\.yaml:\d+: .*{words}"):
        read_catalogue(place)


@pytest.mark.parametrize("layout", ["apart", "package", "flat"])
def test_a_mirror_has_packages_apart_or_all_files_in_one_folder(
    packages: Path, tmp_path: Path, serve: Callable[..., str], layout: str
) -> None:
    """Manifests and labels of several packages have the same names."""
    (packages / "face-detect/1.0.0/words/labels.txt").write_text("face")
    place, _ = write_listing(packages)
    mirror = tmp_path / "mirror"
    shutil.copytree(packages if layout == "apart" else packages / "face-detect/1.1.0", mirror)
    if layout == "flat":
        for path in [path for path in mirror.glob("*/*") if path.is_file()]:
            path.rename(mirror / path.name)
    address = serve(partial(Quiet, directory=str(mirror)))
    library = Library(tmp_path / "store")
    for version in ("1.0.0", "1.1.0") if layout == "apart" else ("1.1.0",):
        arrival = pull(choose(read_catalogue(place), f"face-detect@{version}"), library, mirror=address)
        original = packages / "face-detect" / version
        for path in (path for path in original.rglob("*") if path.is_file()):
            assert (arrival.folder / path.relative_to(original)).read_bytes() == path.read_bytes()
    shutil.rmtree(mirror)
    with pytest.raises(DownloadError, match="the server answered 404"):
        pull(choose(read_catalogue(place), "face-detect@1.0.0"), Library(tmp_path / "other"), mirror=address)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{task: detektion}", r"c\.yaml:8: models\.face-detect@1\.0\.0\.manifest\.task: "),
        ("{labels: [face, 1.5e3, {}]}", r"c\.yaml:8: models\.face-detect@1\.0\.0\.manifest\.labels"),
        (
            "\n      task: detection\n      threshold: high",
            r"c\.yaml:10: models\.face-detect@1\.0\.0\.manifest\.threshold: ",
        ),
        ("{labels: [face, eye]}", rf"^SHIPPED/{MODEL}: 2 labels \(manifest\) for 1 classes"),
        ("{labels: no.txt}", rf"^SHIPPED/{MODEL}: no\.txt cannot be read: No such file"),
    ],
)
def test_an_error_in_the_manifest_of_an_entry_names_its_line(tmp_path: Path, manifest: str, words: str) -> None:
    place, data = tmp_path / "c.yaml", (SHIPPED / MODEL).read_bytes()
    shutil.copy(SHIPPED / MODEL, tmp_path)
    place.write_text(
        "models:\n  face-detect@1.0.0:\n    version: 1.0.0\n    about: faces\n"
        f"    url: {MODEL}\n    bytes: {len(data)}\n    sha256: {hashlib.sha256(data).hexdigest()}\n"
        f"    manifest: {manifest}\n"
    )
    with pytest.raises((ConfigError, ModelError)) as error:
        pull(choose(read_catalogue(place), "face-detect"), Library(tmp_path / "store"))
    text = str(error.value)
    assert re.search(words.replace("SHIPPED", re.escape(str(tmp_path))), text), text
    assert str(tmp_path / "store") not in text


def test_only_packages_that_are_what_they_say_are_listed(packages: Path) -> None:
    (packages / "face-detect/1.1.0").rename(packages / "face-detect/1.2.0")
    with pytest.raises(ConfigError, match=r"names face-detect@1\.1\.0; rename its folder to match"):
        write_listing(packages)
    with pytest.raises(ConfigError, match=r"contains no package: there is no NAME/VERSION/manifest\.yaml below it"):
        write_listing(packages / "face-detect")


def test_a_small_file_of_unknown_digest(serve: Callable[..., str]) -> None:
    answers = [(503, b"", 0), (200, b"abc", 10), (200, b"abcdefghij", 10)]

    class Handler(Quiet):
        def do_GET(self) -> None:
            status, data, length = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)

    address = serve(Handler) + "/catalogue.yaml"
    assert fetch(address, 10, pauses=(0.0, 0.0)) == b"abcdefghij"
    answers.append((200, b"abcdefghij", 10))
    with pytest.raises(DownloadError, match="has more than 9 bytes, which is too large for a file of a catalogue"):
        fetch(address, 9)
    answers.extend([(200, b"abc", 10), (503, b"", 0)])
    with pytest.raises(DownloadError, match=r"catalogue\.yaml: the server answered 503"):
        fetch(address, 10, pauses=(0.0,))
    answers.append((404, b"", 0))
    with pytest.raises(DownloadError, match="the server answered 404"):
        fetch(address, 10, pauses=(0.0,))
    assert answers == []
