"""Lines of the log: whatever text is in them, each event is one line, and a traceback is told apart."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.running import ROOT

FORGED = "x\n05:00:00 ERROR   supervisor: the camera was stolen\x1b[2J"
CODE = f"""
import logging
from edge_infer.platform.logs import configure
configure("supervisor", "info")
logging.getLogger("edge_infer").warning("%s", {FORGED!r})
try:
    raise ValueError({FORGED!r})
except ValueError:
    logging.getLogger("edge_infer").exception("it failed")
"""


@pytest.mark.parametrize("journal", [False, True])
def test_no_text_makes_a_line_of_its_own(journal: bool) -> None:
    environment = {"JOURNAL_STREAM": "1:2"} if journal else {}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    first, second, *traceback = done.stderr.splitlines()
    assert first.endswith("supervisor: x 05:00:00 ERROR   supervisor: the camera was stolen\ufffd[2J")
    assert second.endswith("supervisor: it failed")
    begin = "<3>  " if journal else "  "
    assert [line for line in traceback if not line.startswith(begin)] == []
    assert f"{begin}05:00:00 ERROR   supervisor: the camera was stolen\ufffd[2J" in traceback
