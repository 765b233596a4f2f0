"""What the process that reads the configuration answers is not believed where the supervisor knows better."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.plan.records import Compiled
from edge_infer.supervisor.processes.helper_process import HelperResult
from edge_infer.supervisor.reload.compilation import Compilation
from tests.running import config


def answer_of(path: Path) -> tuple[Compilation, Compiled]:
    compilation = Compilation(path, state_dir=path.parent / "state")
    end = time.monotonic() + 60
    while (found := compilation.finished()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    compilation.close()
    assert found.plan is not None, found.problems
    return compilation, found


def test_another_state_directory_or_a_nul_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    compilation, good = answer_of(path)
    assert good.plan is not None
    elsewhere = replace(good.plan, state_dir=str(tmp_path / "home"))
    hostile = replace(good.plan, mqtt=replace(good.plan.mqtt, password_file="/a\0b"))
    for plan, words in ((elsewhere, "another state directory"), (hostile, "a text with a NUL")):
        said = HelperResult(dumps(replace(good, plan=plan)), 0)
        monkeypatch.setattr(compilation._errand, "said", lambda said=said: said)
        refused = compilation.finished()
        assert refused is not None
        assert refused.plan is None
        assert words in refused.problems[0].text
