"""Cascades in a configuration file: what they become, and every way to write them wrong, with line and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.contract.codec import decode_json, dumps, encode, replace
from edge_infer.errors import WireError
from edge_infer.plan.records import CropsPlan, PipelinePlan, Plan
from tests.running import CLIP, MODEL

HEAD: Final = f"""\
device: {{id: box, state_dir: state}}
models:
  faces: {{file: {MODEL}}}
  classes: {{file: ASSETS/models/vww_96_int8.tflite, labels: [nobody, person]}}
"""
SOURCES: Final = f"sources:\n  clip: {{kind: video, file: {CLIP}}}\n"
FACES: Final = "  faces: {source: clip, model: faces, track: true}\n"


def written(folder: Path, assets: Path, *lines: str, sources: str = SOURCES) -> Path:
    path = folder / "config.yaml"
    body = "".join(f"  {line}\n" for line in lines)
    path.write_text(f"{HEAD.replace('ASSETS', str(assets))}{sources}pipelines:\n{body}")
    return path


def plan(path: Path) -> Plan:
    compiled = compile_config(path)
    assert compiled.plan is not None, compiled.problems
    return compiled.plan


def problems(path: Path) -> list[str]:
    return [str(each).removeprefix(f"{path}:") for each in compile_config(path).problems]


def by_name(found: Plan, name: str) -> PipelinePlan:
    return next(each for each in found.pipelines if each.name == name)


def test_written_into_the_pipeline_or_under_sources_it_is_the_same(tmp_path: Path, assets: Path) -> None:
    named = f"{SOURCES}  heads: {{kind: crops, pipeline: faces, labels: [face], most: 2, again: 0s}}\n"
    parent = "faces: {source: clip, model: faces, track: true}"
    inline = "second: {source: {crops: faces, labels: [face], most: 2, again: 0s}, model: classes}"
    found = plan(written(tmp_path, assets, parent, "first: {source: heads, model: classes}", inline, sources=named))
    crops = CropsPlan("faces", ("face",), most=2, again=0.0, followed=True)
    assert by_name(found, "first").crops == by_name(found, "second").crops == crops
    assert [(each.name, each.kind, each.parent) for each in found.sources] == [
        ("clip", "video", None), ("heads", "crops", "faces"), ("second", "crops", "faces"),
    ]  # fmt: skip
    assert by_name(found, "second").source == "second"
    assert not any(each.live for each in found.sources)


def test_what_nobody_is_shown_of_a_camera_holds_for_its_crops(tmp_path: Path, assets: Path) -> None:
    corner = "mask: [[[0, 0], [0.2, 0], [0.2, 0.2]]]"
    parent = f"faces: {{source: clip, model: faces, {corner}}}"
    child = "classes: {source: {crops: faces}, model: classes, mask: [[[1, 1], [0.9, 1], [0.9, 0.9]]]}"
    found = plan(written(tmp_path, assets, parent, child))
    assert found.root("classes") == "clip"
    assert len(found.masks("classes")) == len(found.masks("clip")) == 2
    assert by_name(found, "classes").events is None  # nobody is followed


def test_a_cascade_of_a_cascade(tmp_path: Path, assets: Path) -> None:
    inner = "closer: {source: {crops: faces}, model: faces}"
    found = plan(written(tmp_path, assets, FACES.strip(), inner, "classes: {source: {crops: closer}, model: classes}"))
    assert [each.name for each in found.below(found.pipelines[0])] == ["faces", "closer", "classes"]
    way = found.way(found.pipelines[0], "classes")
    assert way is not None
    assert [each.name for each in way] == ["faces", "closer", "classes"]
    assert by_name(found, "classes").events is not None  # told of each face that is followed
    assert found.root("classes") == "clip"
    crops = replace(found.pipelines[1].crops or CropsPlan("x"), pipeline="closer")
    circle = [encode(replace(each, crops=crops) if each.name == "closer" else each) for each in found.pipelines]
    with pytest.raises(WireError, match="form a circle"):
        decode_json(Plan, dumps(encode(found) | {"pipelines": circle}))
    sources = tuple(replace(each, parent="closer") if each.name == "closer" else each for each in found.sources)
    with pytest.raises(WireError, match="form a circle"):  # what a compromised process might have left
        decode_json(Plan, dumps(encode(found) | {"sources": encode(sources)}))


def test_what_is_wrong(tmp_path: Path, assets: Path) -> None:
    """Everything at once, each at its place."""
    of_faces = "source: {crops: faces"
    lines = {
        "u: {source: clip, model: faces}": "",
        "missing: {source: {crops: facs}, model: classes}": (
            'source.crops: there is no pipeline "facs"; did you mean "faces"?'
        ),
        "itself: {source: {crops: itself}, model: faces}": (
            'source.crops: circular reference: crops for "itself" of "itself"; one of them needs a camera or '
            "another source of its own"
        ),
        "a: {source: {crops: b}, model: faces}": (
            'source.crops: circular reference: crops for "a" of "b" of "a"; one of them needs a camera or '
            "another source of its own"
        ),
        "b: {source: {crops: a}, model: faces}": "",
        f"label: {{{of_faces}, labels: [face, fase]}}, model: classes}}": (
            'source.labels[1]: pipeline "faces" has no label "fase"; did you mean "face"?'
        ),
        f"kind: {{{of_faces}}}, model: classes}}": "",
        "below: {source: {crops: kind}, model: classes}": (
            'source.crops: "kind" is of task classification, and crops need boxes; name a pipeline of task '
            'detection here, such as "faces", "u", "b"'
        ),
        "again: {source: {crops: u, again: 3s}, model: classes}": (
            'source.again: needs track: true in pipeline "u", because it needs the ids of tracked objects; '
            "without it, the pipeline processes the crops of every frame"
        ),
        "events: {source: {crops: u}, model: classes, events: {most: 3/min}}": (
            'events: needs track: true in pipeline "u", so that events can end'
        ),
        f"track: {{{of_faces}}}, model: faces, track: true}}": (
            'track: is for pipelines that process whole frames; put it into pipeline "faces", '
            "whose ids appear here, too"
        ),
        f"tiles: {{{of_faces}}}, model: faces, preprocess: {{tiles: 2x2}}}}": (
            "preprocess.tiles: the model gets each crop as a whole; remove this key"
        ),
        f"motion: {{{of_faces}}}, model: faces, motion: true}}": (
            "motion: belongs to the pipeline that finds the objects; its crops are processed on request"
        ),
        f"ahead: {{{of_faces}}}, model: faces, ahead: always}}": (
            "ahead: does nothing in a cascade, because its crops exist only after the parent pipeline has processed "
            "the frame; remove "
            "this key"
        ),
        f"turned: {{{of_faces}, rotate: 90}}, model: faces}}": (
            "source.rotate: belongs to cameras, clips and pictures; crops come from pictures that are already "
            "rotated; remove this key"
        ),
        f"clip: {{{of_faces}}}, model: faces}}": (
            'its crops are a source of this name, and sources has another "clip"; rename one of them'
        ),
        f"both: {{{of_faces}, pipeline: faces}}, model: faces}}": (
            "source.pipeline: is not used here; name the pipeline with crops: PIPELINE"
        ),
        "unnamed: {source: {labels: [face]}, model: faces}": (
            "source.crops: is missing; for example crops: door-people"
        ),
        f"none: {{{of_faces}, most: 0}}, model: faces}}": (
            "source.most: expected a whole number between 1 and 32, not 0"
        ),
        f"moist: {{{of_faces}, moist: 1}}, model: faces}}": 'source.moist: is not known here; did you mean "most"?',
        "listed: {source: [faces], model: faces}": (
            'source: expected the name of a source, or {crops: PIPELINE}, not ["faces"]'
        ),
    }
    expected = []
    for number, (line, text) in enumerate(lines.items(), start=9):
        name = line.partition(":")[0]
        expected += [f"{number}: pipelines.{name}{': ' if name == 'clip' else '.'}{text}"] if text else []
    assert problems(written(tmp_path, assets, FACES.strip(), *lines)) == expected


def test_what_is_wrong_with_a_source_is_told_there(tmp_path: Path, assets: Path) -> None:
    more = SOURCES + "  heads: {kind: crops, pipeline: faces, labels: [hat]}\n  lost: {kind: crops, pipeline: none}\n"
    assert problems(written(tmp_path, assets, FACES.strip(), sources=more)) == [
        '7: sources.heads.labels[0]: pipeline "faces" has no label "hat"; known: face',
        '8: sources.lost.pipeline: there is no pipeline "none"; known: faces',
    ]


def test_a_file_with_cascades_and_no_source_at_all(tmp_path: Path, assets: Path) -> None:
    lines = (FACES.strip(), "closer: {source: {crops: faces}, model: faces}")
    missing = 'pipelines.faces.source: there is no "clip" under sources; there is none'
    assert problems(written(tmp_path, assets, *lines, sources="sources:\n")) == [f"7: {missing}"]
    assert problems(written(tmp_path, assets, *lines, sources="")) == [f"6: {missing}"]


def test_crops_of_single_pictures_are_scaled_like_them(tmp_path: Path, assets: Path) -> None:
    pictures = f"sources:\n  clip: {{kind: images, path: {MODEL.parent}/golden}}\n"
    child = "classes: {source: {crops: faces}, model: classes}"
    found = plan(written(tmp_path, assets, FACES.strip(), child, sources=pictures))
    assert [each.model.input.scaling for each in found.pipelines] == ["exact", "exact"]  # type: ignore[union-attr]
