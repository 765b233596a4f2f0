"""Links on the way to a place: whose are followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_infer.sandbox.safe_path import ForeignLinkError, follow

ME = os.geteuid()
OTHERS = 23456


def reached(path: Path, owners: set[int], *, to_own: bool = False) -> str:
    """Where `follow` ends."""
    file = follow(str(path), owners, to_own=to_own)
    try:
        return str(Path(f"/proc/self/fd/{file}").readlink())
    finally:
        os.close(file)


def test_links_of_an_owner_lead_wherever_they_lead(tmp_path: Path) -> None:
    end = tmp_path / "a" / "b"
    end.mkdir(parents=True)
    (tmp_path / "whole").symlink_to(end)
    (tmp_path / "a" / "up").symlink_to("../whole/../b")
    assert reached(tmp_path / "a" / "up" / "..", {0, ME}) == str(tmp_path / "a")
    assert reached(tmp_path / "whole" / "." / "", {0, ME}) == str(end)


@pytest.mark.parametrize("folder_mode", [0o777, 0o757])
def test_a_link_that_others_can_replace_is_not_followed(tmp_path: Path, folder_mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    assert reached(folder / "link", {0, ME}) == str(tmp_path)
    folder.chmod(folder_mode)
    with pytest.raises(ForeignLinkError, match=r"contains the link 'link' to"):
        reached(folder / "link", {0, ME})
    folder.chmod(0o1777)
    assert reached(folder / "link", {0, ME}) == str(tmp_path)


def test_a_link_of_nobody_known_leads_to_its_own_files_at_most(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, target in (("to-file", tmp_path / "file"), ("to-folder", tmp_path)):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(ForeignLinkError):
            reached(tmp_path / name, {OTHERS})
    assert reached(tmp_path / "to-file", {OTHERS}, to_own=True) == str(tmp_path / "file")
    with pytest.raises(ForeignLinkError):
        reached(tmp_path / "to-folder", {OTHERS}, to_own=True)


def test_loops_and_gaps_are_errors(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        reached(tmp_path / "loop", {0, ME})
    with pytest.raises(FileNotFoundError):
        reached(tmp_path / "gone" / "more", {0, ME})


def test_an_open_pipe_is_reached_by_its_number() -> None:
    read, write = os.pipe()
    try:
        assert reached(Path(f"/proc/self/fd/{read}"), {0, ME}).startswith("pipe:")
    finally:
        os.close(read)
        os.close(write)
