"""What a delegate needs to reach, and nothing of it without one."""

from __future__ import annotations

from pathlib import Path

from edge_infer.config.compile.compile import compile_config
from edge_infer.contract.codec import replace
from edge_infer.plan.records import DelegatePlan, Plan
from edge_infer.sandbox.needs import engine_fence
from edge_infer.sandbox.system_paths import accelerators
from tests.running import config


def plan(folder: Path, delegate: DelegatePlan | None) -> Plan:
    (folder / "config.yaml").write_text(config(1883, "{kind: synthetic, size: 320x240}"))
    found = compile_config(folder / "config.yaml").plan
    assert found is not None
    return replace(found, pipelines=tuple(replace(each, delegate=delegate) for each in found.pipelines))


def test_the_engine_reads_the_folder_of_the_library_and_may_open_accelerators(tmp_path: Path) -> None:
    without, helped = (engine_fence(plan(tmp_path, each)) for each in (None, DelegatePlan("/opt/maker/lib/libx.so")))
    assert set(helped.reads) - set(without.reads) == {"/opt/maker/lib"}
    assert (without.writes, helped.writes) == ((), accelerators())
    assert not without.covers(helped)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "link").symlink_to("vendor")  # of a user: the engine follows only links of root, so its fence has none
    assert engine_fence(plan(tmp_path, DelegatePlan(f"{tmp_path}/link/libx.so"))).reads == (f"{tmp_path}/vendor",)
    named = engine_fence(plan(tmp_path, DelegatePlan("libedgetpu.so.1")))
    assert named.reads == without.reads


def test_the_accelerators_are_those_that_are_there(tmp_path: Path) -> None:
    for name in ("apex_0", "apex_1", "video0", "null"):
        (tmp_path / name).touch()
    (tmp_path / "bus" / "usb").mkdir(parents=True)
    assert accelerators(tmp_path) == tuple(str(tmp_path / name) for name in ("apex_0", "apex_1", "bus/usb"))
