"""Which files a model needs, and the same model with these elsewhere."""

from __future__ import annotations

from edge_infer.contract.codec import replace
from edge_infer.plan.files import files_of, moved
from edge_infer.plan.records import DecoderPlan, FurtherInput, InputPlan, ModelPlan, NmsPlan, TextPlan

WORDS = TextPlan("regex", "/m/words.txt", "c" * 64, 8)
MODEL = ModelPlan(
    "m",
    "m@1",
    "1",
    "a" * 64,
    "/m/m.tflite",
    "detection",
    DecoderPlan("ssd", "s:S", {"anchors_file": "/m/anchors.txt", "coding": [10, 10, 5, 5], "scores": "/not/a/file"}),
    ("x",),
    WORDS,
    0.5,
    NmsPlan(),
    further=(FurtherInput("again", plan=WORDS), FurtherInput("one", (1.0,)), FurtherInput("two", plan=InputPlan())),
)


def test_each_file_is_listed_once() -> None:
    assert files_of(MODEL) == ("/m/m.tflite", "/m/words.txt", "/m/anchors.txt")
    assert files_of(replace(MODEL, input=InputPlan(), decoder=DecoderPlan("c", "c:C"), further=())) == ("/m/m.tflite",)


def test_only_the_places_of_files_change() -> None:
    there = moved(MODEL, lambda path: path.replace("/m/", "/store/"))
    assert files_of(there) == ("/store/m.tflite", "/store/words.txt", "/store/anchors.txt")
    assert there.decoder.options["scores"] == "/not/a/file"
    assert moved(there, lambda path: path.replace("/store/", "/m/")) == MODEL
