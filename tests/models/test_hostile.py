"""A model whose code has taken over the process that tries it: it reads nothing, and speaks for itself only.

Decoders of another package stand in for such code: they run in that process, with all that it has.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.errors import ModelError
from edge_infer.models.packages.package import canonical, parsed
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.checked_package import CheckedPackage
from edge_infer.models.trials.probe import Probe, probe, probe_all
from edge_infer.plan.records import ModelPlan

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
FILE = "face_full_range_int8.tflite"

PLUGIN = '''
"""Decoders that do what a model could do to the process that tries it."""

import json
import os
import sys
import threading

from pathlib import Path

from edge_infer.contract.codec import replace
from edge_infer.plan.records import FurtherInput, Measured, SignalPlan, TextPlan
from edge_infer.engine.decoders.blazeface import BlazeFace

TARGET = Path(os.environ.get("TROUBLE_TARGET", "/nowhere"))


def tried():
    """What of the machine can be reached, by name."""

    def attempt(act):
        try:
            act()
        except OSError:
            return False
        return True

    return {
        "secret": attempt(lambda: (TARGET / "secret").read_bytes()),
        "neighbour": attempt(lambda: (TARGET / "neighbour").read_bytes()),
        "folder": attempt(lambda: os.listdir(TARGET)),
        "accounts": attempt(lambda: Path("/etc/passwd").read_bytes()),
        "write": attempt(lambda: (TARGET / "blobs" / "loot").write_bytes(b"x")),
        "parent": attempt(lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes()),
    }


class Look(BlazeFace):
    recognise = staticmethod(lambda inputs, outputs: None)

    def __init__(self, layout):
        raise ValueError(json.dumps(tried()))


class Words(BlazeFace):
    """Its error looks like the outcome of the command in its further lines."""

    recognise = staticmethod(lambda inputs, outputs: None)

    def __init__(self, layout):
        from edge_infer.errors import ModelError

        raise ModelError("damaged\\nfaces@1.0.0 is in the store now: /models\\redge-infer: all is well\\nfaces@1.0.0")


class Poison(BlazeFace):
    """Whoever asks in this process again gets another answer."""

    recognise = staticmethod(lambda inputs, outputs: None)

    def __init__(self, layout):
        super().__init__(layout)
        import edge_infer.models.trials.trial as trial

        honest = trial.try_model

        def poisoned(*question):
            found = honest(*question)
            return replace(found, plan=replace(found.plan, labels=("the-broker-password",)))

        trial.try_model = poisoned


FORGED = {
    "name": lambda plan: replace(plan, name="other"),
    "title": lambda plan: replace(plan, title="other@9.9.9"),
    "version": lambda plan: replace(plan, version="9.9.9"),
    "sha256": lambda plan: replace(plan, sha256="0" * 64),
    "path": lambda plan: replace(plan, path=str(TARGET / "neighbour")),
    "task": lambda plan: replace(plan, task="pose"),
    "kind": lambda plan: replace(plan, decoder=replace(plan.decoder, kind="blazeface")),
    "code": lambda plan: replace(plan, decoder=replace(plan.decoder, target="os:system")),
    "decoder file": lambda plan: replace(
        plan, decoder=replace(plan.decoder, options={**plan.decoder.options, "anchors_file": str(TARGET / "secret")})
    ),
    "labels": lambda plan: replace(plan, labels=("the-broker-password",)),
    "no labels": lambda plan: replace(plan, labels=()),
    "threshold": lambda plan: replace(plan, threshold=0.0),
    "nms": lambda plan: replace(plan, nms=replace(plan.nms, max=99)),
    "outputs": lambda plan: replace(plan, outputs=("x",)),
    "state": lambda plan: replace(plan, state=(("x", "y"),)),
    "vocabulary": lambda plan: replace(plan, input=TextPlan("regex", str(TARGET / "secret"), "0" * 64, 8)),
    "second vocabulary": lambda plan: replace(
        plan, further=(FurtherInput("x", plan=TextPlan("regex", str(TARGET / "secret"), "0" * 64, 8)),)
    ),
    "color": lambda plan: replace(plan, input=replace(plan.input, color="bgr")),
    "resize": lambda plan: replace(plan, input=replace(plan.input, resize="crop")),
    "mean": lambda plan: replace(plan, input=replace(plan.input, mean=(0.0,))),
    "no mean": lambda plan: replace(plan, input=replace(plan.input, mean=None, std=None)),
    "std": lambda plan: replace(plan, input=replace(plan.input, std=(0.0,))),
    "signal": lambda plan: replace(plan, input=SignalPlan("raw")),
    "size": lambda plan: replace(plan, shapes=(("x", (1, 64, 64, 3)),)),
    "one more input": lambda plan: replace(plan, further=(FurtherInput("x", (1.0,)),)),
    "tiles": lambda plan: replace(plan, input=replace(plan.input, tiles=(10**200, 10**200))),
    "scaling": lambda plan: replace(plan, input=replace(plan.input, scaling="fast")),
    "border": lambda plan: replace(plan, input=replace(plan.input, border=10**30)),
    "overlaps": lambda plan: replace(plan, nms=replace(plan.nms, iou=-1e308)),
    "shapes": lambda plan: replace(plan, shapes=(("x", (10**12, 10**12)),)),
    "many inputs": lambda plan: replace(plan, further=tuple(FurtherInput(str(n), (1.0,)) for n in range(1000))),
    "entry": lambda plan: replace(plan, entry="0123456789abcdef"),
    "patience": lambda plan: replace(plan, measured=replace(plan.measured, load=1e9)),
    "budget": lambda plan: replace(plan, measured=replace(plan.measured, budget=1e9)),
    "long option": lambda plan: replace(
        plan, decoder=replace(plan.decoder, options={**plan.decoder.options, "x": "A" * (64 << 10)})
    ),
    "long plan": lambda plan: replace(plan, shapes=tuple((f"{n:030}", (1, 192, 192, 3)) for n in range(8000))),
    "nothing": lambda plan: plan,
}


class Forge(BlazeFace):
    """Gives an answer of its own to the question that was asked."""

    recognise = staticmethod(lambda inputs, outputs: None)

    def __init__(self, layout):
        super().__init__(layout)
        main = sys.modules["__main__"]
        honest = main.moved
        main.moved = lambda plan, place: FORGED[os.environ["TROUBLE_FORGE"]](honest(plan, place))
'''


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs the decoders of `PLUGIN`, and a folder with what they are after."""
    site, target = tmp_path / "site", tmp_path / "target"
    (site / "trouble-1.0.dist-info").mkdir(parents=True)
    (site / "trouble.py").write_text(PLUGIN)
    (site / "trouble-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n")
    entries = "".join(f"{name.lower()} = trouble:{name}\n" for name in ("Look", "Words", "Poison", "Forge"))
    (site / "trouble-1.0.dist-info" / "entry_points.txt").write_text(f"[edge_infer.decoders]\n{entries}")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    (target / "blobs").mkdir(parents=True)
    for name in ("secret", "neighbour"):
        (target / name).write_text("the-broker-password")
        (target / name).chmod(0o600)
    monkeypatch.setenv("TROUBLE_TARGET", str(target))
    return target


def package(folder: Path, more: str) -> ModelRequest:
    """A package of the shipped model, as its manifest says and ``more``."""
    folder.mkdir()
    shutil.copyfile(SHIPPED / FILE, folder / FILE)
    (folder / "labels.txt").write_text("face\n")
    manifest = f"name: faces\nversion: 1.0.0\nfile: {FILE}\nlabels: labels.txt\ntask: detection\nthreshold: 0.5\n{more}"
    (folder / "manifest.yaml").write_text(manifest)
    return ModelRequest("faces", str(folder))


def test_it_reaches_nothing_of_the_machine(trouble: Path, tmp_path: Path) -> None:
    code = "import json, trouble; print(json.dumps(trouble.tried()))"
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert all(json.loads(free.stdout).values())  # an unlocked process can do all of it
    (trouble / "blobs" / "loot").unlink()
    with pytest.raises(ModelError) as caught:
        probe(package(tmp_path / "faces", "decoder: look\n"), trouble / "blobs")
    found = json.loads(str(caught.value).partition("ValueError: ")[2])
    assert found == dict.fromkeys(found, False)
    assert os.listdir(trouble / "blobs") == []  # noqa: PTH208


@pytest.mark.parametrize("command", ["models add {} -c {}/config.yaml", "infer {} x.png"])
def test_no_line_of_its_errors_looks_like_one_of_the_command(
    trouble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (trouble / "config.yaml").write_text(
        "device: {state_dir: state}\nmodels: {m: {use: faces@1.0.0}}\nsources: {s: {kind: synthetic}}\n"
        "pipelines: {p: {source: s, model: m}}\n"
    )
    request = package(tmp_path / "faces", "decoder: words\n")
    code = main(command.format(request.file, trouble).split())
    out, err = capsys.readouterr()
    assert (code != 0, out) == (True, "")
    first, *further = err.split("\n")[:-1]
    assert first.startswith("edge-infer: ")
    assert first.endswith("damaged")
    assert further
    assert all(line.startswith("edge-infer:   ") for line in further)
    assert "\r" not in err


def test_it_does_not_answer_for_the_next_model(trouble: Path, tmp_path: Path) -> None:
    del trouble
    digest = hashlib.sha256((SHIPPED / FILE).read_bytes()).hexdigest()
    hostile = package(tmp_path / "hostile", "decoder: poison\n")
    pinned = ModelRequest("pinned", str(SHIPPED), sha256=digest)
    with Probe() as child:
        outcomes = probe_all([hostile, pinned], child)
    assert isinstance(outcomes[1], ModelPlan)
    assert outcomes[1].labels == ("face",)


FORGE = """\
decoder: forge
nms: {max: 50}
budget: {latency: 20s}
input: {color: rgb, resize: letterbox, mean: 127.5, std: 127.5, size: 192x192}
"""
FORGERIES = {
    "name": "name",
    "title": "package",
    "version": "package",
    "sha256": "file",
    "path": "file",
    "task": "task",
    "kind": "decoder",
    "code": "decoder",
    "decoder file": "decoder",
    "labels": "labels",
    "no labels": "labels",
    "threshold": "threshold",
    "nms": "nms",
    "outputs": "outputs",
    "state": "state",
    "vocabulary": "vocabulary, input",
    "second vocabulary": "vocabulary, input",
    "color": "input",
    "resize": "input",
    "mean": "input",
    "no mean": "input",
    "std": "input",
    "signal": "input",
    "size": "input",
    "one more input": "input",
    "tiles": "input",
    "scaling": "input",
    "border": "input",
    "overlaps": "input",
    "shapes": "input",
    "many inputs": "input",
    "entry": "configuration",
    "patience": "its cost",
    "budget": "its cost",
    "long option": "decoder",
    "long plan": "length",
}


@pytest.mark.parametrize(("forged", "word"), FORGERIES.items(), ids=FORGERIES)
def test_an_answer_to_another_question_is_refused(
    trouble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str, word: str
) -> None:
    request = package(tmp_path / "faces", FORGE)
    monkeypatch.setenv("TROUBLE_FORGE", forged)
    with pytest.raises(ModelError, match=rf"does not match the request \({word}\)"):
        probe(request, trouble / "blobs")
    assert os.listdir(trouble / "blobs") == []  # noqa: PTH208


def test_an_honest_answer_from_such_code_is_taken(
    trouble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = package(tmp_path / "faces", FORGE)
    monkeypatch.setenv("TROUBLE_FORGE", "nothing")
    plan = probe(request, trouble / "blobs")
    assert (plan.labels, plan.title, Path(plan.path).parent) == (("face",), "faces@1.0.0", trouble / "blobs")


@pytest.mark.long
def test_what_is_handed_over_is_what_was_checked(tmp_path: Path) -> None:
    """Somebody exchanges the manifest again and again while it is read."""
    request = package(tmp_path / "faces", "")
    manifest = tmp_path / "faces" / "manifest.yaml"
    texts = [manifest.read_text() + more for more in ("", "source: somebody else\n")]
    stop = threading.Event()

    def exchange() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (tmp_path / "next").write_text(texts[number % 2])
            (tmp_path / "next").replace(manifest)

    writer = threading.Thread(target=exchange)
    writer.start()
    taken = refused = 0
    try:
        while taken < 20 or (refused < 1 and taken < 500):
            try:
                with CheckedPackage(request) as checked:
                    assert canonical(parsed(manifest, checked.read(manifest))[1].value) == checked.package.written
                    taken += 1
            except ModelError as error:
                refused += "changed during the read" in str(error)
    finally:
        stop.set()
        writer.join()
    assert refused
