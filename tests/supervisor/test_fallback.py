"""A pipeline whose model was rolled back: what it says itself holds, and what may not serve does not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli import main
from edge_infer.contract.codec import decode_json, dumps, replace
from edge_infer.contract.messages import State
from edge_infer.models.serving_record import Fit, Refusal, ServingRecord, Slot
from edge_infer.plan.outcome_limits import CountedLabels
from edge_infer.plan.records import (
    InputPlan,
    LinePlan,
    ModelPlan,
    MqttPlan,
    NmsPlan,
    Overrides,
    PipelinePlan,
    Plan,
    ZonePlan,
)
from edge_infer.supervisor.rollout.effective_plan import effective, unknown_labels, with_slots, without_model
from tests.broker import eventually
from tests.engine.plans import pipeline
from tests.moody import write_model
from tests.swapping import P, Swapping, short, swapping

NOW = "2026-01-01T00:00:00.000Z"
LONG = 30.0


def plan(*pipelines: PipelinePlan, **settings: Any) -> Plan:
    """A configuration of these pipelines."""
    mqtt = MqttPlan("broker", 1883, None, None, None, "edge-infer/box", 1, "box")
    return Plan("ab" * 32, "box", "/nowhere", mqtt, (), pipelines, **settings)


def model(version: str, **settings: Any) -> ModelPlan:
    """A version of a detector, with a manifest of its own."""
    found = pipeline().model
    return replace(found, title=f"pets@{version}", version=version, sha256=version[0] * 64, **settings)


def door(of: ModelPlan, said: Overrides = Overrides(), **settings: Any) -> PipelinePlan:  # noqa: B008
    """A pipeline of this model with these keys, as the configuration makes it."""
    merged = said.onto(of)
    whole = {"name": "door", "labels": None, **settings}
    return replace(pipeline(), model=merged, threshold=merged.threshold, said=said, own=Overrides.of(of), **whole)


def refused(record: ServingRecord, of: ModelPlan) -> ServingRecord:
    """The record after a roll-back."""
    refusal = Refusal(of.sha256, of.title, of.entry, "rolled_back", "bad", NOW, of.identity)
    return record.refusing(of.name, refusal)


OLD = model("1.0.0", threshold=0.3, nms=NmsPlan(0.4, 20), input=InputPlan("bgr", "letterbox"))
NEW = model("2.0.0", threshold=0.6, nms=NmsPlan(0.6, 60))
STRICT = Overrides(0.9, 0.2, 1, "stretch", "rgb", "fast", (2, 2), 0.1)


def served(*slots: tuple[str, PipelinePlan]) -> ServingRecord:
    """A record of pipelines that served, with the model NEW rolled back."""
    return refused(ServingRecord(slots={name: Slot(Fit.of(each), None, NOW) for name, each in slots}), NEW)


def test_what_the_pipeline_says_today_holds_and_the_rest_is_the_old_models_own() -> None:
    record = served(("door", door(OLD, STRICT, labels=("cat",))))
    said = Overrides(threshold=0.8, resize="crop", scaling="fast", tiles=(1, 1), overlap=0.0)
    (found,) = effective(plan(door(NEW, said, labels=("dog",), top_k=2)), record).pipelines
    assert found.model.sha256 == OLD.sha256
    assert (found.threshold, found.model.threshold, found.labels, found.top_k) == (0.8, 0.8, ("dog",), 2)
    assert found.model.input == InputPlan("bgr", "crop", scaling="fast")
    assert found.model.nms == NmsPlan(0.4, 20)
    assert Fit.of(found) == Fit(OLD)


def test_what_the_pipeline_does_not_say_is_what_the_manifest_of_the_old_model_says() -> None:
    (found,) = effective(plan(door(NEW)), served(("door", door(OLD, STRICT, labels=("cat",))))).pipelines
    assert replace(found.model, name=OLD.name) == OLD
    assert (found.threshold, found.labels) == (0.3, None)


def test_another_pipelines_settings_are_never_used() -> None:
    record = served(("door", door(OLD, STRICT, labels=("cat",))))
    wanted = plan(door(NEW, STRICT), door(NEW, Overrides(0.95), name="yard", labels=("dog",)), door(NEW, name="lane"))
    record = with_slots(wanted, record)
    _, yard, lane = effective(wanted, record).pipelines
    assert (yard.threshold, yard.labels, yard.model.nms, yard.model.input) == (0.95, ("dog",), OLD.nms, OLD.input)
    assert (lane.threshold, lane.labels, lane.model.nms) == (0.3, None, OLD.nms)


def test_labels_that_the_old_model_does_not_know_are_left_out_and_told() -> None:
    record, wanted = served(("door", door(OLD))), plan(door(NEW, labels=("cat", "visage")))
    found = effective(wanted, record)
    assert found.pipelines[0].labels == ("cat",)
    assert unknown_labels(wanted, found) == {
        "door": ("pets@1.0.0 has no label visage, so the pipeline does not report it")
    }
    assert without_model(wanted, record) == {}


def test_labels_of_zones_and_lines_that_the_old_model_does_not_know_are_left_out_and_told() -> None:
    drive = ZonePlan("drive", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), ("visage",))
    gate = LinePlan("gate", (0.5, 0.0), (0.5, 1.0), ("cat", "visage"))
    record, wanted = served(("door", door(OLD))), plan(door(NEW, zones=(drive,), lines=(gate,)))
    found = effective(wanted, record)
    (runs,) = found.pipelines
    assert (runs.zones[0].labels, runs.lines[0].labels) == ((), ("cat",))
    assert unknown_labels(wanted, found) == {
        "door": ("pets@1.0.0 has no label visage, so the pipeline does not report it")
    }
    state = State(1, NOW, "0" * 16, OLD.title, OLD.sha256[:8], counts={"cat": 1}, zones={"drive": {}})
    assert CountedLabels.of(found.pipelines[0]).filled(state) == state, "no zero for a label that the publisher refuses"


def test_a_model_without_any_label_that_the_pipeline_keeps_does_not_serve() -> None:
    record, wanted = served(("door", door(OLD))), plan(door(NEW, labels=("visage",)))
    assert without_model(wanted, record) == {
        "door": "pets@1.0.0 served before, but it has none of the labels that pipeline door keeps"
    }
    assert effective(wanted, record).pipelines == wanted.pipelines


def test_a_setting_that_the_old_model_cannot_take_is_left_out() -> None:
    gray = model("1.0.0", task="classification", input=InputPlan("gray"))
    distances = model("1.0.0", task="anomaly", threshold=12.5)
    wanted = plan(door(NEW, STRICT))
    (found,) = effective(wanted, served(("door", door(gray)))).pipelines
    assert found.model.input == InputPlan("gray", "stretch", scaling="fast")
    (found,) = effective(wanted, served(("door", door(distances)))).pipelines
    assert found.threshold == 12.5


def test_a_model_that_no_key_of_today_has_signed_does_not_serve() -> None:
    wanted = plan(door(NEW), signers=("aa", "bb"))
    for signed, fits in (("", False), ("cc", False), ("bb", True)):
        record = served(("door", door(replace(OLD, signed=signed))))
        assert (effective(wanted, record).pipelines[0].model.sha256 == OLD.sha256) is fits
        why = without_model(wanted, record).get("door", "")
        assert ("no signature of a key in security.keys was checked for it" in why) is not fits
    assert effective(replace(wanted, signers=None), record).pipelines[0].model.sha256 == OLD.sha256


def test_a_key_that_was_removed_before_the_refusal_brings_no_model_back() -> None:
    wanted = plan(door(NEW), signers=("aa", "bb"))
    slots = {"door": Slot(Fit.of(door(replace(OLD, signed="bb"))), None, NOW)}
    record = refused(ServingRecord(slots=slots, keys=("aa",)), NEW)
    assert "no signature of a key" in without_model(wanted, record)["door"]
    assert effective(wanted, record).pipelines == wanted.pipelines
    record = record.with_keys(("aa", "bb"))  # the key is back
    assert without_model(wanted, record) == {}
    record = refused(ServingRecord(slots=slots, keys=("aa", "bb")), NEW).with_keys(("aa",))
    assert without_model(wanted, record) == {}, "a removed key stops no model"
    assert decode_json(ServingRecord, dumps(record)) == record
    assert b'"keys"' not in dumps(served(("door", door(OLD)))), "earlier versions know no such key"


def test_a_record_of_an_earlier_version_counts_as_the_models_own() -> None:
    """It stored the model together with what the pipeline said."""
    data = (Path(__file__).parents[1] / "golden" / "state" / "serving.json").read_bytes()
    record = decode_json(ServingRecord, data)
    (fit,) = (slot.committed for slot in record.slots.values())
    assert fit.threshold is not None
    new = replace(fit.model, sha256="cd" * 32)
    asked = replace(door(new, Overrides(0.7)), name=next(iter(record.slots)), labels=("face",))
    (found,) = effective(plan(asked), refused(record, new)).pipelines
    assert (found.model.sha256, found.threshold, found.labels) == (fit.model.sha256, 0.7, ("face",))
    assert (found.model.input, found.model.nms) == (fit.model.input, fit.model.nms)
    assert Fit.of(found) == replace(fit, threshold=None)


# The same with a daemon.


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Swapping]:
    old = write_model(tmp_path / "old.tflite")
    with old.with_suffix(".yaml").open("a") as manifest:
        manifest.write("threshold: 0.01\n")
    with swapping(tmp_path / "box", old, fps=60) as found:
        yield found


def version(folder: Path, name: str, labels: str = "dark, medium, bright", **settings: Any) -> Path:
    """Another version of the model, which tells all that it sees."""
    path = write_model(folder / f"{name}.tflite", **settings)
    manifest = path.with_suffix(".yaml")
    manifest.write_text(manifest.read_text().replace("dark, medium, bright", labels) + "threshold: 0.01\n")
    return path


def labels(running: Swapping, sha: str, moment: float, pipeline: str = "hall") -> list[str]:
    """The labels of the first result of a model after a moment."""
    heard = running.subscriber.wait(
        f"{P}/{pipeline}/result", lambda heard: heard.at > moment and heard.value["sha"] == sha, LONG
    )
    return [each["label"] for each in heard.value["classes"]]


def pid_after(running: Swapping, killed: int) -> int | None:
    """The process id of the engine, or None while the status still has the one that was killed."""
    pid = running.daemon.pids().get("engine")
    return pid if pid != killed else None


def apply(running: Swapping, text: str) -> float:
    """Saves and applies a configuration; when that was done."""
    running.daemon.config.write_text(text)
    assert running.daemon.reload()["state"] == "applied"
    time.sleep(0.5)  # frames on their way
    return time.monotonic()


def history(running: Swapping) -> list[str]:
    """What happened to the models, the oldest first."""
    return [line.split()[2] for line in running.daemon.command("models", "history").stdout.splitlines()]


def keeps(text: str, *said: str) -> str:
    """The configuration whose first pipeline has these keys."""
    return text.replace("publish: every}", ", ".join(("publish: every", *said)) + "}")


def test_edits_during_a_rollback_apply_to_this_pipeline_and_to_a_new_one(running: Swapping, tmp_path: Path) -> None:
    old, new = short(tmp_path / "old.tflite"), version(tmp_path, "new", gain=0.9, version="1.1.0")
    apply(running, keeps(running.text(tmp_path / "old.tflite"), "labels: [dark]"))
    running.model(state="active", sha=old)
    text = keeps(running.text(new), "labels: [dark]")
    apply(running, text)
    running.model(state="active", sha=short(new), deadline=LONG)
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    running.model(state="rolled_back", sha=old)
    text = text.replace("labels: [dark]", "labels: [medium, bright]")
    assert set(labels(running, old, apply(running, text))) == {"medium", "bright"}
    text += "  yard: {source: cam, model: light, publish: every, labels: [bright]}\n"
    text += "  lane: {source: cam, model: light, publish: every, threshold: 0.999}\n"
    moment = apply(running, text)
    assert labels(running, old, moment, "yard") == ["bright"]
    assert labels(running, old, moment, "lane") == []
    running.daemon.signal(signal.SIGTERM)
    assert running.daemon.wait(20) == 0
    running.daemon.start()
    moment = time.monotonic()
    assert set(labels(running, old, moment)) == {"medium", "bright"}
    assert labels(running, old, moment, "yard") == ["bright"]
    assert labels(running, old, moment, "lane") == []


def test_a_model_that_goes_bad_leaves_the_pipeline_its_labels(running: Swapping, tmp_path: Path) -> None:
    old = short(tmp_path / "old.tflite")
    bad = version(tmp_path, "bad", "visage, medium, bright", mood="nan", version="1.1.0")
    apply(running, keeps(running.text(bad), "labels: [visage, medium]"))
    assert running.model(state="rolled_back", sha=old, deadline=LONG)["candidate"] == short(bad)
    assert labels(running, old, time.monotonic()) == ["medium"]
    assert "has no label visage" in running.daemon.log.read_text()
    text = keeps(running.text(bad), "labels: [visage]")
    apply(running, text)
    told = running.model(state="rolled_back", sha=None)
    assert told["reason"].startswith(
        "old@1.0.0 served before, but it has none of the labels that pipeline hall keeps; "
    )
    running.subscriber.wait(f"{P}/hall/state", lambda heard: heard.value.get("reason") == "engine_failed", LONG)
    assert labels(running, old, apply(running, text.replace("visage", "bright"))) == ["bright"]


@pytest.mark.parametrize("lost", ["hall", "yard"])
def test_a_fallback_that_serves_in_one_of_two_pipelines_is_published(
    running: Swapping, tmp_path: Path, lost: str
) -> None:
    """The pipeline without a model is the first of the file, or the last; its reason stands in the status."""
    old, bad = short(tmp_path / "old.tflite"), version(tmp_path, "bad", "visage, medium, bright", mood="nan")
    text, only = running.text(bad), "labels: [visage]"
    yard = "  yard: {source: cam, model: light, publish: every}\n"
    text = keeps(text, only) + yard if lost == "hall" else text + keeps(yard, only)
    running.daemon.config.write_text(text)
    done = running.daemon.command("models", "wait", "--timeout", "30s")
    missing = f"pipeline {lost} has no model: old@1.0.0 served before, but it has none of the labels"
    assert (done.returncode, f"1.0.0 ({old}) serves" in done.stdout + done.stderr) == (1, True)
    told = running.model(state="rolled_back", sha=old)
    assert told["reason"].startswith("«its output scores has values that are not finite»; ")
    assert missing in told["reason"]
    assert told["candidate"] == short(bad)
    check_never_rolled_back_to(running, bad)
    done = running.daemon.command("models", "rollback", "light")
    assert (done.returncode, missing in done.stderr) == (1, True)


def test_a_rollback_without_a_fallback_never_names_the_bad_model_as_serving(running: Swapping, tmp_path: Path) -> None:
    bad = version(tmp_path, "bad", "visage, medium, bright", mood="nan", version="1.1.0")
    apply(running, keeps(running.text(bad), "labels: [visage]"))
    running.model(state="rolled_back", sha=None, deadline=LONG)
    topic = f"{P}/model/light"
    running.subscriber.wait(topic, lambda heard: heard.value["state"] == "rolled_back" and heard.value["sha"] is None)
    check_never_rolled_back_to(running, bad)
    done = running.daemon.command("models", "rollback", "light")
    assert done.returncode == 1
    assert "pipeline hall has no model: old@1.0.0 served before, but it has none of the labels" in done.stderr
    assert "keeps only the one before" not in done.stderr


def check_never_rolled_back_to(running: Swapping, bad: Path) -> None:
    """Check that no message on the model's topic names a rolled back model as the one that serves."""
    told = [heard.value for heard in running.subscriber.on(f"{P}/model/light") if heard.payload]
    ended = [each["sha"] for each in told if each["state"] == "rolled_back"]
    assert ended
    assert short(bad) not in ended


def test_by_hand_there_is_no_way_to_a_model_that_knows_no_label_of_the_pipeline(
    running: Swapping, tmp_path: Path
) -> None:
    new = version(tmp_path, "new", "visage, medium, bright", gain=0.9, version="1.1.0")
    apply(running, keeps(running.text(new), "labels: [visage]"))
    running.model(state="active", sha=short(new), deadline=LONG)
    done = running.daemon.command("models", "rollback", "light")
    assert (done.returncode, done.stdout) == (1, "")
    assert "light keeps new@1.1.0: pipeline hall: old@1.0.0 served before, but it has none of the labels" in done.stderr
    assert running.model(state="active")["sha"] == short(new)


def test_in_a_crash_loop_a_model_that_may_not_come_back_counts_as_none(running: Swapping, tmp_path: Path) -> None:
    new = version(tmp_path, "new", "visage, medium, bright", gain=0.9, version="1.1.0")
    apply(running, keeps(running.text(new), "labels: [visage]"))
    running.model(state="active", sha=short(new), deadline=LONG)
    killed = [0]
    for _ in range(3):
        labels(running, short(new), time.monotonic())
        killed.append(eventually(lambda: pid_after(running, killed[-1]), "an engine that was not killed yet"))
        os.kill(killed[-1], signal.SIGKILL)
    told = running.model(state="rejected", candidate=short(new), deadline=LONG)
    assert "3 times within 60 s" in told["reason"]
    assert history(running)[-1] == "held-back"


def test_a_pipeline_that_goes_back_to_a_model_of_another_name_says_what_serves(
    running: Swapping, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.tflite", version(tmp_path, "new", gain=0.9, version="1.1.0")
    text = running.text(old).replace("sources:", f"  next: {{file: {new}}}\nsources:")
    apply(running, text.replace("model: light", "model: next"))
    running.model(name="next", state="active", sha=short(new), deadline=LONG)
    moment = time.monotonic()
    done = running.daemon.command("models", "rollback", "next")
    assert (done.returncode, done.stdout) == (0, f"next: old@1.0.0 ({short(old)}) is serving\n")
    running.model(name="next", state="rolled_back", sha=short(old))
    topic = f"{P}/model/light"
    running.subscriber.wait(topic, lambda heard: heard.at > moment and bool(heard.payload), LONG)
    told = [heard.value for heard in running.subscriber.on(topic) if heard.at > moment and heard.payload]
    assert {(each["state"], each["sha"]) for each in told} == {("active", short(old))}


def signed(folder: Path, path: Path) -> Path:
    """The model, signed with the key of a folder."""
    assert main(["models", "sign", str(path), "--key", str(folder / "release.key")]) == 0
    return path


def make_key(running: Swapping, folder: Path) -> None:
    """A key to sign with in ``folder``, which the configuration may trust."""
    keys = running.daemon.folder / "keys"
    keys.mkdir()
    secret, public = folder / "release.key", keys / "release.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", secret], check=True)
    subprocess.run(["openssl", "pkey", "-in", secret, "-pubout", "-out", public], check=True)


def replace_key(running: Swapping, folder: Path) -> None:
    """Remove the trusted key and put another one there; the daemon then rejects what that key has signed."""
    keys = running.daemon.folder / "keys"
    (keys / "release.pem").rename(folder / "removed.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / "other.key"], check=True)
    subprocess.run(["openssl", "pkey", "-in", folder / "other.key", "-pubout", "-out", keys / "other.pem"], check=True)
    assert running.daemon.reload()["state"] == "rejected"


def start_again(running: Swapping) -> None:
    running.daemon.signal(signal.SIGTERM)
    assert running.daemon.wait(20) == 0
    running.daemon.start()


def requiring(running: Swapping, file: Path) -> str:
    """The configuration with this model, and signatures required."""
    return running.text(file).replace("models:", "security: {require_signature: true, keys: keys}\nmodels:")


def test_a_model_that_served_before_signatures_were_required_may_come_back_if_it_is_signed(
    running: Swapping, tmp_path: Path
) -> None:
    make_key(running, tmp_path)
    good = signed(tmp_path, version(tmp_path, "good", gain=0.8, version="1.2.0"))
    worse = signed(tmp_path, version(tmp_path, "worse", gain=0.7, mood="nan", version="1.3.0"))
    apply(running, running.text(good))
    running.model(state="active", sha=short(good), deadline=LONG)
    apply(running, requiring(running, good))
    apply(running, requiring(running, worse))
    running.model(state="rolled_back", sha=short(good), deadline=LONG)


def test_an_unsigned_model_does_not_come_back_once_signatures_are_required(running: Swapping, tmp_path: Path) -> None:
    make_key(running, tmp_path)
    bad = signed(tmp_path, version(tmp_path, "bad", mood="nan", version="1.1.0"))
    good = signed(tmp_path, version(tmp_path, "good", gain=0.8, version="1.2.0"))
    worse = signed(tmp_path, version(tmp_path, "worse", gain=0.7, mood="nan", version="1.3.0"))

    def text(file: Path) -> str:
        return requiring(running, file)

    apply(running, text(bad))
    told = running.model(state="rolled_back", sha=None, deadline=LONG)
    assert "no signature of a key in security.keys was checked for it" in told["reason"]
    assert "finite" in told["reason"]
    assert "old@1.0.0 served before, but no signature" in running.daemon.log.read_text()
    running.subscriber.wait(f"{P}/hall/state", lambda heard: heard.value.get("reason") == "engine_failed", LONG)
    running.daemon.signal(signal.SIGTERM)
    assert running.daemon.wait(20) == 0
    running.daemon.start()
    assert running.model(state="rolled_back", sha=None, deadline=LONG)["candidate"] == short(bad)
    apply(running, text(good))
    running.model(state="active", sha=short(good), deadline=LONG)
    done = running.daemon.command("models", "rollback", "light")
    assert done.returncode == 1
    assert "light keeps good@1.2.0: pipeline hall: old@1.0.0 served before, but no signature" in done.stderr
    apply(running, text(worse))
    running.model(state="rolled_back", sha=short(good), deadline=LONG)  # which is signed


UNTRUSTED = "no signature of a key in security.keys was checked for it"


def swapped_signed(running: Swapping, tmp_path: Path) -> tuple[Path, Path]:
    """Two models, both signed with one key; the second has replaced the first."""
    make_key(running, tmp_path)
    good = signed(tmp_path, version(tmp_path, "good", gain=0.8, version="1.2.0"))
    new = signed(tmp_path, version(tmp_path, "new", gain=0.9, version="1.3.0"))
    for each in (good, new):
        apply(running, requiring(running, each))
        running.model(state="active", sha=short(each), deadline=LONG)
    return good, new


def test_a_removed_key_brings_no_model_back_though_the_reload_is_rejected(running: Swapping, tmp_path: Path) -> None:
    good, new = swapped_signed(running, tmp_path)
    replace_key(running, tmp_path)
    for _ in range(2):
        done = running.daemon.command("models", "rollback", "light")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"light keeps new@1.3.0: pipeline hall: good@1.2.0 served before, but {UNTRUSTED}" in done.stderr
        start_again(running)
        running.model(sha=short(new), deadline=LONG)
    (tmp_path / "removed.pem").rename(running.daemon.folder / "keys" / "release.pem")
    assert running.daemon.reload()["state"] == "applied"
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    running.model(state="rolled_back", sha=short(good), deadline=LONG)
    (running.daemon.folder / "keys" / "other.pem").unlink()
    replace_key(running, tmp_path)
    done = running.daemon.command("models", "retry", "light")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"light: new@1.3.0 is not tried again: {UNTRUSTED}" in done.stderr
    assert running.model(state="rolled_back")["sha"] == short(good), "a removed key stops no model"
    start_again(running)
    running.model(state="rolled_back", sha=short(good), deadline=LONG)


def test_an_automatic_rollback_trusts_no_removed_key(running: Swapping, tmp_path: Path) -> None:
    _, new = swapped_signed(running, tmp_path)
    keys = running.daemon.folder / "keys"
    keys.rename(tmp_path / "away")
    assert running.daemon.reload()["state"] == "rejected"
    assert "cannot read the keys of security.keys; rollbacks trust" in running.daemon.log.read_text()
    (tmp_path / "away").rename(keys)
    replace_key(running, tmp_path)
    killed = [0]
    for _ in range(3):
        labels(running, short(new), time.monotonic())
        killed.append(eventually(lambda: pid_after(running, killed[-1]), "an engine that was not killed yet"))
        os.kill(killed[-1], signal.SIGKILL)
    eventually(lambda: history(running)[-1] == "held-back", lambda: history(running))
    assert "rolled-back" not in history(running)
