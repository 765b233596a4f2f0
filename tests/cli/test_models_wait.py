"""``models wait``: what a status means for somebody who waits."""

from __future__ import annotations

import pytest

from edge_infer.cli.models.wait import judged
from edge_infer.cli.waiting import Glimpse
from edge_infer.contract.codec import ABSENT, Absent, replace
from edge_infer.contract.messages import ConfigStatus, ModelState, ModelStatus
from edge_infer.errors import ConfigError
from edge_infer.supervisor.status import BrokerStatus, Status

NOW, OTHER = "a" * 64, "b" * 64
TS = "2026-01-01T00:00:00.000Z"


def status(config: ConfigStatus | None, **models: ModelStatus) -> Status:
    return Status("1", 1.0, "boot", None, {}, {}, {}, models, BrokerStatus(False, ""), None, config, None)


def model(state: ModelState, reason: str | Absent = ABSENT) -> ModelStatus:
    return ModelStatus(state, "1.0.0", "c5e0e825", reason)


def applied(digest: str = NOW) -> ConfigStatus:
    return ConfigStatus("applied", digest, TS)


def test_it_goes_on_while_a_model_is_not_through() -> None:
    for state in ("staging", "probation"):
        look = judged(status(applied(), a=model("active"), b=model(state)), NOW, None)
        assert look == Glimpse(("a: active, 1.0.0 (c5e0e825) serves", f"b: {state}, 1.0.0 (c5e0e825) serves"))


def test_it_ends_well_when_all_that_were_named_are_active() -> None:
    both = status(applied(), a=model("active"), b=model("probation"))
    assert judged(both, NOW, "a") == Glimpse(("a: active, 1.0.0 (c5e0e825) serves",), 0)
    first = status(applied(), a=ModelStatus("active", None, "c5e0e825"))
    assert judged(first, NOW, None) == Glimpse(("a: active, a file (c5e0e825) serves",), 0)


def test_it_ends_at_the_first_that_is_no_good_with_its_reason() -> None:
    look = judged(status(applied(), a=model("rolled_back", "not finite"), b=model("probation")), NOW, None)
    assert look == Glimpse(("a: rolled_back: not finite; 1.0.0 (c5e0e825) serves",), 1)
    nothing = ModelStatus("rejected", None, None, "damaged")
    assert judged(status(applied(), a=nothing), NOW, "a") == Glimpse(("a: rejected: damaged; no model serves",), 1)


def test_it_waits_until_the_file_has_been_read_as_it_is_now() -> None:
    for config in (None, applied(OTHER), ConfigStatus("rejected", OTHER, TS, ("bad",))):
        look = judged(status(config, a=model("active")), NOW, None)
        assert look == Glimpse((f"the daemon has not read the current configuration yet ({NOW[:8]})",))


def test_a_rejected_configuration_ends_it() -> None:
    look = judged(status(ConfigStatus("rejected", NOW, TS, ("config.yaml:3: bad",)), a=model("active")), NOW, None)
    assert look.code == 2
    assert look.lines == (
        "config.yaml:3: bad",
        ("edge-infer: the configuration is rejected; the previous one stays active"),
    )


def test_a_model_that_is_not_there_is_a_wrong_question() -> None:
    with pytest.raises(ConfigError, match="no pipeline has a model b; there are a"):
        judged(status(applied(), a=model("active")), NOW, "b")


def test_it_waits_for_an_engine_that_is_started_again() -> None:
    """What it would say of the models is not known then: not that there are none, and not that all are active."""
    for name in (None, "a"):
        assert judged(replace(status(applied()), boot=None), NOW, name) == Glimpse(("the engine is starting",))
