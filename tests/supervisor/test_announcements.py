"""What an engine or a reader reports leaves on ``info`` and ``model/NAME`` as rarely as the bound counts."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import ChannelBound, ModelStatus, ShadowStatus
from edge_infer.ipc.messages import ReaderReport
from edge_infer.plan.channel_bound import device_bound
from edge_infer.plan.device_limits import (
    CHANGES_AT_ONCE,
    CHANGES_EVERY,
    FIGURES_EVERY,
    INFO_AT_ONCE,
    INFO_EVERY,
    SAID_BITS,
    SAID_EVERY,
    announcement_bound,
)
from edge_infer.plan.records import CropsPlan, MqttPlan, Plan, ShadowPlan
from edge_infer.publisher.allowed_texts import CALLS, closed, most_bits
from edge_infer.sandbox import selftest
from edge_infer.sandbox.fence import Fence
from edge_infer.supervisor import daemon as daemon_module
from edge_infer.supervisor.daemon import Daemon, _bound
from edge_infer.supervisor.processes.sandbox_reports import SandboxReports
from edge_infer.supervisor.rollout.shadows import Figures
from tests.engine.plans import pipeline
from tests.publisher.samples import engine_report
from tests.publisher.test_admission import configured

MQTT = MqttPlan("127.0.0.1", 1883, None, None, None, "edge-infer/box", 1, "box")
PLAN = Plan("0" * 64, "box", "/nowhere", MQTT, (), (pipeline(),))
MINUTES = 10


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def child(name: str = "engine", started: float = 1.0) -> Any:
    return SimpleNamespace(recipe=SimpleNamespace(name=name), started=started)


def walls(number: int) -> dict[str, str]:
    names = [name for bit, name in enumerate(CALLS["no_tracing"]) if number >> bit & 1] or ["ptrace"]
    return {"no_tracing": f"not enforced: the kernel lets through {', '.join(names)}"}


def test_a_process_says_what_its_sandbox_is_once_after_its_start() -> None:
    clock = Clock()
    reports = SandboxReports(clock)
    engine = child()
    first = replace(engine_report(), sandbox=walls(1), runtime="ai-edge-litert 2.1.0")
    assert reports.settled(engine, first) == first
    later = reports.settled(engine, replace(first, sandbox=walls(2), runtime="ai-edge-litert 7.7.7", kept=9))
    assert (later.sandbox, later.runtime, later.kept) == (walls(1), "ai-edge-litert 2.1.0", 9)
    reader = child("reader cam")
    assert reports.settled(reader, ReaderReport(0.0, 1, sandbox=walls(3))).sandbox == walls(3)
    assert reports.settled(reader, ReaderReport(0.0, 2, sandbox=walls(4))).sandbox == walls(3)
    assert reports.published("reader cam") == walls(3)


def test_a_process_that_starts_again_by_itself_says_something_else_once_an_hour() -> None:
    clock, engine = Clock(), child()
    reports, left = SandboxReports(clock), set()
    for number in range(1, 15):
        engine.started += 1.0
        clock.now += SAID_EVERY / 7
        said = replace(engine_report(), sandbox=walls(number), runtime=f"ai-edge-litert {number}.0")
        assert reports.settled(engine, said).sandbox == walls(number), "`status` shows it at once"
        left.add((dumps(reports.published("engine")), reports.runtime()))
    assert len(left) <= 1 + 2
    reports.renew("engine")
    engine.started += 1.0
    reports.settled(engine, replace(engine_report(), sandbox=walls(5)))
    assert reports.published("engine") == walls(5), "the supervisor had it started again"


def test_info_follows_once_a_minute(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Control: it follows a new plan at once."""
    clock = Clock()
    monkeypatch.setattr(daemon_module.time, "monotonic", clock)
    daemon = Daemon(tmp_path / "config.yaml", "info")
    said: list[str] = []
    monkeypatch.setattr(daemon._house, "announce", lambda topic, _: said.append(topic))
    monkeypatch.setattr(daemon_module, "standing", lambda *_: {"pets": ModelStatus("active", "1", "abababab")})
    report = replace(engine_report(), digest=PLAN.digest)
    daemon._swap.plan = PLAN
    for number in range(60 * MINUTES):
        clock.now += 1.0
        daemon._house.heard.engine = replace(report, boot=f"{number:012x}")
        daemon._announce()
    assert said.count("info") <= 1 + INFO_AT_ONCE + 60 * MINUTES / INFO_EVERY
    before = said.count("info")
    daemon._swap.plan = replace(PLAN, device="other")
    daemon._announce()
    assert said.count("info") == before + 1
    daemon._house.close()


def test_calls_that_are_let_through_have_one_order_and_belong_to_the_rule() -> None:
    through = "not enforced: the kernel lets through "
    said = closed({
        "no_tracing": f"{through}pidfd_getfd, ptrace, ptrace, pidfd_getfd",
        "no_swap": f"{through}ptrace",
        "no_network": f"engine: {through}bind, socket; reader cam: enforced",
        "files": "not enforced: 0x3f is left",
        "no_capabilities": "not enforced: 0x3f is left",
    })  # fmt: skip
    assert said == {
        "no_tracing": f"{through}ptrace, pidfd_getfd",
        "no_swap": "not enforced: edge-infer doctor shows why",
        "no_network": f"engine: {through}socket, bind; reader cam: enforced",
        "files": "not enforced: edge-infer doctor shows why",
        "no_capabilities": "not enforced: 0x3f is left",
    }
    assert closed(said) == said
    assert 100 < most_bits() + 40 < SAID_BITS, "with the runtime"


def test_each_call_that_a_process_tries_is_known() -> None:
    rooms: Any = ("engine", "publisher", "reader", "config", "probe")
    for room in rooms:
        for network in (False, True):
            tried = selftest._calls(room, Fence(), network=network)
            for wall, calls in tried.items():
                assert {name for name, _ in calls} <= set(CALLS[wall]), wall
    assert {name for name, _ in selftest._signal_calls()} <= set(CALLS["no_signals"])


def published(statuses: list[ModelStatus], seconds: float, decided: Any = lambda number: None) -> list[ModelStatus]:
    """Return what leaves if an engine reports these in turn, in steps of so many seconds."""
    figures, found = Figures(), []
    for number, status in enumerate(statuses):
        told = figures.settled("pets", status, 1000.0 + number * seconds, decided(number))
        if not found or found[-1] != told:
            found.append(told)
    return found


def test_an_engine_that_reports_another_model_each_time_is_told_of_rarely() -> None:
    flips = [ModelStatus(("active", "staging")[n % 2], "1", ("abababab")) for n in range(20 * 60 * MINUTES)]  # type: ignore[arg-type]
    allowed = CHANGES_AT_ONCE + 60 * MINUTES / CHANGES_EVERY + 1
    assert 2 < len(published(flips, 0.05)) <= allowed + 1
    assert len(published(flips, 0.05, decided=lambda number: number)) <= 2 * allowed + 1
    swap = [ModelStatus(state, "1", "abababab") for state in ("active", "staging", ("probation"), "active")]  # type: ignore[arg-type]
    assert published(swap, 0.5) == swap, "a swap is told of at once"


def test_figures_have_few_digits_and_wait_for_their_time() -> None:
    draw = random.Random(3)

    def shadow() -> ShadowStatus:
        frames, skipped, errors = (2**52 + draw.getrandbits(50) for _ in range(3))
        agreed, matched = (round(draw.random(), 4) for _ in range(2))
        ratio = draw.random() * 2**60 + 2**60
        return ShadowStatus(
            "next", "cdcdcdcd", "running", frames, skipped, errors, agreed, matched, difference=ratio, latency=ratio
        )

    statuses = [ModelStatus("active", "1", "abababab", shadow={"door": shadow()}) for _ in range(20 * 60 * MINUTES)]
    left = published(statuses, 0.05)
    assert len(left) <= 1 + 60 * MINUTES / FIGURES_EVERY
    figures = [status.shadow["door"] for status in left if status.shadow]
    assert {(each.frames, each.difference, each.latency) for each in figures} == {(10**9, 1000.0, 1000.0)}
    assert len({each.agreement for each in figures}) > 1
    exact = replace(figures[0], frames=97, skipped=1234, difference=0.0123, latency=1.26)
    told = Figures().settled("pets", replace(left[0], shadow={"door": exact}), 0.0).shadow
    assert told
    found = told["door"]
    assert (found.frames, found.skipped, found.difference, found.latency) == (97, 1200, 0.012, 1.3)


def test_the_bound_counts_what_is_announced() -> None:
    one = PLAN.pipelines[0]
    compared = replace(PLAN, pipelines=(replace(one, shadow=ShadowPlan(replace(one.model, name="next"), 0.5)),))
    rate, burst = announcement_bound(PLAN)
    more, at_once = announcement_bound(compared)
    assert 0.05 < rate < 0.25
    assert rate + 0.2 < more < 1.0
    assert 0 < burst < at_once < 1000
    limited = replace(PLAN, pipelines=(replace(one, publish="off", events=None),))
    bound = device_bound(limited)
    assert bound.bytes_per_second is None or bound.bytes_per_second > rate


def test_a_plan_with_impossible_numbers_has_no_bound_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """A compromised trial of a model may have answered with them."""
    made = configured(fps=2.0)
    (door,) = made.pipelines
    model = replace(door.model, task="classification", labels=())
    assert _bound(replace(made, pipelines=(replace(door, model=model, labels=None),))) == ChannelBound(None)
    assert "cannot calculate the bound" in caplog.text


def test_a_tower_of_cascades_has_no_bound_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    (door,) = configured(fps=2.0).pipelines
    tower = (door, *(replace(door, name=f"{n}", crops=CropsPlan(f"{n - 1}" if n else door.name)) for n in range(3000)))
    assert _bound(replace(configured(fps=2.0), pipelines=tower)) == ChannelBound(None)
    assert "so `channel.bytes_per_second` in the message `info` is null: maximum recursion depth" in caplog.text


def test_what_cannot_be_announced_ends_nothing_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def standing(*_: object) -> None:
        raise KeyError("pets")

    daemon = Daemon(tmp_path / "config.yaml", "info")
    monkeypatch.setattr(daemon_module, "standing", standing)
    daemon._swap.plan = PLAN
    daemon._house.heard.engine = replace(engine_report(), digest=PLAN.digest)
    for _ in range(3):
        daemon._announce_safely()
    assert caplog.text.count("cannot publish info") == 1
    daemon._house.close()
