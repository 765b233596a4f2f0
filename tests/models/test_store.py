"""Files are read whole and once, and kept under their digest."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.errors import ModelError, StartError
from edge_infer.models.packages.blob_store import collect, keep, promised_digest
from edge_infer.models.packages.package import find_package
from edge_infer.models.packages.read_files import largest_here, read_whole
from edge_infer.plan.files import files_of, files_of_pipelines
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, NmsPlan, PipelinePlan, ShadowPlan, TextPlan

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
    with pytest.raises(
        ModelError, match=r"closed/face/1\.0\.0 cannot be read by user .*, who may not enter the folder .*/closed;"
    ):
        find_package(closed / "face/1.0.0")


def test_only_regular_files_of_bearable_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(101))
    (tmp_path / "link").symlink_to(tmp_path / "large")
    assert len(read_whole(tmp_path / "link", 101)) == 101
    for name, words in [
        ("pipe", "is a named pipe, not a file"),
        ("large", "has 101 bytes; the limit is 100"),
        (".", "is a folder, not a file"),
        ("none", "cannot be read: No such file or directory"),
    ]:
        with pytest.raises(ModelError, match=words):
            read_whole(tmp_path / name, 100)
    with pytest.raises(ModelError, match="is a device, not a file"):
        read_whole(Path("/dev/zero"), 100)


def test_all_but_what_plans_name_is_collected(tmp_path: Path) -> None:
    store = tmp_path / "blobs"
    assert not collect(store, [])
    kept = keep(DATA, DIGEST, store)
    keep(b"other", hashlib.sha256(b"other").hexdigest(), store)
    words = keep(b"words", hashlib.sha256(b"words").hexdigest(), store, ".txt")
    unfinished = store / ".incoming-abc"
    unfinished.touch()
    loot = [store / f"{DIGEST}.loot", store / DIGEST, store / f"{DIGEST}.tflite.old", store / f"{words.stem}.tflite"]
    for path in loot:
        path.write_text("the broker's password")
    (store / "folder").mkdir()
    (store / "folder" / kept.name).touch()
    (store / "link").symlink_to(tmp_path)
    os.mkfifo(store / f"{'a' * 64}.tflite")
    (store / f"{'b' * 64}.tflite" / "folder").mkdir(parents=True)
    needed = [str(kept), f"/from/elsewhere/{words.name}", f"{'a' * 64}.tflite", f"{'b' * 64}.tflite"]
    while collect(store, needed):
        pass
    assert set(store.iterdir()) == {kept, words}
    assert store.parent.is_dir()


def test_the_name_of_a_copy_promises_its_digest() -> None:
    assert promised_digest(f"/state/blobs/{DIGEST}.tflite") == DIGEST
    for name in ("face.tflite", f"{DIGEST}.tflite.old", f"{DIGEST[1:]}.tflite", f"{DIGEST.upper()}.tflite"):
        assert promised_digest(f"/state/blobs/{name}") is None


def test_a_model_needs_its_file_and_its_vocabulary() -> None:
    model = ModelPlan(
        "m", "m@1", "1", "a" * 64, "/m", "classification", DecoderPlan("c", "c:C"), ("x",), InputPlan(), 0.5, NmsPlan()
    )
    text = replace(model, sha256="b" * 64, input=TextPlan("regex", "/v", "c" * 64, 8))
    encoded = replace(model, decoder=DecoderPlan("ssd", "s:S", {"anchors_file": f"/blobs/{'d' * 64}.txt"}))
    packed = replace(model, input=TextPlan("regex", "/m", "c" * 64, 8, vocabulary_file="vocab.txt"))
    wanted = [("/m",), ("/m", "/v"), ("/m", f"/blobs/{'d' * 64}.txt"), ("/m",)]
    assert [files_of(each) for each in (model, text, encoded, packed)] == wanted
    one, other = PipelinePlan("one", "cam", text, 0.5), PipelinePlan("other", "cam", replace(model, path="/n"), 0.5)
    other = replace(other, shadow=ShadowPlan(encoded, 0.5))
    assert files_of_pipelines([one, other]) == ("/m", "/v", "/n", f"/blobs/{'d' * 64}.txt")


def test_a_copy_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    """The calls that reach the disk, in their order: write, fsync, rename, fsync of the folder."""
    log = tmp_path / "calls"
    code = "import pathlib, edge_infer.models.packages.blob_store as s\n"
    code += f"s.keep(b'x', 'ab', pathlib.Path({str(tmp_path)!r}))"
    command = [
        "strace",
        "-f",
        "-y",
        "-o",
        str(log),
        "-e",
        "trace=write,fsync,rename,unlink",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "returns other data than was written" in done.stderr  # since the digest is not that of the bytes
    calls = re.findall(r"(write|fsync|rename|unlink)\((?:\d+<([^>]*)>|\"([^\"]*)\")", log.read_text())
    told = [(call, (one or other).replace(str(tmp_path), "")) for call, one, other in calls]
    told = [(call, "/new" if "incoming" in path else path) for call, path in told if path == "" or "/" in path]
    wanted = [("write", "/new"), ("fsync", "/new"), ("rename", "/new"), ("fsync", ""), ("unlink", "/ab.tflite")]
    assert [step for step in told if step in wanted] == wanted


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


LINKS = {
    "model.tflite": "real.tflite",
    "dangling": "nowhere",
    "loop": "loop",
    "folder": "deep",
    "up": "..",
    "away": "/etc/passwd",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of a configuration with a file, one deeper, and things that are no files."""
    root = tmp_path / "etc"
    (root / "deep").mkdir(parents=True)
    for path in (root / "real.tflite", root / "deep" / "m.tflite", tmp_path / "outside"):
        path.write_bytes(DATA)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    return root


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "model.tflite",
            r"etc/model.tflite is a link, and links are not followed; name the place itself: .*/real.tflite$",
        ),
        ("folder/m.tflite", r"etc/folder is a link, .* name the place itself: .*/deep$"),
        ("up/outside", r"etc/up is a link"),
        ("away", r"etc/away is a link, .*: /etc/passwd$"),
        ("dangling", r"etc/dangling is a broken link; name the file itself"),
        ("loop", r"etc/loop is a broken link"),
        ("loop/m.tflite", r"etc/loop is a broken link"),
        ("../outside", r"contains \.\."),
        ("deep/../real.tflite", r"contains \.\."),
        ("real.tflite/m", r"etc/real.tflite is not a folder, so .* does not exist"),
        ("pipe", r"etc/pipe is a named pipe, not a file"),
        ("socket", r"etc/socket is a socket, not a file"),
        ("deep", r"etc/deep is a folder, not a file"),
        ("none", r"cannot be read: No such file or directory"),
        ("/dev/null", r"/dev/null is a device, not a file"),
        ("a\0b", r"cannot be read: embedded null byte"),
    ],
)
def test_beneath_a_root_only_files_are_opened_and_by_no_link(root: Path, name: str, words: str) -> None:
    gc.collect()  # files that earlier tests left open
    before = open_files()
    with pytest.raises(ModelError, match=words):
        read_whole(root / name, 10_000, roots=(str(root),))
    assert open_files() == before


def test_to_the_root_itself_a_link_may_lead(root: Path, tmp_path: Path) -> None:
    """As ``/var/lib/edge-infer`` is one to where systemd keeps it for a dynamic user."""
    (tmp_path / "link").symlink_to(root)
    through = tmp_path / "link" / "deep" / "m.tflite"
    assert read_whole(through, 10_000, roots=("/x", str(tmp_path / "link"))) == DATA
    with pytest.raises(ModelError, match="/link is a link"):
        read_whole(through, 10_000, roots=("/x",))


def test_a_large_file_is_refused_before_it_is_read(root: Path) -> None:
    os.truncate(root / "real.tflite", 3 << 30)
    with pytest.raises(ModelError, match=r"has 3221225472 bytes; the limit is \d+"):
        read_whole(root / "real.tflite", largest_here(), roots=(str(root),))


def test_a_file_that_changes_while_it_is_read_is_refused(root: Path) -> None:
    path = root / "real.tflite"
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            with path.open("r+b") as file:
                file.write(number.to_bytes(4, "little"))

    writer = threading.Thread(target=write)
    path.write_bytes(bytes(64 << 20))  # so that the reading takes longer than the clock of the file system ticks
    writer.start()
    try:
        with pytest.raises(ModelError, match="changed during the read; try again when it is complete"):
            read_whole(path, 1 << 30, roots=(str(root),))
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "link"])
def test_what_is_no_file_is_replaced_by_the_copy(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    digest = hashlib.sha256(b"model").hexdigest()
    plant(tmp_path / f"{digest}.tflite")
    assert keep(b"model", digest, tmp_path).read_bytes() == b"model"
    assert not (tmp_path / f"{digest}.tflite").is_symlink()
