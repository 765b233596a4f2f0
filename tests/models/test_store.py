"""Files are read whole and once, and kept under their digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge_infer.errors import ModelError, StartError
from edge_infer.models.files import inside, read_whole
from edge_infer.models.package import find_package
from edge_infer.models.store import keep

DATA = b"a model" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_copy_lies_under_its_digest_and_is_written_once(tmp_path: Path) -> None:
    path = keep(DATA, DIGEST, tmp_path / "state" / "models")
    assert path == tmp_path / "state" / "models" / f"{DIGEST}.tflite"
    assert path.read_bytes() == DATA
    before = path.stat()
    assert keep(DATA, DIGEST, path.parent) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_copy_that_the_disk_has_spoilt_is_written_again(tmp_path: Path) -> None:
    path = keep(DATA, DIGEST, tmp_path)
    path.write_bytes(DATA[:100])
    assert keep(DATA, DIGEST, tmp_path).read_bytes() == DATA


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(StartError, match=f"model store {tmp_path}/models cannot be written"):
        keep(DATA, DIGEST, tmp_path / "models")


def test_a_store_of_somebody_else_names_whose_it_is(closed: Path) -> None:
    with pytest.raises(StartError, match="Permission denied"):
        keep(DATA, DIGEST, closed / "blobs")
    if os.getuid() == 0:  # and is nobody while the test runs
        with pytest.raises(StartError, match=r"etc belongs to root, so run it as that user: runuser -u root"):
            keep(DATA, DIGEST, Path("/etc/blobs"))


def test_a_package_that_may_not_be_read_is_refused_in_words(closed: Path) -> None:
    with pytest.raises(ModelError, match=r"closed/face/1\.0\.0 cannot be read: Permission denied$"):
        find_package(closed / "face/1.0.0")


def test_only_regular_files_of_bearable_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(101))
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert len(read_whole(tmp_path / "link", 101)) == 101
    for name, words in [
        ("pipe", "is a named pipe, not a file"),
        ("large", "has 101 bytes; more than 100"),
        (".", "is a folder, not a file"),
        ("none", "cannot be read: No such file or directory"),
    ]:
        with pytest.raises(ModelError, match=words):
            read_whole(tmp_path / name, 100)
    with pytest.raises(ModelError, match="is a device, not a file"):
        read_whole(Path("/dev/zero"), 100)


def test_links_do_not_lead_out_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "secret").write_text("x")
    (package / "labels.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="leads out of the folder"):
        inside(package, "labels.txt")
