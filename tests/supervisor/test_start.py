"""A start with a file that is as it was: what was applied begins before the file is read."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_infer.config.compile import compile_config
from edge_infer.supervisor.compilation import remember, unchanged
from tests.broker import Broker, Subscriber
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


def _gone(file: Path) -> None:
    file.unlink()


def _applied_by_nobody(file: Path) -> None:
    (file.parent / "state" / "applied.json").unlink()


@pytest.mark.parametrize("otherwise", [_edited, _without_its_copy, _gone, _applied_by_nobody])
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
    file.write_text(config(1883).replace("id: box, ", ""))
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
        moments = [re.search(words, said) for words in ("is as it was", r"engine .*\bstart", "reading", "rejected")]
        assert all(moments), said
        assert [found.start() for found in moments if found] == sorted(found.start() for found in moments if found)
