"""A start with a file that is as it was: what was applied begins before the file is read."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.contract.codec import replace
from edge_infer.models.serving_record import is_unproven, remember, remembered
from edge_infer.plan.records import Plan, ShadowPlan
from edge_infer.supervisor.reload.compilation import unchanged
from edge_infer.supervisor.reload.reload import PROVEN_AFTER
from tests.broker import Broker, Subscriber, eventually
from tests.running import MODEL, Daemon, config

P = "edge-infer/box"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that was applied here."""
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    plan = compile_config(path, store=True).plan
    assert plan is not None
    remember(plan)
    return path


def test_what_was_applied_comes_without_a_reading(file: Path) -> None:
    assert unchanged(file, file.parent / "state") == compile_config(file, store=True).plan


def _edited(file: Path) -> None:
    file.write_text(file.read_text() + "# now with a word\n")


def _without_its_copy(file: Path) -> None:
    for copy in (file.parent / "state" / "blobs").iterdir():
        copy.unlink()


def _with_a_copy_of_another_name(file: Path) -> None:
    for copy in (file.parent / "state" / "blobs").iterdir():
        copy.rename(copy.with_suffix(".loot"))


def _gone(file: Path) -> None:
    file.unlink()


def _applied_by_nobody(file: Path) -> None:
    (file.parent / "state" / "applied.json").unlink()


def _of_another_version(file: Path) -> None:
    plan = remembered(file.parent / "state")
    assert plan is not None
    remember(replace(plan, made_by="0.0.1"))


def _without_the_copy_of_its_shadow(file: Path) -> None:
    plan = remembered(file.parent / "state")
    assert plan is not None
    path = str(file.parent / "state" / "blobs" / f"{'cd' * 32}.tflite")
    shadow = replace(plan.pipelines[0].model, name="other", sha256="cd" * 32, path=path)
    remember(replace(plan, pipelines=(replace(plan.pipelines[0], shadow=ShadowPlan(shadow, 0.5)),)))


def _a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "otherwise",
    [
        _edited,
        _without_its_copy,
        _without_the_copy_of_its_shadow,
        _with_a_copy_of_another_name,
        _gone,
        _a_pipe,
        _applied_by_nobody,
        _of_another_version,
    ],
)
def test_where_anything_is_otherwise_it_is_read_first(file: Path, otherwise: Callable[[Path], None]) -> None:
    otherwise(file)
    assert unchanged(file, file.parent / "state") is None


def test_a_value_of_the_environment_is_read_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "127.0.0.1")
    file.write_text(config(1883).replace("127.0.0.1", '"${HOST}"'))
    plan = compile_config(file, store=True).plan
    assert plan is not None
    remember(plan)
    assert unchanged(file, file.parent / "state") is None


def test_a_card_in_another_box_does_not_speak_with_the_name_of_the_first(file: Path) -> None:
    file.write_text(config(1883).replace("id: box, ", "") + "# device: {id: another}\n")
    plan = compile_config(file, store=True).plan
    assert plan is not None
    remember(plan)
    assert unchanged(file, file.parent / "state") == plan
    remember(replace(plan, device="another"))
    assert unchanged(file, file.parent / "state") is None


def test_the_daemon_begins_at_once_and_reads_the_file_all_the_same(tmp_path: Path, broker: Broker) -> None:
    model, text = tmp_path / "model.tflite", config(broker.port)
    model.write_bytes(MODEL.read_bytes())
    model.with_name("manifest.yaml").write_bytes(MODEL.with_name("manifest.yaml").read_bytes())
    with Subscriber(broker.port) as subscriber, Daemon(tmp_path, text.replace(str(MODEL), str(model))) as daemon:
        daemon.wait_serving()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        model.write_bytes(b"not a model any more")
        before = len(daemon.log.read_text())
        moment = time.monotonic()
        daemon.start()
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.at > moment)
        told = subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "rejected")
        assert "models.faces" in told.value["errors"][0]
        said = daemon.log.read_text()[before:]
        moments = [re.search(words, said) for words in ("is unchanged", "runs on source", "reading", "rejected")]
        assert all(moments), said
        assert [found.start() for found in moments if found] == sorted(found.start() for found in moments if found)


def test_a_copy_that_the_card_has_damaged_is_made_anew_and_serves(tmp_path: Path, broker: Broker) -> None:
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        copy = next((tmp_path / "state" / "blobs").iterdir())
        copy.chmod(0o600)
        copy.write_bytes(copy.read_bytes()[:-1] + b"?")
        daemon.start()
        daemon.wait_serving()
        assert copy.read_bytes() == MODEL.read_bytes()


# A stored plan that a compromised process made.

LONG_PATH = f"/{'x' * 300}"
FIRST = "the daemon died before the last applied configuration had proved to work"


def with_a_long_path(plan: Plan) -> Plan:
    """No file may have this name, and the system says so in another way than for a missing file."""
    (door,) = plan.pipelines
    return replace(plan, pipelines=(replace(door, model=replace(door.model, path=LONG_PATH)),))


def test_a_stored_plan_that_raises_is_no_plan(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = remembered(file.parent / "state")
    assert plan is not None
    remember(with_a_long_path(plan))
    assert unchanged(file, file.parent / "state") is None
    assert "cannot use the last applied configuration: [Errno 36] File name too long" in caplog.text


def edit_stored(folder: Path, edit: Callable[[Plan], Plan]) -> None:
    plan = remembered(folder / "state")
    assert plan is not None
    owner = (folder / "state").stat()
    remember(edit(plan))
    os.chown(folder / "state" / "applied.json", owner.st_uid, owner.st_gid)


def said(daemon: Daemon, before: int) -> str:
    """What the log has got since it had so many characters."""
    return daemon.log.read_text()[before:]


def test_a_start_with_a_stored_plan_that_raises_reads_the_file(tmp_path: Path, broker: Broker) -> None:
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        edit_stored(tmp_path, with_a_long_path)
        before = len(daemon.log.read_text())
        daemon.start()
        daemon.wait_serving()
        assert FIRST not in said(daemon, before)
        plan = remembered(tmp_path / "state")
        assert plan is not None
        assert plan != with_a_long_path(plan), "the file was read"


def test_a_second_daemon_reports_the_first_and_no_death(tmp_path: Path, broker: Broker) -> None:
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        assert is_unproven(tmp_path / "state")
        second = daemon.command("run")
        assert second.returncode == 3
        assert f"another edge-infer (pid {daemon.status()['pid']}) uses {tmp_path}/state; stop it" in second.stderr
        assert "died" not in second.stdout + second.stderr


def test_a_plan_proves_itself_by_its_work_or_by_an_orderly_stop(tmp_path: Path, broker: Broker) -> None:
    state = tmp_path / "state"
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        assert is_unproven(state)
        daemon.signal(signal.SIGKILL)
        daemon.wait(20)
        before = len(daemon.log.read_text())
        daemon.start()
        daemon.wait_serving()
        assert FIRST in said(daemon, before)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        assert not is_unproven(state)
        before = len(daemon.log.read_text())
        daemon.start()
        daemon.wait_serving()
        assert "is unchanged; starting the last applied configuration" in said(daemon, before)
        eventually(lambda: not is_unproven(state), "a plan that has proved itself", PROVEN_AFTER + 30)
        stored = (state / "applied.json").stat().st_ino
        assert daemon.reload()["state"] == "applied"
        assert not is_unproven(state), "it is the same plan"
        assert (state / "applied.json").stat().st_ino == stored, "nothing is written"
        daemon.config.write_text(config(broker.port).replace("fps: 10", "fps: 9"))
        assert daemon.reload()["state"] == "applied"
        assert is_unproven(state), "the next one has not"
        assert (state / "applied.json").stat().st_ino != stored
        eventually(lambda: not is_unproven(state), "a plan that has proved itself", PROVEN_AFTER + 30)
        daemon.signal(signal.SIGKILL)
        daemon.wait(20)
        before = len(daemon.log.read_text())
        daemon.start()
        daemon.wait_serving()
        assert "is unchanged; starting the last applied configuration" in said(daemon, before)
