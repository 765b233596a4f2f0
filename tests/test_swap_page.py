"""docs/swap-a-model.md, walked through on a running daemon as an operator would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Broker, eventually
from tests.running import Daemon
from tests.swapping import detector
from tests.test_docs import ROOT, Block, blocks_of, steps_of, wildcard

PAGE = ROOT / "docs" / "swap-a-model.md"


@pytest.mark.usefixtures("running")
def test_every_step_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(PAGE) if block.info.startswith("console walk")]
    assert len(blocks) == 8
    for block in blocks:
        for command, output in steps_of(block):
            eventually(lambda c=command, o=output, b=block: _does(c, o, b, tmp_path), f"{output!r} of {command}", 40)


@pytest.fixture
def running(tmp_path: Path, broker: Broker) -> object:
    """The daemon of the page, with its broker on a free port and two files of the shipped detector."""
    detector(tmp_path / "faces-1.tflite", "1.0.0", 0)
    detector(tmp_path / "faces-2.tflite", "1.1.0", 16)
    detector(tmp_path / "faces-3.tflite", "1.2.0", 32)
    text = next(block.text for block in blocks_of(PAGE) if block.info == "yaml")
    text = text.replace("1883", str(broker.port)).replace("fps: 25", "fps: 10")  # a probation as long as a slow command
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        yield daemon


def _does(command: str, output: str, block: Block, folder: Path) -> bool:
    """Whether a command ends as the page says and says what is there."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "RUNTIME_DIRECTORY"}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**environment, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    as_told = re.fullmatch(wildcard(output), done.stdout.strip(), re.DOTALL) if output.strip() else True
    return (done.returncode != 0) == ("fails" in block.info.split()) and bool(as_told)
