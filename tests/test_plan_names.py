"""A plan that a compromised process has made has no name that no configuration gives."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import decode_json, dumps, replace
from edge_infer.errors import WireError
from edge_infer.plan.records import LinePlan, Plan, ShadowPlan, SourcePlan, ZonePlan
from tests.publisher.samples import model_plan, mqtt_plan, pipeline_plan, plan

PLAN = plan(mqtt_plan(1883))
DOOR, LONG = PLAN.pipelines[0], "n" * 65


@pytest.mark.parametrize(
    "made",
    [
        replace(PLAN, sources=(SourcePlan("n" * 250, "video", "m:C", live=True, network=False, options={}),)),
        replace(PLAN, device="gate/3"),
        replace(PLAN, names=("",)),
        replace(PLAN, mqtt=replace(PLAN.mqtt, topic="edge-infer/#")),
        replace(PLAN, mqtt=replace(PLAN.mqtt, topic=f"{'p' * 201}/{'d' * 64}")),
        replace(PLAN, pipelines=(replace(DOOR, name=LONG),)),
        replace(PLAN, pipelines=(replace(DOOR, source="../cam"),)),
        replace(PLAN, pipelines=(replace(DOOR, zones=(ZonePlan(LONG, ((0, 0), (1, 0), (1, 1))),)),)),
        replace(PLAN, pipelines=(replace(DOOR, lines=(LinePlan("a line", (0, 0), (1, 1)),)),)),
    ],
)
def test_a_plan_with_an_impossible_name_is_not_read(made: Plan) -> None:
    with pytest.raises(WireError):
        decode_json(Plan, dumps(made))


@pytest.mark.parametrize("name", ["", "faces\n", "n" * 250])
def test_nor_one_with_such_a_model(name: str) -> None:
    model = model_plan("MODEL")
    for door in (replace(DOOR, model=model), replace(DOOR, shadow=ShadowPlan(model, 0.5))):
        data = dumps(replace(PLAN, pipelines=(door,))).replace(b'"name":"MODEL"', dumps({"name": name})[1:-1])
        with pytest.raises(WireError):
            decode_json(Plan, data)


def test_nor_one_with_a_pipeline_of_the_name_of_a_topic() -> None:
    data = dumps(replace(PLAN, pipelines=(pipeline_plan("HEALTH", model_plan()),)))
    with pytest.raises(WireError):
        decode_json(Plan, data.replace(b"HEALTH", b"health"))


def test_the_longest_names_of_a_configuration_are_read() -> None:
    longest = replace(PLAN, device="d" * 64, mqtt=replace(PLAN.mqtt, topic=f"{'p' * 200}/{'d' * 64}"))
    assert decode_json(Plan, dumps(longest)) == longest
