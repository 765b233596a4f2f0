"""Models are tried in a child: whatever a file does to it, the parent gets a sentence and goes on."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.errors import ModelError, StartError
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import Probe, probe, probe_all
from edge_infer.plan.records import ModelPlan

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
FACES = "derived_blazeface_full_range_192_int8.tflite"
ASTRONAUT = "{label: face, box: [0.34, 0.13, 0.54, 0.34]}"

# Decoders of another package that do to their process what a damaged file may do to it.
PLUGIN = """
import os, signal, sys
from edge_infer.plan.records import InputPlan, NmsPlan

class Calm:
    task, input, nms, classes = "detection", InputPlan(mean=(0.0,), std=(255.0,)), NmsPlan(), 0
    recognise = staticmethod(lambda inputs, outputs: None)

class Crash(Calm):
    def __init__(self, layout):
        os.kill(os.getpid(), signal.SIGSEGV)

class Kill(Calm):
    def __init__(self, layout):
        os.kill(os.getpid(), signal.SIGKILL)

class Spin(Calm):
    def __init__(self, layout):
        while True:
            pass

class Sleep(Calm):
    def __init__(self, layout):
        signal.pause()

class Eat(Calm):
    def __init__(self, layout):
        self.food = bytearray(4 << 30)

class Leave(Calm):
    def __init__(self, layout):
        print("i do not want to", file=sys.stderr)
        os._exit(7)

class Content(Calm):
    def __init__(self, layout):
        print("INFO: all is well", file=sys.stderr)
        os._exit(7)

class Close(Calm):
    def __init__(self, layout):
        print("my lips are sealed", file=sys.stderr, flush=True)
        os.closerange(3, 100)
        signal.pause()

class Fail(Calm):
    def __init__(self, layout):
        {}["nose"]

class Chat(Calm):
    def __init__(self, layout):
        os.write(1, b"INFO: on standard output\\n" * 9)
        os.write(2, b"INFO: on standard error\\n" * 90000)
        self.classes = 1
    def __call__(self, tensors):
        raise NotImplementedError
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the decoders of `PLUGIN` for child processes, as another package would bring them."""
    folder = tmp_path / "site"
    (folder / "trouble-1.0.dist-info").mkdir(parents=True)
    (folder / "trouble.py").write_text(PLUGIN)
    (folder / "trouble-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n")
    names = ("Crash", "Kill", "Spin", "Sleep", "Eat", "Leave", "Content", "Close", "Fail", "Chat")
    entries = "".join(f"{name.lower()} = trouble:{name}\n" for name in names)
    (folder / "trouble-1.0.dist-info" / "entry_points.txt").write_text(f"[edge_infer.decoders]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.fixture
def package(tmp_path: Path, assets: Path) -> Path:
    """A package of the face model with a golden input; its manifest is for the test to write."""
    folder = tmp_path / "faces"
    folder.mkdir()
    shutil.copyfile(assets / "models" / FACES, folder / FACES)
    shutil.copyfile(assets / "images" / "astronaut.png", folder / "astronaut.png")
    shutil.copyfile(assets / "images" / "cat.bmp", folder / "cat.bmp")
    return folder


def describe(package: Path, more: str) -> ModelRequest:
    (package / "manifest.yaml").write_text(f"name: faces\nversion: 1.0.0\nfile: {FACES}\nlabels: [face]\n{more}")
    return ModelRequest("faces", str(package))


def test_the_shipped_package_holds_what_it_promises() -> None:
    plan = probe(ModelRequest("faces", str(SHIPPED)))
    assert plan.title == "face-detect@1.0.0"
    assert plan.labels == ("face",)


def test_a_process_that_began_early_tries_the_first_model_and_is_gone_then(tmp_path: Path) -> None:
    with Probe() as child:
        child.begin()
        began = _pid(child)
        found = child.examine(ModelRequest("m", str(SHIPPED)), tmp_path / "here").plan
        assert Path(found.path).parent == tmp_path / "here"
        assert child.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(began, 0)


def test_without_a_store_nothing_is_copied(tmp_path: Path) -> None:
    with Probe() as child:
        assert Path(child.examine(ModelRequest("m", str(SHIPPED))).plan.path).parent == SHIPPED
    assert list(tmp_path.iterdir()) == []


def _pid(child: Probe) -> int:
    assert child.pid is not None
    return child.pid


def test_many_are_tried_and_each_has_its_outcome(assets: Path, tmp_path: Path) -> None:
    names = [FACES, "person_detect.tflite", "yolov8n_full_integer_quant_224.tflite", "ad01_int8.tflite"]
    requests = [ModelRequest(f"m{index}", str(assets / "models" / name)) for index, name in enumerate(names)]
    with Probe() as child:
        outcomes = probe_all(requests, child, tmp_path / "store")
    assert [type(outcome) for outcome in outcomes] == [ModelPlan, ModelError, ModelPlan, ModelError]
    assert "tensor 33" in str(outcomes[1])
    plans = [outcome for outcome in outcomes if isinstance(outcome, ModelPlan)]
    assert [Path(plan.path).parent for plan in plans] == [tmp_path / "store"] * 2


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        ("crash", r"the model crashed the interpreter \(SIGSEGV\); it is damaged or needs a newer runtime"),
        ("kill", r"was killed by SIGKILL \(if nobody sent it, the kernel did for lack of memory: .*\); .*: try again"),
        ("spin", "does not finish|did not finish within 5 s"),
        ("sleep", "did not finish within 5 s; it is damaged or too large for this board"),
        ("eat", "needs more memory than a model may have here"),
        ("leave", "ended with code 7. Its last line of output: i do not want to"),
        ("content", "ended with code 7[^:]*$"),
        ("close", "gave no answer and was stopped. Its last line of output: my lips are sealed"),
        ("fail", "KeyError: 'nose'"),
        ("chat", "NotImplementedError"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_whatever_happens_to_the_child_the_parent_goes_on(assets: Path, decoder: str, words: str) -> None:
    path = str(assets / "models" / FACES)
    with Probe(timeout=5.0) as child:
        child.examine(ModelRequest("m", path))  # so that the time for a start is not part of the next
        with pytest.raises(ModelError, match=words) as caught:
            child.examine(ModelRequest("m", path, decoder=decoder))
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.tried == (decoder not in {"kill", "eat", "fail", "chat"}), "or the machine may be at fault"
        assert child.examine(ModelRequest("m", path)).plan.decoder.kind == "blazeface"


def test_mutated_models_cost_a_message_at_most(assets: Path, tmp_path: Path) -> None:
    sound = (assets / "models" / "hello_world_int8.tflite").read_bytes()
    chance = random.Random(20261125)
    with Probe(timeout=10.0) as child:
        for number in range(30):
            data = bytearray(sound)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path = tmp_path / f"{number}.tflite"
            path.write_bytes(data)
            outcome = child.outcome(ModelRequest("m", str(path)))
            assert isinstance(outcome, ModelError)  # no decoder is for this model, whole or not
            assert str(outcome).startswith(f"{path}: ")


def test_golden_inputs_must_hold(package: Path) -> None:
    golden = f"golden:\n- {{input: astronaut.png, expect: [{ASTRONAUT}]}}\n- {{input: cat.bmp, expect: []}}\n"
    assert probe(describe(package, golden)).labels == ("face",)
    for wrong, words in [
        (
            "[{label: face, box: [0.6, 0.6, 0.9, 0.9]}]",
            r"face at \[0.60, 0.60, 0.90, 0.90\] .* but found face at \[0.3",
        ),
        ("[{label: nose}]", "expected nose in this golden input, but found face at"),
        ("[]", "expected nothing in this golden input, but found face at"),
    ]:
        with pytest.raises(ModelError, match=words):
            probe(describe(package, f"golden: [{{input: astronaut.png, expect: {wrong}}}]\n"))
    for wrong, words in [
        ("none.png", "golden input .*none.png cannot be read: No such file"),
        (FACES, "not a readable picture"),
    ]:
        with pytest.raises(ModelError, match=words):
            probe(describe(package, f"golden: [{{input: {wrong}, expect: []}}]\n"))


def test_golden_inputs_speak_of_the_package_not_of_a_request(package: Path) -> None:
    request = describe(package, f"golden: [{{input: astronaut.png, expect: [{ASTRONAUT}]}}]\n")
    plan = probe(ModelRequest("m", request.file, labels=("head",), threshold=0.999))
    assert (plan.labels, plan.threshold) == (("head",), 0.999)


def test_a_budget_must_hold(package: Path) -> None:
    assert probe(describe(package, "budget: {latency: 10s, memory: 500M}\n")).title == "faces@1.0.0"
    with pytest.raises(ModelError, match=r"takes [0-9.]+ MiB of memory here; its budget.memory is 1.0 MiB"):
        probe(describe(package, "budget: {memory: 1M}\n"))


def test_without_a_runtime_it_is_the_machine_that_lacks_something(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not for this processor')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StartError, match=r"no interpreter for TFLite models works here .* pip install ai-edge-litert"):
        probe(ModelRequest("m", str(assets / "models" / FACES)))


def test_a_large_order_passes(assets: Path) -> None:
    labels = tuple(f"class {number:0100d}" for number in range(15_000))
    with pytest.raises(ModelError, match=r"15000 labels .* for 1 classes"):
        probe(ModelRequest("m", str(assets / "models" / FACES), labels=labels))


def test_a_store_that_cannot_be_written_is_the_machines_fault(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StartError, match=r"model store .* cannot be written"):
        probe(ModelRequest("m", str(assets / "models" / FACES)), tmp_path / "store")


def test_the_parent_stays_small() -> None:
    code = (
        "import sys, edge_infer.models.trials.probe\n"
        "print(sorted({'numpy', 'cv2', 'pydantic', 'yaml', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_closing_ends_the_child_and_may_be_done_twice() -> None:
    child = Probe()
    child.begin()
    pid = _pid(child)
    child.close()
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_room_for_a_child_is_the_machines_fault() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with Probe() as child, pytest.raises(StartError, match="cannot start a process that tries models"):
            child.begin()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_daemon_with_limits_of_its_own_tries_models_within_them(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    begin = f"device: {{state_dir: {tmp_path}}}\nmqtt: {{host: broker.lan}}\nsources: {{}}\npipelines: {{}}\n"
    file.write_text(f"{begin}models: {{faces: {{file: {SHIPPED}/face_full_range_int8.tflite}}}}\n")
    limits = (f"--as={8 << 30}", "--cpu=600", f"--fsize={1 << 20}", "--nofile=48")
    command = ["prlimit", *limits, sys.executable, "-m", "edge_infer.config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert '"problems":[]' in done.stdout, done.stdout + done.stderr
