"""A model on trial: what it costs, and whether it says anything of what it sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import Probe, probe, probe_all
from tests.engine.sounds import MACHINE, MANIFESTS, SINE, put
from tests.moody import Mood, write_model

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"


def test_what_it_costs_goes_with_the_plan_and_makes_no_other_model_of_it() -> None:
    with Probe() as child:
        plans = [child.examine(ModelRequest("faces", str(SHIPPED))).plan for _ in range(2)]
    one, other = (plan.measured for plan in plans)
    assert plans[0] == plans[1]
    assert one.latency is not None
    assert other.latency is not None
    assert 0 < one.latency < 5
    assert one.memory is not None
    assert other.memory is not None
    assert 1 << 20 < one.memory < 64 << 20  # the runtime, which the first model loads, is none of its own
    assert other.memory > one.memory // 2  # neither does memory of the model before hide what this one takes
    assert one.budget is None


@pytest.mark.parametrize(
    ("mood", "since", "words"),
    [
        ("nan", 1, "scores has values that are not finite|not finite"),
        ("nan", 8, "its output scores has values that are not finite; it is damaged"),
        ("constant", 1, "its outputs are the same, bit by bit, for 20 different inputs; it is damaged"),
    ],
)
def test_a_model_that_says_nothing_is_refused(tmp_path: Path, mood: Mood, since: int, words: str) -> None:
    file = write_model(tmp_path / "m.tflite", mood, since)
    with pytest.raises(ModelError, match=words):
        probe(ModelRequest("m", str(file)))


def test_what_begins_later_is_for_the_probation(tmp_path: Path) -> None:
    moods: tuple[Mood, ...] = ("good", "nan", "constant", "slow", "hang")
    files = [write_model(tmp_path / f"{mood}.tflite", mood) for mood in moods]
    with Probe() as child:
        outcomes = probe_all([ModelRequest("m", str(file)) for file in files], child)
    assert [getattr(outcome, "title", str(outcome)) for outcome in outcomes] == [f"{mood}@1.0.0" for mood in moods]


def test_a_model_that_hangs_while_it_is_tried_costs_its_time_only(tmp_path: Path) -> None:
    hanging = write_model(tmp_path / "hang.tflite", "hang", 3)
    with Probe(timeout=3.0) as child:
        child.examine(ModelRequest("m", str(SHIPPED)))
        with pytest.raises(ModelError, match=r"does not finish|did not finish within 3 s"):
            child.examine(ModelRequest("m", str(hanging)))
        assert child.examine(ModelRequest("m", str(SHIPPED))).plan.title == "face-detect@1.0.0"


@pytest.mark.parametrize(
    "name",
    ["mww_alexa.tflite", "ad01_int8.tflite", "hello_world_int8.tflite", "openmv_fomo_face_detection.tflite"],
)
def test_models_in_order_that_say_little_pass(assets: Path, tmp_path: Path, name: str) -> None:
    """A wake word is 0 to all that is not the word, a quantized class map knows few values."""
    shutil.copyfile(assets / "models" / name, tmp_path / name)
    if name in MANIFESTS:
        (tmp_path / name).with_suffix(".yaml").write_text(MANIFESTS[name])
    assert probe(ModelRequest("m", str(tmp_path / name))).measured.memory is not None


def test_golden_values_and_anomalies_have_to_hold(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "quarter.csv").write_text("x\n1.5708\n")
    file = put(assets, tmp_path, SINE)
    manifest = file.with_suffix(".yaml")
    golden = "golden: [{input: quarter.csv, expect: [{label: sine, between: BETWEEN}]}]\n"
    manifest.write_text(MANIFESTS[SINE] + golden.replace("BETWEEN", "[0.9, 1.1]"))
    assert probe(ModelRequest("m", str(file))).task == "regression"
    manifest.write_text(MANIFESTS[SINE] + golden.replace("BETWEEN", "[-0.1, 0.1]"))
    with pytest.raises(ModelError, match=r"expected sine between -0.1 and 0.1 in .*, but found sine (0.9|1)"):
        probe(ModelRequest("m", str(file)))
    (tmp_path / "still.csv").write_text("".join(",".join(["-40"] * 128) + "\n" for _ in range(8)))
    machine = put(assets, tmp_path, MACHINE)
    found = []
    for state in ("normal", "anomalous"):
        text = f"{MANIFESTS[MACHINE]}golden: [{{input: still.csv, expect: [{{label: {state}}}]}}]\n"
        machine.with_suffix(".yaml").write_text(text)
        with Probe() as child:
            found.append(str(child.outcome(ModelRequest("m", str(machine)))))
    assert sum("expected " in text and " in this golden input, but found" in text for text in found) == 1, found


LIMITS = """
import os, sys
from pathlib import Path
from edge_infer.models.trials.child_main import limit
from edge_infer.platform.child_process import go_first
from edge_infer.models.packages.package import find_package
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.trial import try_model
request, package = ModelRequest("m", sys.argv[1]), find_package(Path(sys.argv[1]))
try_model(request, package)  # imports all there is, from where the other user may not look
go_first()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
limit(package.file.stat().st_size, 30.0)
print(open("/proc/self/oom_score_adj").read().strip(), try_model(request, package).plan.title)
for act in (os.fork, lambda: [open("/dev/null") for _ in range(100)], lambda: bytearray(3 << 30)):
    try:
        print(act())
    except (OSError, MemoryError) as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_who_tries_models_has_little_to_work_with() -> None:
    """The user is one who is nobody's, because processes of root are not counted."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITS, str(SHIPPED)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == [
        "1000 face-detect@1.0.0",
        "BlockingIOError [Errno 11] Resource temporarily unavailable",
        "OSError [Errno 24] Too many open files: '/dev/null'",
        "MemoryError ",
    ], done.stderr
