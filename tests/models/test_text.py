"""Text models: who says which tokenizer and vocabulary, and what the engine then gets."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge_infer.contract.codec import decode, encode
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Line
from edge_infer.models.packages.package import Package
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, resolve
from edge_infer.models.resolve.text_input import choose_text
from edge_infer.models.tflite.flatbuffer import Table
from edge_infer.models.tflite.graph import Graph
from edge_infer.models.tflite.metadata import Metadata, SaidTokenizer, said_tokenizer
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import ModelPlan, PipelinePlan, TextPlan

MODEL = "nl_classifier_with_regex_tokenizer.tflite"
PIECES = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nwhat\na\nwaste\nof\nmy\ntime\n.\n"
Place = Callable[[str], ModelRequest]


@pytest.fixture
def place(tmp_path: Path, assets: Path) -> Place:
    """Copies the model into a folder of the test's own, with a manifest and a vocabulary of word pieces beside it."""

    def put(manifest: str) -> ModelRequest:
        path = tmp_path / "model.tflite"
        shutil.copyfile(assets / "models" / MODEL, path)
        path.with_suffix(".yaml").write_text(manifest)
        (tmp_path / "pieces.txt").write_text(PIECES)
        return ModelRequest("moods", str(path))

    return put


def find(plan: ModelPlan, text: str) -> dict[str, float]:
    with LoadedModel(PipelinePlan("p", "s", plan, 0.0)) as model:
        findings = model.find(Line(text, 0.0, 0.0, 1))
    assert isinstance(findings, ClassificationFindings)
    return {scored.label: scored.score for scored in findings.classes}


def test_a_public_model_needs_no_manifest(assets: Path) -> None:
    path = assets / "models" / MODEL
    found = examine(ModelRequest("moods", str(path)))
    assert isinstance(found.plan.input, TextPlan)
    assert (found.plan.input.vocabulary, found.plan.input.vocabulary_file) == (str(path), "vocab.txt")
    assert find(found.plan, "What a waste of my time.")["Negative"] == pytest.approx(0.8131, abs=5e-5)
    reasons = {reason.what: (reason.value, reason.why) for reason in found.reasons}
    assert reasons["tokenizer"] == (
        "regex, begins with <START>, unknown <UNKNOWN>, fills with <PAD>",
        "metadata in the file",
    )
    assert reasons["delimiter"] == (r"[^\w\']+", "metadata in the file")
    assert reasons["vocabulary"] == ("10000 words", "vocab.txt inside the file")
    assert reasons["decoder"] == (
        "classification",
        "one row of numbers, and 2 labels for it in labels.txt inside the file",
    )


def test_the_store_keeps_the_vocabulary_unpacked(assets: Path, tmp_path: Path) -> None:
    plan = probe(ModelRequest("moods", str(assets / "models" / MODEL)), tmp_path / "blobs")
    assert isinstance(plan.input, TextPlan)
    kept = Path(plan.input.vocabulary)
    assert kept.parent == tmp_path / "blobs"
    assert kept.stem == plan.input.vocabulary_sha256 == hashlib.sha256(kept.read_bytes()).hexdigest()
    assert plan.input.vocabulary_file is None
    assert decode(ModelPlan, encode(plan)) == plan
    assert find(plan, "What a waste of my time.")["Negative"] == pytest.approx(0.8131, abs=5e-5)
    kept.write_text("<PAD> 0\n")
    with pytest.raises(ModelError, match="the file has changed"):
        find(plan, "")


def test_a_manifest_wins_over_the_metadata(place: Place) -> None:
    plan = resolve(place("input: {tokenizer: wordpiece, vocabulary: pieces.txt, length: 256}\n"))
    assert isinstance(plan.input, TextPlan)
    assert (plan.input.tokenizer, plan.input.lowercase, plan.input.pattern) == ("wordpiece", True, None)
    with LoadedModel(PipelinePlan("p", "s", plan, 0.0)) as model:
        model.feed(Line("What a WASTE of my time.", 0.0, 0.0, 1))
        assert model.interpreter.input()[0, :11].tolist() == [2, 4, 5, 6, 7, 8, 9, 10, 3, 0, 0]
    plan = resolve(place("input: {lowercase: true, pattern: '[^a-z]+'}\n"))
    assert isinstance(plan.input, TextPlan)
    assert (plan.input.tokenizer, plan.input.lowercase, plan.input.pattern) == ("regex", True, "[^a-z]+")
    assert find(plan, "What a waste of my time.")["Negative"] == pytest.approx(0.7810, abs=5e-5)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("length: 128", "sets input: length: 128, but input_3 takes 256 ids"),
        ("vocabulary: gone.txt", "gone.txt cannot be read: No such file"),
        ("vocabulary: ../v.txt", "expected a file in the manifest's own folder"),
        ("tokenizer: wordpiece", r"its vocabulary has no \[CLS\], \[SEP\], \[UNK\]"),
        ("tokenizer: wordpiece, vocabulary: pieces.txt, pattern: x", "which only a regex tokenizer has"),
        ("tokenizer: sentencepiece", "expected one of regex, wordpiece"),
        ("pattern: '('", "its delimiter pattern '\\(' cannot be used"),
        ("color: rgb", "input: color: is for models of pictures, but this is one of text"),
    ],
)
def test_what_does_not_fit_is_refused(place: Place, manifest: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        resolve(place(f"input: {{{manifest}}}\n"))


def test_a_vocabulary_of_another_model_is_refused(place: Place, tmp_path: Path) -> None:
    request = place("input: {vocabulary: more.txt}\n")
    for most in (10002, 10003):
        (tmp_path / "more.txt").write_text(f"<PAD> 0\nlast {most}\n")
        if most == 10002:
            assert examine(request).plan.labels == ("Negative", "Positive")
    with pytest.raises(ModelError, match=r"\(manifest: more\.txt\) has ids up to 10003, but the model has 10003 words"):
        resolve(request)


def test_golden_lines_hold_or_the_model_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("What a waste of my time.\n")
    golden = "budget: {latency: 10s}\ngolden: [{input: bad.txt, expect: [{label: %s}]}]\n"
    assert probe(place(golden % "Negative")).labels == ("Negative", "Positive")
    with pytest.raises(ModelError, match=r"bad.txt: expected Positive in .* but found Negative"):
        probe(place(golden % "Positive"))


def test_the_mask_and_the_segments_of_bert_are_filled_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text(PIECES)
    for names in (("input_mask", "ids", "segment_ids"), ("input_word_ids", "attention_mask", "token_type_ids")):
        path = tmp_path / f"{names[0]}.tflite"
        path.write_bytes(concatenating(names, 6))
        path.with_suffix(".yaml").write_text(
            "decoder: {kind: classification, activation: none}\ninput: {tokenizer: wordpiece, vocabulary: pieces.txt}\n"
        )
        found = examine(ModelRequest("bert", str(path)))
        with LoadedModel(PipelinePlan("p", "s", found.plan, 0.0)) as model:
            for text, ids, ones in (("a waste of it a a", [2, 5, 6, 7, 1, 3], 6), ("time", [2, 9, 3, 0, 0, 0], 3)):
                model.feed(Line(text, 0.0, 0.0, 1))
                parts = {"ids": ids, "mask": [1] * ones + [0] * (6 - ones), "type": [0] * 6, "segment": [0] * 6}
                wanted = [next(parts[key] for key in ("mask", "type", "segment", "ids") if key in n) for n in names]
                assert model.interpreter.invoke()[0][0].tolist() == [number for part in wanted for number in part]
        assert "(mask)" in {reason.what: reason.value for reason in found.reasons}["inputs"]


def test_inputs_that_no_text_fills_are_told(tmp_path: Path) -> None:
    (tmp_path / "pieces.txt").write_text(PIECES)
    path = tmp_path / "two.tflite"
    path.write_bytes(concatenating(("question", "answer", "input_mask"), 6))
    path.with_suffix(".yaml").write_text(
        "decoder: classification\ninput: {tokenizer: wordpiece, vocabulary: pieces.txt}\n"
    )
    with pytest.raises(ModelError, match=r"it has the inputs question \[1, 6\], answer .* expected one for word ids"):
        resolve(ModelRequest("two", str(path)))


def concatenating(names: tuple[str, ...], length: int) -> bytes:
    """A model whose output is its inputs, one after the other, as float numbers."""
    kinds, operator = schema.TensorType, schema.BuiltinOperator
    whole = [1, length * len(names)]
    tensors = [_tensor(name, [1, length], kinds.INT32) for name in names]
    tensors += [_tensor("joined", whole, kinds.INT32), _tensor("scores", whole, kinds.FLOAT32)]
    inputs, joined, scores = list(range(len(names))), len(names), len(names) + 1
    concatenation = schema.ConcatenationOptionsT()
    concatenation.axis = 1
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = kinds.INT32, kinds.FLOAT32
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = tensors, inputs, [scores]
    options = schema.BuiltinOptions
    graph.operators = [
        _operator(0, inputs, [joined], options.ConcatenationOptions, concatenation),
        _operator(1, [joined], [scores], options.CastOptions, cast),
    ]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [_code(operator.CONCATENATION), _code(operator.CAST)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: list[int], kind: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, 0
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code


@pytest.mark.parametrize(("kind", "name"), [(4, "wordpiece"), (5, "sentencepiece"), (1, None)])
def test_metadata_of_the_whole_graph_names_a_tokenizer(kind: int, name: str | None) -> None:
    """Fields by their place in ``metadata_schema.fbs``: BERT's tokenizer belongs to the graph, not to an input."""
    builder = flatbuffers.Builder(256)
    file = _table(builder, {0: builder.CreateString("vocab.txt")})
    options = _table(builder, {0: _vector(builder, [file])})
    builder.StartObject(2)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, options, 0)
    unit = builder.EndObject()
    inputs = [_table(builder, {0: builder.CreateString(each)}) for each in ("ids", "mask")]
    builder.Finish(_table(builder, {2: _vector(builder, inputs), 5: _vector(builder, [unit])}), b"TEST")
    found = said_tokenizer(Table.root(bytes(builder.Output()), b"TEST"))
    assert found == (None if name is None else SaidTokenizer(name, "vocab.txt", None, ("ids", "mask")))  # type: ignore[arg-type]


def _vector(builder: Any, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _table(builder: Any, fields: dict[int, int]) -> int:
    builder.StartObject(max(fields) + 1)
    for slot, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def test_a_sentencepiece_tokenizer_is_named_as_unknown(tmp_path: Path) -> None:
    said = Metadata(tokenizer=SaidTokenizer("sentencepiece", "m.model"))
    with pytest.raises(ModelError, match="SentencePiece"):
        choose_text(Package(tmp_path / "x"), b"", Graph("", (), (), (), (), 1, {}), said, ())
