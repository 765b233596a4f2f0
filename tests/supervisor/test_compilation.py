"""What the process that reads the configuration answers is not believed where the supervisor knows better."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.errors import StartError
from edge_infer.plan.records import Compiled
from edge_infer.platform.paths import written_state_dirs
from edge_infer.supervisor.processes.helper_process import HelperResult
from edge_infer.supervisor.reload.compilation import Compilation, _names_merged
from tests.broker import eventually
from tests.running import config


def answer_of(compilation: Compilation) -> Compiled:
    end = time.monotonic() + 60
    while (found := compilation.finished()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    compilation.close()
    return found


def test_another_state_directory_or_a_nul_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    compilation = Compilation(path, state_dir=tmp_path / "state")
    good = answer_of(compilation)
    assert good.plan is not None, good.problems
    elsewhere = replace(good.plan, state_dir=str(tmp_path / "home"))
    hostile = replace(good.plan, mqtt=replace(good.plan.mqtt, password_file="/a\0b"))
    harmless = replace(good.plan, mqtt=replace(good.plan.mqtt, password_file="/a\\u0000b"))  # no NUL
    said = HelperResult(dumps(replace(good, plan=harmless)), 0)
    monkeypatch.setattr(compilation._errand, "said", lambda said=said: said)
    assert compilation.finished() == replace(good, plan=harmless)
    merged = replace(good.plan, merged=True)
    for plan, words in (
        (elsewhere, "another state directory"),
        (hostile, "a text with a NUL"),
        (merged, "merges rooms and the file does not"),
    ):
        said = HelperResult(dumps(replace(good, plan=plan)), 0)
        monkeypatch.setattr(compilation._errand, "said", lambda said=said: said)
        refused = compilation.finished()
        assert refused is not None
        assert refused.plan is None
        assert words in refused.problems[0].text


@pytest.mark.parametrize(
    "written", ["rooms: merged", "'rooms': \"merged\"", "rooms:\n  merged", "rooms: ${ROOMS}", "rooms : merged # small"]
)
def test_merged_rooms_are_those_of_the_file(tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMS", "merged")
    path = tmp_path / "config.yaml"
    path.write_text(f"{config(1883)}{written}\n")
    found = answer_of(Compilation(path, state_dir=tmp_path / "state"))
    assert found.plan is not None, found.problems
    assert found.plan.merged


@pytest.mark.parametrize("written", ["", "# rooms: merged", "rooms: separate # merged", "# rooms:\n#   merged"])
def test_other_files_merge_nothing(tmp_path: Path, written: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{config(1883)}{written}\n")
    assert not _names_merged(path)


def test_a_process_that_was_started_ahead_reads_the_file_as_it_is_when_it_may(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("half of a")
    compilation = Compilation(path, state_dir=tmp_path / "state", ahead=True)
    eventually(lambda: _rests(compilation.pid), "a process that has loaded its modules and waits")
    assert compilation.waits()
    assert compilation.finished() is None
    path.write_text(config(1883))
    compilation.go()
    assert not compilation.waits()
    assert answer_of(compilation).problems == ()


def test_a_process_that_has_waited_long_has_all_its_time_to_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    compilation = Compilation(path, state_dir=tmp_path / "state", ahead=True)
    compilation._errand._deadline = time.monotonic() - 1.0
    compilation.go()
    assert answer_of(compilation).problems == ()


def test_a_process_that_was_started_ahead_ends_without_its_parent_asking(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    compilation = Compilation(path, state_dir=tmp_path / "state", ahead=True)
    process = psutil.Process(compilation.pid)
    compilation.close()
    assert not process.is_running()
    dead = Compilation(path, state_dir=tmp_path / "state", ahead=True)
    psutil.Process(dead.pid).kill()
    eventually(lambda: not dead.waits(), "its end")
    dead.close()
    assert not (tmp_path / "state" / "trials" / "tried.json").exists(), "nothing was read"


def test_a_process_that_dies_says_nothing_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    compilation = Compilation(path, state_dir=tmp_path / "state")
    psutil.Process(compilation.pid).kill()
    found = answer_of(compilation)
    assert (found.machine, found.unread, found.problems[0].outside) == (True, True, True)
    assert str(found.problems[0]).startswith(
        f"{path}: it could not be read now: the process that reads it was killed by SIGKILL (if nobody sent it, the "
    )
    assert "MemoryMax=" in found.problems[0].text
    for status, again in ((-signal.SIGSEGV, True), (1, True), (0, False), (2, False)):
        monkeypatch.setattr(compilation._errand, "said", lambda status=status: HelperResult(b"", status))
        refused = compilation.finished()
        assert refused is not None
        assert refused.unread == again
        assert "MemoryMax" not in refused.problems[0].text


def _rests(pid: int) -> bool:
    """Whether a process needs no processor time for a while, after it has needed some."""
    before = psutil.Process(pid).cpu_times()
    time.sleep(0.3)
    return psutil.Process(pid).cpu_times() == before and before.user > 0.1


def test_a_path_with_a_nul_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    with path.open() as file, pytest.raises(StartError, match="no process can be started to read it"):
        Compilation(path, store=False, draft=("a\0b", file.fileno()))


@pytest.mark.parametrize("place", ["other", "", "sta", "mode"])
def test_a_folder_that_the_file_does_not_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path, other = tmp_path / "config.yaml", tmp_path / "other"
    path.write_text(config(1883))
    other.mkdir()
    (other / "topics.json").write_text("mine")
    compilation = Compilation(path)
    hostile = HelperResult(dumps(Compiled("0" * 64, None, elsewhere=f"{tmp_path}/{place}")), 0)
    monkeypatch.setattr(compilation._errand, "said", lambda: hostile)
    refused = compilation.finished()
    compilation.close()
    assert refused is not None
    assert "names a state directory that is not in the file" in refused.problems[0].text
    assert [each.name for each in other.iterdir()] == ["topics.json"]
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    "written",
    ["state_dir: state", "state_dir: ./state/", "state_dir: other/../state", '"state_dir": state',
     "state_dir: >-\n    state", "state_dir: ${PLACE}", '"state_dir": "${PLACE}"'],
)  # fmt: skip
def test_a_state_directory_may_be_written_in_any_way(
    tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "state")
    (tmp_path / "other").mkdir()
    path = tmp_path / "config.yaml"
    device, rest = config(1883).split("\n", 1)
    assert "state_dir: state" in device
    path.write_text(f"device:\n  id: box\n  {written}\n{rest}")
    found = answer_of(Compilation(path))
    assert found.plan is not None, found.problems
    assert Path(found.plan.state_dir).resolve() == tmp_path / "state"


def test_nothing_is_stored_in_a_folder_of_another_program(tmp_path: Path) -> None:
    book = tmp_path / "state" / "blobs" / "book"
    book.parent.mkdir(parents=True)
    book.write_text("mine")
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    found = answer_of(Compilation(path))
    assert found.plan is None
    assert "contains blobs, which another program made" in found.problems[0].text
    assert [each.name for each in book.parent.iterdir()] == ["book"]
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["blobs"]


PLUGIN = """
import os, socket
from dataclasses import dataclass

@dataclass(frozen=True)
class Options:
    channel: int

class Thermal:
    gives, noisy, live, network, lossless = "image", True, True, False, False
    Options = Options

    def __init__(self, options):
        {opens}
"""


@pytest.mark.parametrize(
    ("opens", "fails"),
    [
        ("pass", False),
        ("socket.socket(socket.AF_INET)", True),
        ("socket.socket(socket.AF_UNIX)", True),
        ("os.open('/dev/full', os.O_RDWR)", True),
    ],
)
def test_a_plug_in_that_is_only_described_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: str, fails: bool
) -> None:
    info = tmp_path / "site" / "thermal-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "thermal_camera.py").write_text(PLUGIN.format(opens=opens))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thermal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_infer.sources]\nthermal = thermal_camera:Thermal\n")
    monkeypatch.setenv("PYTHONPATH", str(info.parent))
    path = tmp_path / "config.yaml"
    path.write_text(config(1883, "{kind: thermal, channel: 2}"))
    found = answer_of(Compilation(path, state_dir=tmp_path / "state"))
    assert (found.plan is None) == fails, found.problems
    assert not fails or "thermal_camera:Thermal cannot be used" in found.problems[0].text


def test_a_variable_that_is_empty_is_expanded_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUFFIX", "")
    path = tmp_path / "config.yaml"
    path.write_text("device: {state_dir: 'state${SUFFIX}'}\n")
    assert written_state_dirs(path, 4096) == {tmp_path / "state"}
