"""A package's files are opened within its folder in one step: nobody can put a link in between."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.packages.library import gather
from edge_infer.models.packages.package import find_package
from edge_infer.models.packages.read_files import inside
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.checked_package import CheckedPackage
from tests.models.test_store import open_files

MANIFEST = """\
name: person
version: 1.0.0
file: m.tflite
labels: deep/labels.txt
golden: [{input: deep/one.txt, expect: []}]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package beside a folder that is none of it and has the same names."""
    for name, word in [("package", "mine"), ("other", "secret")]:
        (tmp_path / name / "deep").mkdir(parents=True)
        for file in ("m.tflite", "README.md", "deep/labels.txt", "deep/one.txt"):
            (tmp_path / name / file).write_text(f"{word}\n")
    (tmp_path / "package" / "manifest.yaml").write_text(MANIFEST)
    return tmp_path / "package"


def link(place: Path, target: str) -> None:
    """Puts a link in the place of what is there."""
    place.rename(place.with_name(place.name + ".was"))
    place.symlink_to(target)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("deep", "../other/deep"),
        ("deep/labels.txt", "../../other/deep/labels.txt"),
        ("deep", "{}/deep"),
        ("deep/labels.txt", "/proc/self/fd/0"),
    ],
)
def test_links_that_lead_out_of_a_package_are_not_followed(package: Path, place: str, target: str) -> None:
    link(package / place, target.format(package.parent / "other"))
    before = open_files()
    with pytest.raises(ModelError, match=r"deep/labels\.txt leads out of the folder of the manifest"):
        find_package(package).read("deep/labels.txt", 100)
    assert open_files() == before


@pytest.mark.parametrize("name", ["manifest.yaml", "m.tflite"])
def test_neither_are_the_manifest_and_its_model(package: Path, name: str) -> None:
    (package.parent / "other" / "manifest.yaml").write_text(MANIFEST)
    link(package / name, f"../other/{name}")
    with pytest.raises(ModelError, match=f"{name} leads out of the folder of the manifest"):
        gather(package, package.parent / "store")


def test_links_within_a_package_are_followed(package: Path) -> None:
    link(package / "deep", "deep.was")
    link(package / "m.tflite", "deep/../m.tflite.was")
    found = find_package(package)
    assert found.read("deep/labels.txt", 100)[1] == b"mine\n"
    assert found.content(found.file, 100) == b"mine\n"


def test_a_person_may_name_a_link_to_a_model(package: Path) -> None:
    link(package / "m.tflite", "../other/m.tflite")
    found = find_package(package / "m.tflite")
    assert found.content(found.file, 100) == b"secret\n"


@pytest.mark.parametrize("name", ["../other/m.tflite", "/etc/passwd", "deep/../../other/m.tflite"])
def test_names_do_not_lead_out_either(package: Path, name: str) -> None:
    with pytest.raises(ModelError, match="leads out of the folder"):
        inside(package, name)


def test_another_folder_in_the_place_of_a_package_is_not_taken_for_it(package: Path) -> None:
    found = find_package(package)
    link(package, "other")
    with pytest.raises(ModelError, match="package was replaced while it was read; try again"):
        found.read("deep/labels.txt", 100)
    with pytest.raises(ModelError, match="package was replaced while it was read; try again"):
        found.content(package / "manifest.yaml", 1000)


FLIP = """
import os, sys
place, target = sys.argv[1:]
os.rename(place, place + ".was")
os.symlink(target, place + ".link")
print("begun", flush=True)
while True:
    os.rename(place + ".link", place)
    os.rename(place, place + ".link")
    os.rename(place + ".was", place)
    os.rename(place, place + ".was")
"""


@contextmanager
def flipping(place: Path, target: Path) -> Iterator[None]:
    """Somebody who makes a link of a file or folder, and the other way round, as fast as can be."""
    with subprocess.Popen(
        [sys.executable, "-c", FLIP, str(place), str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def read_labels(package: Path) -> bytes:
    return find_package(package).read("deep/labels.txt", 100)[1]


def copy_for_trial(package: Path) -> bytes:
    """What `inspect`, `check` and the daemon hand to the process that tries a model."""
    with CheckedPackage(ModelRequest("m", str(package))) as checked:
        return checked.read(package / "deep" / "one.txt")


def copy_into_store(package: Path) -> bytes:
    """What `models add` copies."""
    store = package.parent / "store"
    gather(package, store)
    text = store / "README.md"
    if not text.exists():
        raise ModelError("left out")
    found = text.read_bytes()
    text.unlink()
    return found


@pytest.mark.parametrize(
    ("read", "name"), [(read_labels, "deep"), (copy_for_trial, "deep"), (copy_into_store, "README.md")]
)
def test_who_is_quick_gets_no_link_in_between(package: Path, read: Callable[[Path], bytes], name: str) -> None:
    seen, refused, end = 0, 0, time.monotonic() + 60
    with flipping(package / name, package.parent / "other" / name):
        while seen < 300 or refused < 300:
            assert time.monotonic() < end, (seen, refused)
            try:
                found = read(package)
            except ModelError:
                refused += 1
                continue
            assert found == b"mine\n"
            seen += 1


WITHOUT = """
import os, sys
from pathlib import Path
from edge_infer.models.packages.package import find_package
from edge_infer.sandbox import kernel, seccomp
from edge_infer.sandbox.rules import Rules
from edge_infer.sandbox.syscall_numbers import every_call
kernel.prctl(38, 1)
seccomp.install(Rules({rules}))
try:
    kernel.openat2(-100, "/", os.O_PATH, 0)
except OSError as error:
    print(error.errno)
found = find_package(Path(sys.argv[1]))
print(found.read("deep/labels.txt", 100)[1].decode().strip())
os.rename(sys.argv[1] + "/deep", sys.argv[1] + "/was")
os.symlink("was", sys.argv[1] + "/deep")
print(len(os.listdir("/proc/self/fd")))
try:
    found.read("deep/labels.txt", 100)
except ValueError as error:
    print(error)
print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize(
    ("rules", "number"), [("set(every_call()) - {'openat2'}", "38"), ("every_call(), ('openat2',)", "1")]
)
def test_where_the_kernel_cannot_follow_them_safely_there_may_be_no_links(
    package: Path, rules: str, number: str
) -> None:
    """Before Linux 5.6, and in containers that refuse what they do not know."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(rules=rules), str(package)], capture_output=True, text=True, check=True
    )
    refused, text, before, words, after = done.stdout.splitlines()
    assert (refused, text) == (number, "mine")
    assert words.startswith(f"{package}/deep is a link, and links are not followed")
    assert before == after
