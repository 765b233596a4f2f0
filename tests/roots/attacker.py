"""A decoder and a source of another package that try, wherever they run, to use the powers of root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.program import open_to_all
from tests.running import MODEL, ROOT

PACKAGE = """
import dataclasses, json, os, time
import numpy as np

SECRET, PROGRAM = os.environ["ATTACK_SECRET"], os.environ["ATTACK_PROGRAM"]


def attempt(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0


def setuid():
    os.chown(PROGRAM, 0, 0)
    os.chmod(PROGRAM, 0o4755)


def attack(where):
    rows = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    found = {
        "where": where, "module": getattr(__import__("__main__").__spec__, "name", ""),
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
        "capabilities": {name: rows[name].strip() for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")},
        "read": attempt(lambda: open(SECRET).read()), "shadow": attempt(lambda: open("/etc/shadow").read()),
        "own": attempt(lambda: os.chmod(PROGRAM, 0o755)), "setuid": attempt(setuid),
        "root again": attempt(lambda: os.setresuid(0, 0, 0)),
    }
    line = "ATTACK " + json.dumps(found, separators=(",", ":")) + " END"
    os.write(2, ("\\n" + line + "\\n").encode())
    if os.environ.get("ATTACK_RAISES"):
        from edge_infer.errors import ModelError
        raise ModelError(line)


class Decoder:
    task = "detection"
    classes = 1

    def __init__(self, layout):
        attack("decoder")
        self.place = next(place for place, tensor in enumerate(layout.outputs) if tensor.shape == (1, 2304, 1))
        self.tensor = layout.outputs[self.place]

    def __call__(self, tensors):
        from edge_infer.engine.records import Boxes
        logits = self.tensor.dequantize(tensors[self.place]).reshape(48, 48)
        y, x = np.unravel_index(logits.argmax(), logits.shape)
        center = np.array([x + 0.5, y + 0.5, x + 0.5, y + 0.5], np.float32) / 48
        score = 1 / (1 + np.exp(-logits[y, x]))
        return Boxes((center + (-0.1, -0.1, 0.1, 0.1))[None].astype(np.float32), score[None], np.zeros(1, np.int32))

    @staticmethod
    def recognise(inputs, outputs):
        return None


from edge_infer.config.plan import InputPlan, NmsPlan
Decoder.input, Decoder.nms = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,)), NmsPlan()
"""
SOURCE = """

@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    file: str = ""


class Source:
    gives, noisy, live, network, lossless = "image", False, True, False, False
    Options = Options

    def __init__(self, options):
        attack("source made")
        self.left = 30

    def __enter__(self):
        attack("source opened")
        return self

    def __exit__(self, *_):
        pass

    close = __exit__

    def read(self):
        from edge_infer.readers.sources import Picture
        self.left -= 1
        if not self.live and self.left < 0:
            return None
        time.sleep(0.05)
        return Picture(np.random.default_rng(self.left).integers(0, 255, (64, 64, 3), np.uint8), "bgr", time.time(),
                       time.monotonic())


class Recording(Source):
    live = False
"""
"""A source that calls ``attack`` of its module, and one that ends."""
ENTRY_POINTS = """\
[edge_infer.decoders]
attacker = attacker_package:Decoder
[edge_infer.sources]
attacker = attacker_package:Source
attacker-file = attacker_package:Recording
"""
MANIFEST = "task: detection\ndecoder: attacker\nlabels: [face]\n"


@dataclass(frozen=True, slots=True)
class Attacker:
    """A package installed for commands that are started with ``environment``, and a model that its decoder runs."""

    folder: Path
    model: Path
    secret: Path
    program: Path
    environment: dict[str, str]

    def run(self, *words: str, timeout: float = 180.0, **more: str) -> subprocess.CompletedProcess[str]:
        """An ``edge-infer`` command with the package."""
        return subprocess.run(
            [sys.executable, "-m", "edge_infer", *words], cwd=self.folder, env={**self.environment, **more},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def setuid(self) -> bool:
        """Whether the program would now be root for everybody."""
        return bool(self.program.stat().st_mode & 0o4000)


def install(folder: Path) -> Attacker:
    """Puts the package, the model and root's files into a folder."""
    site = folder / "site"
    about = site / "attacker_package-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "attacker_package.py").write_text(PACKAGE + SOURCE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: attacker-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    model = folder / "model.tflite"
    shutil.copy(MODEL, model)
    model.with_suffix(".yaml").write_text(MANIFEST)
    secret, program = folder / "secret", folder / "program"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    shutil.copy("/bin/true", program)
    program.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key not in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")}
    environment = {
        **kept, "PYTHONPATH": f"{site}:{ROOT}", "ATTACK_SECRET": str(secret), "ATTACK_PROGRAM": str(program),
    }  # fmt: skip
    return Attacker(folder, model, secret, program, environment)


def reports(text: str) -> list[dict[str, Any]]:
    """What attackers have found out, from whatever a command printed."""
    return [json.loads(found) for found in re.findall(r"ATTACK (\{.*?\}) END", text)]


MAY_BE_LEFT = {0} if open_to_all(sys.executable) else {0, 1 << 2}
"""Behind a fence a process keeps ``CAP_DAC_READ_SEARCH`` where this program lies in a private home of root."""


def is_harmless(report: dict[str, Any], *, reads_for_root: bool = False) -> bool:
    """Asserts that nothing of root was there.

    A command that runs a model itself ``reads_for_root`` what was named to it, with ``CAP_DAC_READ_SEARCH``, fenced.
    """
    assert 0 not in report["uids"], report
    assert 0 not in report["gids"], report
    assert 0 not in report["groups"], report
    assert {int(value, 16) for value in report["capabilities"].values()} <= MAY_BE_LEFT | (
        {4} if reads_for_root else set()
    ), report
    assert all(report[what] for what in ("read", "shadow", "own", "setuid", "root again")), report
    return True
