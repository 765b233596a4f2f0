"""The file for node_exporter: whole at every moment, readable by others, told of where it cannot be written."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.supervisor.metrics.collector import MAX_COUNTERS, Counters, MetricFamily, render
from edge_infer.supervisor.metrics.metrics_file import MetricsFile
from tests.exposition import samples

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")


def test_a_count_that_begins_again_adds_to_the_one_before() -> None:
    counters = Counters()
    for start, count, expected in [("a", 3, 3), ("a", 5, 5), ("b", 2, 7), ("b", 9, 14), ("b", 1, 15), ("c", 0, 15)]:
        counters.follow("frames", start, count)
        assert counters.value("frames") == expected


def test_a_count_that_outlives_its_process_never_goes_back() -> None:
    counters = Counters()
    for count, expected in [(3, 3), (2, 3), (5, 5)]:
        counters.raise_to("delivered", count)
        assert counters.value("delivered") == expected


def test_counters_have_a_bound() -> None:
    counters = Counters()
    for number in range(MAX_COUNTERS + 1):
        counters.follow(number, "a", 1)
    assert (counters.value(0), counters.value(1), counters.value(MAX_COUNTERS)) == (0, 1, 1)


def test_a_label_cannot_end_its_line() -> None:
    family = MetricFamily("edge_infer_x", "gauge", "A help.")
    family.add(1, version='1"\n# TYPE "\\')
    family.add(None, version="unknown")
    assert render([family, MetricFamily("edge_infer_y", "gauge", "No sample.")]) == (
        '# HELP edge_infer_x A help.\n# TYPE edge_infer_x gauge\nedge_infer_x{version="1\\"\\n# TYPE \\"\\\\"} 1\n'
    )


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path, notes: list[str]) -> MetricsFile:
    (tmp_path / "metrics").mkdir()
    return MetricsFile(tmp_path / "metrics" / "edge.prom", notes.append)


def test_others_may_read_it_whatever_the_umask_hides(file: MetricsFile) -> None:
    before = os.umask(0o077)
    try:
        file.write("x 1\n")
    finally:
        os.umask(before)
    assert (file.path.read_text(), stat.S_IMODE(file.path.stat().st_mode)) == ("x 1\n", 0o644)
    assert [each.name for each in file.path.parent.iterdir()] == ["edge.prom"]


def test_a_reader_that_never_rests_gets_a_whole_file_through_10000_rewrites(file: MetricsFile) -> None:
    texts = {f"# TYPE x gauge\nx {digit * 2000}\n" for digit in "123"}
    file.write(min(texts))
    done, broken, read = threading.Event(), [], 0

    def scrape() -> None:
        nonlocal read
        while not done.is_set():
            text = file.path.read_text()
            read += 1
            if text not in texts:
                broken.append(text)

    reader = threading.Thread(target=scrape)
    reader.start()
    for _ in range(10_000 // len(texts) + 1):
        for text in texts:
            file.write(text)
    done.set()
    reader.join()
    assert read > 100
    assert broken == []


def test_a_missing_folder_is_told_once_and_made_up_for(
    tmp_path: Path, notes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = MetricsFile(tmp_path / "later" / "edge.prom", notes.append)
    file.write("x 1\n")
    file.write("x 2\n")
    remedy = "set metrics: file: to a file in an existing folder where the daemon may write"
    assert notes == [f"metrics: cannot write {file.path}: No such file or directory ({remedy})"]
    (tmp_path / "later").mkdir()
    file.write("x 3\n")
    assert file.path.read_text() == "x 3\n"
    assert [record.message for record in caplog.records] == [notes[0], f"metrics: writing {file.path} works again"]


def test_a_link_in_its_place_is_replaced_and_not_followed(file: MetricsFile, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    file.path.symlink_to(other)
    file.path.with_name(".edge.prom.new").symlink_to(other)
    file.write("x 1\n")
    assert (file.path.is_symlink(), file.path.read_text(), other.read_text()) == (False, "x 1\n", "kept")
    file.remove()
    assert list(file.path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["serving.json", "other.prom", "edge.prom\0"])
def test_nothing_but_metrics_is_ever_replaced(tmp_path: Path, notes: list[str], name: str) -> None:
    """The plan names the file, and a compromised process may have made the plan."""
    path = tmp_path / name.rstrip("\0")
    path.write_text("export PATH=/usr/bin\n")
    file = MetricsFile(tmp_path / name, notes.append)
    file.write("# HELP edge_infer_up x\n")
    file.remove()
    assert path.read_text() == "export PATH=/usr/bin\n"
    assert len(notes) == 1
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_that_was_never_written_is_not_removed(file: MetricsFile) -> None:
    file.path.write_text("of somebody else")
    file.remove()
    assert file.path.exists()


def test_a_folder_may_be_a_link(file: MetricsFile, tmp_path: Path, notes: list[str]) -> None:
    (tmp_path / "link").symlink_to(file.path.parent)
    MetricsFile(tmp_path / "link" / "edge.prom", notes.append).write("x 1\n")
    assert (file.path.read_text(), notes) == ("x 1\n", [])


def test_a_folder_or_a_file_in_the_wrong_place_is_told(file: MetricsFile, notes: list[str], tmp_path: Path) -> None:
    file.path.mkdir()
    file.write("x 1\n")
    (tmp_path / "plain").write_text("")
    MetricsFile(tmp_path / "plain" / "edge.prom", notes.append).write("x 1\n")
    assert [note.partition(" (")[0].rpartition(": ")[2] for note in notes] == [
        os.strerror(errno.EISDIR),
        os.strerror(errno.ENOTDIR),
    ]
    assert [each.name for each in file.path.parent.iterdir()] == ["edge.prom"]


@contextmanager
def small(folder: Path) -> Iterator[None]:
    """A file system of four pages in place of the folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@ROOT_ONLY
def test_a_full_folder_keeps_the_last_file_whole(file: MetricsFile, notes: list[str]) -> None:
    with small(file.path.parent):
        file.write("x 1\n")
        file.write("x " + "1" * 60_000 + "\n")
        assert file.path.read_text() == "x 1\n"
        assert [each.name for each in file.path.parent.iterdir()] == ["edge.prom"]
        assert notes[0].startswith(f"metrics: cannot write {file.path}: {os.strerror(errno.ENOSPC)}")
        file.write("x 2\n")
        assert (file.path.read_text(), len(notes)) == ("x 2\n", 1)


@ROOT_ONLY
def test_a_read_only_folder_is_told(file: MetricsFile, notes: list[str]) -> None:
    with small(file.path.parent):
        file.write("x 1\n")
        subprocess.run(["mount", "-o", "remount,ro", str(file.path.parent)], check=True)
        file.write("x 2\n")
        assert samples("# TYPE x gauge\n" + file.path.read_text()) == {("x", frozenset()): 1.0}
        assert os.strerror(errno.EROFS) in notes[0]
