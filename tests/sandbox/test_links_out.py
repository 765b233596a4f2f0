"""A link from the folder of a source to a file elsewhere: the engine may not read it, and reader and check say so."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.plan.records import Plan
from edge_infer.readers.sources.images import some_pictures
from edge_infer.sandbox.needs import engine_fence
from tests.sandbox.locked import run

PICTURE = Path(__file__).parents[2] / "models/face-detect/1.0.0/golden/astronaut.png"
READ = """
import logging, sys
from edge_infer.errors import SourceError
from edge_infer.readers.sources import make_source
logging.basicConfig(stream=sys.stdout, format="%(message)s")
try:
    with make_source(plan) as source:
        print(source.read() is not None)
        source.read()
except SourceError as error:
    print(error)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, and another one with a picture and recordings."""
    for name in ("pictures", "archive"):
        (tmp_path / name).mkdir()
        shutil.copy(PICTURE, tmp_path / name / "a.png")
    (tmp_path / "archive" / "a.csv").write_text("1\n2\n")
    with wave.open(str(tmp_path / "archive" / "a.wav"), "wb") as clip:
        clip.setparams((1, 2, 8000, 0, "NONE", ""))
        clip.writeframes(b"\1\2" * 800)
    return tmp_path


def compiled(folder: Path, *sources: str) -> tuple[Plan, list[str]]:
    """The plan, and the warnings about links."""
    config = folder / "config.yaml"
    config.write_text("sources:\n" + "".join(f"  s{index}: {text}\n" for index, text in enumerate(sources)))
    found = compile_config(config)
    assert found.problems == ()
    assert found.plan is not None
    return found.plan, [f"{each.path}: {each.text}" for each in found.warnings if "link" in each.text]


def read(plan: Plan) -> list[str]:
    """What the engine's process prints when it reads the first source from inside its walls."""
    before = f"from edge_infer.plan.records import SourcePlan\nplan = {plan.sources[0]!r}"
    return run("engine", READ, before=before, fence=engine_fence(plan)).splitlines()


@pytest.mark.parametrize("path", ["pictures", "pictures/*.png", "pictures/**/*.png"])
def test_a_picture(folder: Path, path: str) -> None:
    link, target = folder / "pictures" / "b.png", folder / "archive" / "a.png"
    link.symlink_to("../archive/a.png")
    plan, warnings = compiled(folder, f"{{kind: images, path: '{path}'}}")
    reason = (
        f"is a link to {target}, outside {folder}/pictures, where the sandbox forbids reading: copy the file, or name "
        "its real path"
    )
    assert warnings == [f"sources.s0.path: {link} {reason}"]
    assert read(plan) == ["True", f"picture skipped: {link} cannot be read: Permission denied; it {reason}"]


@pytest.mark.parametrize(("name", "kind", "verb"), [("a.csv", "csv, rate: 1", "opened"), ("a.wav", "audio", "read")])
def test_a_recording(folder: Path, name: str, kind: str, verb: str) -> None:
    (folder / "rows").mkdir()
    link = folder / "rows" / name
    link.symlink_to(folder / "archive" / name)
    plan, warnings = compiled(folder, f"{{kind: {kind}, file: rows/{name}}}")
    reason = (
        f"is a link to {folder}/archive/{name}, outside {folder}/rows, where the sandbox forbids reading: copy the "
        "file, or name its real path"
    )
    assert warnings == [f"sources.s0.file: {link} {reason}"]
    assert read(plan) == [f"{link} cannot be {verb}: Permission denied; it {reason}"]


def test_a_link_that_stays_inside_or_leads_to_what_another_source_may_read_is_fine(folder: Path) -> None:
    (folder / "pictures" / "b.png").symlink_to("a.png")
    (folder / "pictures" / "c.png").symlink_to("../archive/a.png")
    (folder / "latest").symlink_to("pictures")
    plan, warnings = compiled(folder, "{kind: images, path: latest}", "{kind: images, path: archive}")
    assert warnings == []
    assert read(plan) == ["True"]


@pytest.mark.parametrize("path", ["", "*.png", "**/*.png"])
def test_only_the_first_entries_are_examined(folder: Path, path: str) -> None:
    for name in ("b.png", "c.png", "10.png"):
        (folder / "pictures" / name).symlink_to("../archive/a.png")
    (folder / "pictures" / "notes.txt").touch()
    place = str(folder / "pictures" / path)
    assert len(some_pictures(place, 2)) in (1, 2)  # one of two entries may be the notes
    assert [each.name for each in some_pictures(place, 9)] == ["10.png", "a.png", "b.png", "c.png"]
