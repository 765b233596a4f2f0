"""Which models may shadow which: the rules of docs/swap-a-model.md."""

from __future__ import annotations

import pytest

from edge_infer.config.compile.pipelines import unfit
from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.contract.codec import replace
from edge_infer.plan.records import InputPlan, ModelPlan, SignalPlan, TextPlan
from tests.engine.plans import pipeline

SERVING = pipeline().model
NEXT = replace(SERVING, name="next", title="next@1.0.0", sha256="cd" * 32)
SECTION = Pipeline(source="camera", model="pets")
SOUND = SignalPlan("raw", 16000.0, 1.0)


def fed(model: ModelPlan, given: InputPlan | SignalPlan | TextPlan) -> ModelPlan:
    return replace(model, input=given)


def test_pictures_may_differ_in_all_but_their_kind() -> None:
    other = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,), color="bgr")
    assert unfit(fed(NEXT, other), SERVING, SECTION) is None


@pytest.mark.parametrize(
    ("shadow", "serving", "words"),
    [
        (replace(NEXT, name="pets"), SERVING, "is already the model of this pipeline"),
        (replace(NEXT, task="classification"), SERVING, "is of task classification"),
        (fed(NEXT, SOUND), SERVING, "takes samples, and pets@1.0.0, which serves here, image"),
        (fed(NEXT, replace(SOUND, rate=8000.0)), fed(SERVING, SOUND), "have different inputs"),
        (replace(NEXT, state=(("in", "out"),)), SERVING, "keeps state between frames"),
    ],
)
def test_what_does_not_fit_is_told(shadow: ModelPlan, serving: ModelPlan, words: str) -> None:
    assert words in (unfit(shadow, serving, SECTION) or "")


def test_a_shadow_has_the_labels_that_the_pipeline_keeps() -> None:
    keeping = Pipeline.model_validate({"source": "camera", "model": "pets", "labels": ["dog"]})
    assert unfit(NEXT, SERVING, keeping) is None
    assert "has no label 'dog'" in (unfit(replace(NEXT, labels=("cat",)), SERVING, keeping) or "")
