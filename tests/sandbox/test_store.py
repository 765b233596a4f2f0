"""An attacker inside the engine of a daemon looks for the copies of models, and for what else lies beside them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.broker import eventually
from tests.faults.walls import OPEN
from tests.moody import write_model
from tests.swapping import short, swapping

THIEF = '''
"""Looks around where the engine loads a model, and puts what became of it into the log."""

import errno, json, logging, os

from edge_infer.engine.decoders.classification import Classification


class Thief(Classification):
    def __init__(self, layout):
        super().__init__(layout)
        store, found = os.environ["THIEF"], {}
        tries = {"list": lambda: os.listdir(store), "make": lambda: open(store + "/new.loot", "w").close()}
        for name in os.environ["THIEF_FILES"].split():
            tries["read " + name] = lambda name=name: open(store + "/" + name, "rb").read(1)
            tries["write " + name] = lambda name=name: open(store + "/" + name, "r+b").close()
        for name, what in tries.items():
            try:
                what()
            except OSError as error:
                found[name] = errno.errorcode[error.errno]
            else:
                found[name] = "allowed"
        logging.getLogger("thief").warning("thief: %s", json.dumps(found))

    @staticmethod
    def recognise(inputs, outputs):
        return None
'''


@pytest.mark.parametrize("walls", [True, False])
def test_the_engine_opens_nothing_of_the_store_and_runs_its_model(
    walls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without walls the same attacker reaches all of it."""
    plugin = tmp_path / "plugin"
    about = plugin / "thief-1.0.dist-info"
    about.mkdir(parents=True)
    (plugin / "thief.py").write_text(THIEF)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edge_infer.decoders]\nthief = thief:Thief\n")
    if not walls:
        (plugin / "sitecustomize.py").write_text(OPEN)
    model = write_model(tmp_path / "models" / "m.tflite")
    manifest = model.with_suffix(".yaml")
    manifest.write_text(manifest.read_text().replace("kind: classification", "kind: thief") + "task: classification\n")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    store = tmp_path / "box" / "state" / "blobs"
    names = [f"{digest}.tflite", f"{digest}.loot"]
    monkeypatch.setenv("PYTHONPATH", f"{plugin}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("THIEF", str(store))
    monkeypatch.setenv("THIEF_FILES", " ".join(names))
    with swapping(tmp_path / "box", model) as running:
        (store / names[1]).write_text("the broker's password")
        os.chown(store / names[1], store.stat().st_uid, -1)
        before, daemon = len(running.daemon.log.read_text()), running.daemon
        os.kill(daemon.pids()["engine"], signal.SIGKILL)
        said = eventually(lambda: re.search(r"engine: thief: (.*)", daemon.log.read_text()[before:]), "the thief", 60)
        found = json.loads(said[1])
        assert {name.partition(" ")[0] for name in found} == {"list", "make", "read", "write"}
        assert set(found.values()) == ({"EACCES"} if walls else {"allowed"}), found
        running.model(sha=short(model), deadline=60)
        running.daemon.config.write_text(running.text(model) + "# once more\n")
        assert daemon.reload()["state"] == "applied"
        assert not (store / names[1]).exists()
        assert (store / names[0]).exists()
