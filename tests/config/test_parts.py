"""``conf.d/*.yaml`` beside a configuration: entries from several files, each problem with the file it is in."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.cli.models.promote import file_with_shadow
from edge_infer.config.compile.compile import compile_config, connection
from edge_infer.config.file_edit import current_digest
from edge_infer.config.parts import file_of, read_config
from edge_infer.contract.codec import dumps
from edge_infer.errors import ConfigError
from edge_infer.platform.config_files import MAX_BYTES, MAX_ENTRIES, MAX_PARTS, digest_of_texts, look_at, texts_of

MODEL = Path(__file__).parents[2] / "models/face-detect/1.0.0/face_full_range_int8.tflite"
MAIN = f"device: {{id: box, state_dir: state}}\nmodels:\n  faces: {{file: {MODEL}}}\n"
DOOR = "sources:\n  door: {kind: synthetic}\npipelines:\n  door: {source: door, model: faces}\n"
YARD = DOOR.replace("door", "yard")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A main file with the model, and two files with a camera each."""
    path = tmp_path / "config.yaml"
    path.write_text(MAIN)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/10-door.yaml").write_text(DOOR)
    (tmp_path / "conf.d/20-yard.yaml").write_text(YARD)
    return path


def problems(config: Path) -> list[str]:
    """The problems, with files relative to the folder."""
    found = compile_config(config).problems
    return [str(problem).replace(f"{config.parent}/conf.d", "conf.d") for problem in found]


def test_the_entries_of_all_files_make_one_plan(config: Path) -> None:
    compiled = compile_config(config)
    assert compiled.problems == ()
    assert compiled.plan is not None
    assert [source.name for source in compiled.plan.sources] == ["door", "yard"]
    assert [pipeline.name for pipeline in compiled.plan.pipelines] == ["door", "yard"]
    assert compiled.digest == current_digest(config)
    assert compiled.seen == look_at(config)


def test_a_single_file_keeps_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(MAIN)
    (tmp_path / "conf.d").mkdir()
    assert compile_config(path).digest == current_digest(path) == hashlib.sha256(MAIN.encode()).hexdigest()


def test_each_problem_names_its_file_and_line(config: Path) -> None:
    (config.parent / "conf.d/20-yard.yaml").write_text(
        "sources:\n  yard: {kind: synthetic, fpss: 5}\n  door: {kind: synthetic}\nmqtt: {host: x}\nmodels: [a]\n"
        "pipelines:\n  yard: {source: yrad, model: faces}\n"
    )
    twice = "conf.d/20-yard.yaml:3: sources.door:"
    assert problems(config) == [
        'conf.d/20-yard.yaml:2: sources.yard.fpss: is not known here; did you mean "fps"?',
        f"{twice} is defined twice (first in conf.d/10-door.yaml:2); remove or rename one of them",
        f"conf.d/20-yard.yaml:4: mqtt: belongs in {config}; a file of conf.d has models, sources, pipelines only",
        "conf.d/20-yard.yaml:5: models: expected names with their keys below, as in the main file",
        'conf.d/20-yard.yaml:7: pipelines.yard.source: there is no "yrad" under sources; did you mean "yard"?',
    ]


def test_a_name_of_the_main_file_may_not_come_again(config: Path) -> None:
    config.write_text(f"{MAIN}{DOOR}")
    assert problems(config) == [
        f"conf.d/10-door.yaml:{line}: {section}.door: is defined twice (first in {config}:{first}); "
        "remove or rename one of them"
        for line, section, first in ((2, "sources", 5), (4, "pipelines", 7))
    ]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (DOOR.rstrip("\n"), 4, "the last line has no line end"),
        ("a: [\n", 2, "this is not valid YAML"),
        ("# nothing\n", 1, "the file is empty"),
    ],
)
def test_a_broken_part_breaks_the_whole(config: Path, text: str, line: int, told: str) -> None:
    """Without a camera's file the pipelines that look at it would be wrong, too; only the file is reported."""
    (config.parent / "conf.d/10-door.yaml").write_text(text)
    config.write_text(f"{MAIN}pipelines:\n  more: {{source: door, model: faces}}\n")
    (found,) = problems(config)
    assert found.startswith(f"conf.d/10-door.yaml:{line}: {told}")


def test_a_name_that_is_no_utf8_ends_nobody(config: Path) -> None:
    folder = os.fsencode(config.parent / "conf.d")
    with open(folder + b"/\xff.yaml", "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(b"sources: {}\n")
    assert len(digest_of_texts(texts_of(config))) == 64
    assert problems(config) == ["conf.d:1: has a file whose name is not UTF-8: \ufffd.yaml; rename it"]
    assert dumps(compile_config(config))


@pytest.mark.parametrize(
    ("count", "size", "told"),
    [
        (MAX_PARTS + 1, 0, f"has {MAX_PARTS + 3} files, more than the limit of {MAX_PARTS}"),
        (8, 1 << 20, "the files of the configuration are larger than 4 MiB together"),
        (MAX_ENTRIES, 0, f"has more than {MAX_ENTRIES} entries"),
    ],
)
def test_too_many_or_too_large_files_are_not_read(config: Path, count: int, size: int, told: str) -> None:
    """Neither by the process that reads a configuration, nor by the supervisor, which compares digests."""
    for number in range(count):
        with (config.parent / f"conf.d/{number}.yaml").open("wb") as file:
            file.truncate(size)
    (found,) = problems(config)
    assert found.startswith("conf.d:1: ")
    assert told in found
    tracemalloc.start()
    with pytest.raises(OSError, match=told):
        texts_of(config)
    assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BYTES
    tracemalloc.stop()


def test_hidden_files_and_backups_are_no_parts(config: Path) -> None:
    for name in (".20-yard.yaml.swp", ".#x.yaml", "20-yard.yaml~", "30.yaml.dpkg-old", "README"):
        (config.parent / "conf.d" / name).write_text("nonsense\n")
    assert problems(config) == []


def test_paths_begin_at_the_folder_of_the_main_file(config: Path) -> None:
    (config.parent / "conf.d/10-door.yaml").write_text(
        DOOR.replace("synthetic", "rtsp, url: 'rtsp://c/', password_file: p")
    )
    (found,) = problems(config)
    assert "conf.d/10-door.yaml:2: sources.door.password_file: this file does not exist" in found
    (config.parent / "p").write_text("secret\n")
    assert problems(config) == []


def test_a_model_may_not_be_a_file_of_the_configuration(config: Path) -> None:
    config.write_text(f"{MAIN}  own: {{file: conf.d/10-door.yaml}}\n")
    assert any("models.own.file" in problem for problem in problems(config))


def test_the_broker_is_found_beside_a_wrong_entry_of_a_part(config: Path) -> None:
    config.write_text(f"mqtt: {{host: broker.lan}}\n{MAIN}")
    (config.parent / "conf.d/10-door.yaml").write_text(DOOR.replace("synthetic", "nonsense"))
    assert connection(config).mqtt.host == "broker.lan"


def test_every_change_of_a_part_is_seen(config: Path) -> None:
    part = config.parent / "conf.d/10-door.yaml"
    seen = [look_at(config)]
    part.write_text(f"{DOOR}# longer\n")
    seen.append(look_at(config))
    part.chmod(0o600)
    seen.append(look_at(config))
    (config.parent / "conf.d/15.yaml").write_text("sources: {}\n")
    seen.append(look_at(config))
    part.unlink()
    seen.append(look_at(config))
    assert len(set(seen)) == len(seen)
    config.unlink()
    assert look_at(config) == ()


def test_a_draft_takes_the_place_of_one_file(config: Path) -> None:
    part = config.parent / "conf.d/20-yard.yaml"
    assert compile_config(config, draft=(part, b"sources: {lawn: {kind: synthetic}}\n")).plan is not None
    compiled = compile_config(config, draft=(config, b"models: [\n"))
    assert [problem.file for problem in compiled.problems] == [str(config)]
    fresh = config.parent / "conf.d/30-lawn.yaml"
    plan = compile_config(config, draft=(fresh, YARD.replace("yard", "lawn").encode())).plan
    assert plan is not None
    assert [source.name for source in plan.sources] == ["door", "yard", "lawn"]
    assert not fresh.exists()


def test_the_file_of_an_entry(config: Path) -> None:
    assert file_of(config, "pipelines", "yard") == config.parent / "conf.d/20-yard.yaml"
    assert file_of(config, "models", "faces") == config
    assert file_of(config, "models", "unknown") == config
    assert read_config(config).value["pipelines"].keys() == {"door", "yard"}


def test_a_shadow_is_promoted_in_the_file_of_its_pipelines(config: Path) -> None:
    config.write_text(f"{MAIN}  next: {{file: {MODEL}, labels: [head]}}\n")
    part = config.parent / "conf.d/20-yard.yaml"
    part.write_text(YARD.replace("model: faces", "model: faces, shadow: {model: next}"))
    assert file_with_shadow(config, "next", None) == part
    door = config.parent / "conf.d/10-door.yaml"
    door.write_text(DOOR.replace("model: faces", "model: faces, shadow: {model: next}"))
    with pytest.raises(ConfigError, match="several files have this shadow; choose one: --pipeline door or yard"):
        file_with_shadow(config, "next", None)
    assert file_with_shadow(config, "next", "door") == door


def test_check_names_the_part(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "conf.d/10-door.yaml").write_text(DOOR.replace("synthetic", "nonsense"))
    assert main(["check", "-c", str(config)]) == 2
    assert capsys.readouterr().out.startswith(f"{config.parent}/conf.d/10-door.yaml:2: sources.door.kind: ")


def test_a_folder_that_is_a_link_to_nowhere_is_no_empty_one(tmp_path: Path) -> None:
    """Its pipelines were not taken out: the share on which they lie is away."""
    main = tmp_path / "config.yaml"
    main.write_text("device: {id: box}\n")
    (tmp_path / "conf.d").symlink_to("/nowhere/at/all")
    assert any("conf.d" in problem.file or "conf.d" in problem.text for problem in read_config(main, {}).problems)


def test_a_part_of_many_entries_is_read_in_one_go(config: Path) -> None:
    (config.parent / "conf.d/10-door.yaml").write_text(
        "models:\n" + "".join(f"  m{number}: {{}}\n" for number in range(20_000))
    )
    value = read_config(config).value
    assert value is not None
    assert len(value["models"]) == 20_001
    assert list(value["sources"]) == ["yard"]
