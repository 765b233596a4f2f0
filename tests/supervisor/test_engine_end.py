"""How an engine ends, and what it says then, leaves the device in fixed phrases: it may choose both."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import ModelStatus
from edge_infer.errors import LONGEST_SENTENCE
from edge_infer.ipc.channel import MAX_REPORT_BYTES, Channel
from edge_infer.ipc.messages import EngineReport
from edge_infer.supervisor.processes.child import pair
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.redaction import EngineWords
from edge_infer.supervisor.rollout.crash_loops import (
    CRASH_LOOP_DEATHS,
    CrashLoopDetector,
    EngineDeath,
    PipelineQuarantine,
    told_death,
)
from tests.attacker import attacking
from tests.broker import Broker, Subscriber, eventually
from tests.engine.plans import pipeline
from tests.moody import write_model
from tests.running import Daemon
from tests.supervisor.test_shadow import CONFIG, P
from tests.supervisor.test_slots import plan

CHOSEN = "aW1hZ2UtYW5kLW1vcmU"
DOORS = [replace(pipeline(), name=name) for name in ("door", "yard", "hall", "gate")]
PLAN = plan(*DOORS)
HIDDEN = "edge-infer status shows why"


@pytest.fixture
def house() -> Iterator[ProcessSupervisor]:
    found = ProcessSupervisor("info")
    found._plan = PLAN
    yield found
    found._plan = None
    found.close()


def dies(house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, status: int = -signal.SIGKILL) -> EngineDeath:
    """Return the death of the engine, which the supervisor hears and which then ends."""
    statuses = iter([status])
    monkeypatch.setattr(house.engine, "ended", lambda: next(statuses, None))
    (death,) = house.serve()
    return death


def reported(*stuck: str) -> EngineReport:
    return EngineReport("abcdef", "", {}, {}, {}, stuck=stuck)


def leaves(death: EngineDeath) -> str:
    """Return what leaves the device about a pipeline that is held back after this death."""
    deaths, holds = CrashLoopDetector(), PipelineQuarantine()
    (loop,) = filter(None, [deaths.add(death) for _ in range(CRASH_LOOP_DEATHS)])
    holds.hold(DOORS[:1], f"{loop.how},")
    reason = holds.held(PLAN)["door"]
    assert len(reason) <= LONGEST_SENTENCE
    return str(EngineWords().outward(ModelStatus("rejected", None, None, reason)).reason)


def test_an_engine_that_is_stuck_is_told_of_with_names_of_the_plan(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.heard.engine = reported(*(f"{CHOSEN}{number}" for number in range(300)), "yard", "door")
    told = leaves(dies(house, monkeypatch))
    assert told.startswith("the engine is stuck in door, yard and was killed, 3 times within 60 s, while door was at")
    house.heard.engine = reported(*(each.name for each in DOORS))
    assert "is stuck in door, yard, hall and others and" in leaves(dies(house, monkeypatch))
    house.heard.engine = reported(CHOSEN)
    assert "is stuck in a pipeline and" in leaves(dies(house, monkeypatch))
    assert CHOSEN not in caplog.text
    assert house.heard.trouble is not None
    assert CHOSEN not in house.heard.trouble.text


@pytest.mark.parametrize("record", [f'{{"{CHOSEN}":{{}}}}', f'{{"EngineReport":{{"{CHOSEN}":1}}}}', CHOSEN])
def test_an_invalid_record_is_quoted_on_the_device_alone(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, record: str
) -> None:
    ours, theirs = pair()
    house.engine.channel = Channel(ours, house.engine.recipe.accepts, MAX_REPORT_BYTES)
    os.write(theirs, b"\0" + record.encode())
    os.close(theirs)
    death = dies(house, monkeypatch)
    assert house.heard.trouble is not None
    assert death.how in house.heard.trouble.text, "`status` shows it"
    assert leaves(death).startswith(f"the engine sends an invalid record ({HIDDEN}) and was killed, 3 times within")


@pytest.mark.parametrize("status", [0, 77, 255])
def test_an_exit_code_stays_on_the_device(
    house: ProcessSupervisor, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    death = dies(house, monkeypatch, status)
    assert death.how == f"engine ended by itself («exit code {status}»)"
    assert leaves(death).startswith(f"the engine ended by itself ({HIDDEN}), 3 times within 60 s")


def test_known_signals_are_told_and_others_are_not() -> None:
    hint = " (if nobody sent it, the kernel did for lack of memory)"
    for known in ("SIGSEGV", "SIGKILL", f"SIGKILL{hint}"):
        assert told_death(f"engine was killed by {known}", ()) == f"engine was killed by {known}"
    for other in ("SIGUSR1", "signal 45", "SIGSEGV77", "SIGKILL («x»)"):
        assert leaves(EngineDeath(told_death(f"engine was killed by {other}", ()), frozenset(), True)).startswith(
            f"the engine ended ({HIDDEN})"
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("engine sent no heartbeat for 17 s and was killed", "engine sent no heartbeat and was killed"),
        ("engine sends more than 50 records a second and was killed", None),
        ("engine has been loading pets for 60 s and was killed", None),
        ("engine has computed one frame of pets for more than 2.5 s and was killed", None),
        ("engine is stuck in door, yard and others and was killed", None),
    ],
)
def test_each_end_that_the_supervisor_brings_about_is_told(text: str, told: str | None) -> None:
    names = {"pets", "door", "yard"}
    assert told_death(text, names) == (told or text)
    strange = text.replace("pets", CHOSEN).replace("yard", CHOSEN)
    if strange != text:
        assert told_death(strange, names) == f"engine ended («{strange}»)"


RECORD = f"""
import os, time
time.sleep(8)
os.write(option("--control"), b'\\0{{"{CHOSEN}":{{}}}}')
time.sleep(60)
"""
STUCK = f"""
import os, sys, time
time.sleep(8)
boot = sys.orig_argv[sys.orig_argv.index("--boot") + 1]
names = ",".join(f'"{CHOSEN}{{n}}"' for n in range(20))
report = '{{"EngineReport":{{"boot":"' + boot + '","digest":"","pipelines":{{}},"sources":{{}},"running":{{}},"stuck":['
os.write(option("--control"), b"\\0" + (report + names + "]}}}}").encode())
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (RECORD, f"the engine sends an invalid record ({HIDDEN}) and was killed while it was a shadow"),
        (STUCK, "the engine is stuck in a pipeline and was killed while it was a shadow"),
    ],
    ids=["record", "stuck"],
)
def test_a_compromised_engine_publishes_no_text_about_its_end(
    tmp_path: Path, broker: Broker, subscriber: Subscriber, code: str, told: str
) -> None:
    box = tmp_path / "box"
    box.mkdir()
    for name, gain in (("light", 1.0), ("next", 0.9)):
        write_model(box / f"{name}.tflite", gain=gain)
    with attacking(box, {"edge_infer.engine": code}), Daemon(box, CONFIG.format(port=broker.port)) as daemon:

        def reason() -> str:
            heard = subscriber.last(f"{P}/model/light")
            shadow = heard.value.get("shadow", {}).get("hall", {}) if heard is not None else {}
            return str(shadow.get("reason", ""))

        eventually(lambda: reason() == told, lambda: f"{reason()}; the log: {daemon.log.read_text()[-3000:]}", 90)
        assert CHOSEN.encode() not in b"".join(heard.payload for heard in list(subscriber.heard))
        if code is RECORD:
            assert CHOSEN in daemon.log.read_text()
