"""The reader's process, driven over its two channels as supervisor and engine drive it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from edge_infer.contract.codec import JsonValue
from edge_infer.ipc.channel import ChannelClosedError
from edge_infer.ipc.messages import FrameReady, ReaderTrouble
from tests.readers.paced import TARGET, sealed_with_checksum
from tests.readers.rig import Rig, make_plan, parent_of, until


def paced(**options: JsonValue) -> dict[str, JsonValue]:
    return {"pause": 0.01, **options}


def rig_of(folder: Path, **options: JsonValue) -> Rig:
    return Rig(make_plan("paced", paced(**options), target=TARGET), folder)


@pytest.mark.parametrize("placed", [True, False])
def test_no_frame_is_ever_written_while_it_is_held(tmp_path: Path, placed: bool) -> None:
    """Frames come as fast as they can be made, and are looked at slowly."""
    with rig_of(tmp_path, pause=0.0, width=320, height=240, placed=placed) as rig:
        rig.frame()
        lent = []
        seen = set()
        while len(seen) < 150:
            event = rig.receiver.receive(5.0)
            assert isinstance(event, FrameReady)
            held = rig.receiver._memory  # what the reader could write into
            assert held is not None
            before = sealed_with_checksum(held.pixels(event.slot))
            time.sleep(0.002)
            assert before
            assert sealed_with_checksum(held.pixels(event.slot))
            assert sealed_with_checksum(rig.receiver.copy().pixels)
            seen.add(event.number)
            lent.append(rig.receiver.lend().pixels)
            if len(lent) == 3:  # the next two have come meanwhile, and others that were skipped
                assert sealed_with_checksum(lent.pop(0))
        assert max(seen) - min(seen) >= len(seen)


def test_a_new_engine_gets_memory_of_its_own_and_only_new_frames(tmp_path: Path) -> None:
    with rig_of(tmp_path) as rig:
        old = rig.receiver
        last = rig.frame().monotonic
        held, slot = old._memory, old._held
        assert held is not None
        assert slot is not None
        copy = held.pixels(slot.slot).copy()
        for _ in range(3):
            started = time.monotonic()
            rig.new_engine()
            frame = rig.frame()
            assert frame.monotonic > max(last, started - 1.0)
            assert sealed_with_checksum(frame.pixels)
            last = frame.monotonic
        assert (held.pixels(slot.slot) == copy).all()


def test_a_reader_that_cannot_load_its_own_program_says_so_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('a long text\\n\\nNo module named contextvars')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with rig_of(tmp_path) as rig:
        trouble = rig.trouble()
        until(lambda: True if not rig.alive() else None, "its end")
    assert trouble.text.startswith("No module named contextvars (is the program in a folder that only root can read?")
    assert "a long text" not in rig.log.read_text()


def test_a_reader_that_dies_while_it_writes_spoils_nothing(tmp_path: Path) -> None:
    with rig_of(tmp_path, act="die", at=8) as rig:
        lent = []
        for _ in range(3):
            rig.ready()
            lent.append(rig.receiver.lend())
            until(lambda: True if not rig.alive() else None, "its end")
            while isinstance(rig.receiver.receive(), FrameReady):  # what it has said before
                assert sealed_with_checksum(rig.receiver.lend().pixels)
            rig.kill()
            rig.start()
        assert all(sealed_with_checksum(frame.pixels) for frame in lent)


def test_a_new_reader_goes_on_in_the_same_channel(tmp_path: Path) -> None:
    with rig_of(tmp_path) as rig:
        last = rig.frame().number
        for _ in range(3):
            rig.kill()
            rig.start()
            frame = rig.frame()
            assert frame.number > last
            assert sealed_with_checksum(frame.pixels)
            last = frame.number


def test_a_size_that_changes_brings_new_memory(tmp_path: Path) -> None:
    with rig_of(tmp_path, act="resize", at=20) as rig:
        assert rig.frame().size == (160, 120)
        frame = rig.frame(lambda frame: frame.size == (120, 160))
        assert sealed_with_checksum(frame.pixels)


def test_rotation_and_the_rate_limit_are_applied(tmp_path: Path) -> None:
    plan = make_plan("paced", paced(), target=TARGET, rotate=90, flip="vertical", fps=5.0)
    with Rig(plan, tmp_path) as rig:
        first = rig.frame()
        assert first.size == (120, 160)
        tenth = rig.frame(lambda frame: frame.number >= 10)
        assert tenth.monotonic - first.monotonic > (tenth.number - first.number - 1.5) / 5.0


def test_a_hang_shows_in_the_report_and_costs_nothing_but_the_reader(tmp_path: Path) -> None:
    with rig_of(tmp_path, act="hang", at=3) as rig:
        rig.frame()
        assert rig.report(lambda report: report.busy > 1.5).frames == 2
        assert rig.kill(signal.SIGTERM) == 0


@pytest.mark.parametrize("act", ["fail", "throw"])
def test_a_failure_is_told_and_the_source_opened_again(act: str, tmp_path: Path) -> None:
    with rig_of(tmp_path, act=act, at=5) as rig:
        first = rig.frame()
        trouble = rig.trouble()
        assert trouble.text == (
            "the lens fell off" if act == "fail" else "unexpected RuntimeError: a fault of a plug-in"
        )
        assert not trouble.ended
        assert rig.report(lambda report: report.error == trouble.text).frames >= 4
        assert rig.frame(lambda frame: frame.number > first.number + 3).number > 4


def test_the_end_of_a_source_is_told_to_every_engine(tmp_path: Path) -> None:
    with rig_of(tmp_path, act="end", at=3) as rig:
        assert rig.trouble() == ReaderTrouble("the source has ended", ended=True)
        rig.new_engine()
        assert rig.trouble() == ReaderTrouble("the source has ended", ended=True)
        assert rig.report(lambda report: report.error != "").busy == 0.0


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    with rig_of(tmp_path, act="hang", at=1) as rig:
        rig.report()
        assert rig.control is not None
        rig.control.close()
        assert rig.process is not None
        assert rig.process.wait(10) == 0


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG, while somebody else still holds both of its channels."""
    with rig_of(tmp_path) as rig:
        rig.frame()
        parent = os.fork()
        if parent == 0:
            rig.start()
            (tmp_path / "pid").write_text(f"{rig.pid}\n")
            signal.pause()
        try:
            number = tmp_path / "pid"
            child = int(until(lambda: number.read_text().strip() or None if number.exists() else None, "its number"))
            until(lambda: True if b"edge_infer.readers" in Path(f"/proc/{child}/cmdline").read_bytes() else None, "it")
        finally:
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)
        until(lambda: True if parent_of(child) is None else None, "the reader's end")


def test_it_is_locked(tmp_path: Path) -> None:
    with rig_of(tmp_path) as rig:
        rig.frame()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{rig.pid}/status").read_text().splitlines())
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"


def test_an_engine_notices_when_everybody_is_gone(tmp_path: Path) -> None:
    with rig_of(tmp_path) as rig:
        rig.frame()
        rig.kill()
        os.close(rig._ends[1])
        with pytest.raises(ChannelClosedError):
            until(lambda: rig.receiver.receive(0.1) and None, "the end of the channel")
