"""Files that were handed over: open for as long as a plan names them or a model is made from them."""

from __future__ import annotations

import inspect
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.model.interpreter_pool import InterpreterPools
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.model.model_files import ModelFiles
from edge_infer.engine.model.varied_inputs import varied
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame, Line
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.models.trials.probe import probe
from edge_infer.plan.files import moved
from edge_infer.plan.records import DecoderPlan, ModelPlan, PipelinePlan, TextPlan
from edge_infer.platform import memfd
from tests.moody import write_model
from tests.running import MODEL


@pytest.fixture
def handed() -> Iterator[ModelFiles]:
    with ModelFiles() as files:
        yield files


def hand(files: ModelFiles, path: Path | str, data: bytes | None = None) -> None:
    """Hands over a copy of a file, or of these bytes under its path."""
    source = os.memfd_create("source")
    try:
        os.write(source, Path(path).read_bytes() if data is None else data)
        os.lseek(source, 0, os.SEEK_SET)
        files.add(str(path), memfd.copied(source, "copy")[0])
    finally:
        os.close(source)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def plan(path: Path) -> PipelinePlan:
    model = resolve(ModelRequest("m", str(path)))
    return PipelinePlan("p", "s", model, model.threshold)


def text_model() -> ModelPlan:
    """One with three files."""
    words, anchors = TextPlan("regex", "/words", "c" * 64, 8), DecoderPlan("ssd", "s:S", {"anchors_file": "/anchors"})
    return replace(plan(MODEL.parent).model, path="/model", input=words, decoder=anchors)


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def test_a_lease_names_places_that_hold_the_bytes(handed: ModelFiles) -> None:
    for name in ("/model", "/words", "/anchors"):
        hand(handed, name, name.encode())
    with handed.lease(text_model()) as lease:
        assert isinstance(lease.model.input, TextPlan)
        places = (lease.model.path, lease.model.input.vocabulary, str(lease.model.decoder.options["anchors_file"]))
        assert [read(place) for place in places] == [b"/model", b"/words", b"/anchors"]
        assert all(place.startswith("/proc/self/fd/") for place in places)
        assert (
            lease.named(f"{places[1]}:3 and {places[0]} are not {places[2]}") == "/words:3 and /model are not /anchors"
        )


@pytest.mark.long
def test_a_place_that_another_one_begins_with_is_named_rightly(handed: ModelFiles) -> None:
    hand(handed, "/model", b"m")
    hand(handed, "/words", b"w")
    hand(handed, "/anchors", b"a")
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]  # so that 1 and 1x, or 2 and 2x, are among them
    try:
        for _ in range(100):
            with handed.lease(text_model()) as lease:
                text = f"{lease.model.path}, {lease.model.decoder.options['anchors_file']}"
                assert lease.named(text) == "/model, /anchors"
            os.close(kept.pop())
    finally:
        for file in kept:
            os.close(file)


def test_what_is_dropped_or_replaced_stays_open_for_a_lease(handed: ModelFiles) -> None:
    model, before = plan(MODEL.parent).model, open_files()
    hand(handed, model.path, b"first")
    first = handed.lease(model)
    hand(handed, model.path, b"second")
    second = handed.lease(model)
    handed.keep([])
    assert (read(first.model.path), read(second.model.path)) == (b"first", b"second")
    for lease in (first, second, second):
        lease.close()
    assert open_files() == before


def test_keep_drops_what_is_not_named_and_nothing_else(handed: ModelFiles) -> None:
    before = open_files()
    for name in ("/model", "/words", "/anchors", "/other"):
        hand(handed, name, name.encode())
    handed.miss("/gone", "it cannot be read: No such file or directory")
    handed.keep(("/model", "/words", "/anchors"))
    assert open_files() == before + 3
    handed.lease(text_model()).close()
    handed.keep(("/model", "/anchors"))
    with pytest.raises(ModelError, match=r"^/words: the supervisor has not sent it$"):
        handed.lease(text_model())
    assert open_files() == before + 2


def test_what_the_supervisor_could_not_read_says_why_and_comes_later(handed: ModelFiles) -> None:
    wanted = plan(MODEL.parent)
    path = wanted.model.path
    handed.miss(path, "it cannot be read: Input/output error")
    with pytest.raises(ModelError) as caught:
        LoadedModel(wanted, files=handed).__enter__()
    assert str(caught.value) == f"model m ({path}): it cannot be read: Input/output error"
    hand(handed, path)
    with LoadedModel(wanted, files=handed):
        handed.miss(path, "it cannot be read: Input/output error")
    with pytest.raises(ModelError, match="Input/output error"):
        LoadedModel(wanted, files=handed).__enter__()


def test_other_bytes_than_the_plans_are_refused_under_the_name_that_people_know(handed: ModelFiles) -> None:
    wanted, before = plan(MODEL.parent), open_files()
    hand(handed, wanted.model.path, b"other bytes")
    with pytest.raises(ModelError) as caught:
        LoadedModel(wanted, files=handed).__enter__()
    assert f"model m ({wanted.model.path}): its SHA-256 is " in str(caught.value)
    assert caught.value.key == "sha256"
    assert open_files() == before + 1


def test_a_fault_in_another_file_names_that_file(handed: ModelFiles, assets: Path, tmp_path: Path) -> None:
    path = assets / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    wanted = probe(ModelRequest("moods", str(path)), tmp_path)
    assert isinstance(wanted.input, TextPlan)
    vocabulary = wanted.input.vocabulary
    hand(handed, wanted.path)
    hand(handed, vocabulary, b"other words")
    with pytest.raises(ModelError) as caught:
        LoadedModel(PipelinePlan("p", "s", wanted, 0.5), files=handed).__enter__()
    assert f"{vocabulary}: its SHA-256 is " in str(caught.value)
    assert "/proc/" not in str(caught.value)


def test_a_model_runs_from_its_file_that_is_gone_from_the_disk(handed: ModelFiles, tmp_path: Path) -> None:
    """Also where it is loaded again later, as one with variables is to forget what it saw."""
    path = write_model(tmp_path / "m.tflite")
    wanted, before = plan(path), open_files()
    hand(handed, path)
    path.unlink()
    with LoadedModel(wanted, files=handed) as model:
        handed.keep([])
        example = model.preprocess.example()
        assert isinstance(example, Frame)
        for _ in range(2):
            assert model.find(example)
            model.interpreter.forget()
    assert open_files() == before


def test_pipelines_that_share_a_model_share_it_when_the_first_lets_go(handed: ModelFiles) -> None:
    wanted, pool = plan(MODEL.parent), InterpreterPools(cores=2)
    hand(handed, wanted.model.path)
    one, other = LoadedModel(wanted, pool, handed), LoadedModel(wanted, pool, handed)
    with one, other:
        example = one.preprocess.example()
        one.close()
        assert other.find(example)


def test_without_room_for_a_descriptor_there_is_a_reason_and_nothing_leaks(handed: ModelFiles) -> None:
    hand(handed, "/model", b"m")
    hand(handed, "/words", b"w")
    hand(handed, "/anchors", b"a")
    limits, before = resource.getrlimit(resource.RLIMIT_NOFILE), open_files()
    model, free = text_model(), os.dup(0)
    os.close(free)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, limits[1]))
    try:
        with pytest.raises(ModelError, match="it cannot be opened: Too many open files"):
            taken.append(handed.lease(model))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (open_files(), taken) == (before, [])


def test_a_lease_waits_for_what_is_needed_and_on_its_way(handed: ModelFiles) -> None:
    wanted = plan(MODEL.parent)
    handed.expect([wanted.model.path])
    late = threading.Timer(0.3, hand, (handed, wanted.model.path))
    late.start()
    with LoadedModel(wanted, files=handed) as model:
        assert model.find(model.preprocess.example())
    late.join()


@pytest.mark.parametrize("end", ["dropped", "missed", "for ever"])
def test_a_lease_does_not_wait_for_what_will_not_come(end: str) -> None:
    model = plan(MODEL.parent).model
    with ModelFiles(0.3 if end == "for ever" else 60.0) as handed:
        handed.expect([model.path])
        ends = {"dropped": (handed.keep, ([],)), "missed": (handed.miss, (model.path, "it cannot be read: gone"))}
        what, arguments = ends.get(end, (handed.keep, ([model.path],)))
        late = threading.Timer(0.1, what, arguments)
        late.start()
        with pytest.raises(ModelError, match="it cannot be read: gone" if end == "missed" else "has not sent it"):
            handed.lease(model)
        late.join()


def test_words_to_ask_a_model_with_come_from_the_file_that_was_handed_over(handed: ModelFiles, assets: Path) -> None:
    file = assets / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    hand(handed, "/elsewhere", file.read_bytes())
    asked = plan(file)
    asked = replace(asked, model=moved(asked.model, lambda _: "/elsewhere"))
    with LoadedModel(asked, files=handed) as model:
        questions = varied(model, 3)
        lines = [next(questions)]
        kept = [value for value in inspect.getgeneratorlocals(questions).values() if isinstance(value, list | dict)]
        lines += questions
    assert max(map(len, kept)) <= 3, "a vocabulary is large, and a trial may last for long"
    assert len({line.text for line in lines if isinstance(line, Line)}) == 3
