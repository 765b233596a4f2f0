"""One child: what it is told arrives, however slow it is; what cannot be started is tried again."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_infer.ipc.messages import Announce, GrabDone
from edge_infer.supervisor.processes.child import (
    KILLED_PAUSE,
    LONGEST_PAUSE,
    MOST_UNSENT,
    QUICK_KILLS,
    SERVED,
    SERVED_PAUSE,
    SOON,
    ChildProcess,
    ChildSpec,
)
from tests.broker import eventually
from tests.running import ROOT

Make = Callable[..., ChildProcess]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    children: list[ChildProcess] = []

    def make_child(deaf: float = 0.0, module: str = "tests.supervisor.listener") -> ChildProcess:
        child = ChildProcess(ChildSpec("listener", module, ("--deaf", str(deaf)), (GrabDone,)))
        children.append(child)
        child.start()
        return child

    yield make_child
    for child in children:
        child.kill()
        child.stop(5.0)


def heard(child: ChildProcess, count: int) -> list[str]:
    words: list[str] = []

    def listen() -> bool:
        select.select(child.files(), child.unsent(), [], 0.05)
        words.extend(word.error for word in child.hear())
        return len(words) >= count

    eventually(listen, f"{count} words", 20)
    return words


def places() -> set[str]:
    """What this process has open, by number and content."""
    return {f"{link.name} {link.readlink()}" for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_long_record_reaches_a_child_that_starts_slowly_and_nobody_waits_for_it(make: Make) -> None:
    child = make(deaf=1.0)
    began = time.monotonic()
    sizes = [2_000_000, 10, 700_000]
    for size in sizes:
        assert child.tell(Announce("info", "x" * size))
    assert time.monotonic() - began < 1.0  # it was told before it listened
    assert heard(child, 3) == [str(size) for size in sizes]
    assert child.unsent() == []


def test_a_child_that_never_listens_is_killed_before_it_eats_the_memory(make: Make) -> None:
    child = make(deaf=600.0)
    for _ in range(MOST_UNSENT // 4_000_000 + 2):
        child.tell(Announce("info", "x" * 4_000_000))
    assert eventually(child.ended, "its end") == -signal.SIGKILL


def test_files_travel_even_when_the_sender_has_closed_them(make: Make, tmp_path: Path) -> None:
    child = make(deaf=0.5)
    before = open_files()
    child.tell(Announce("info", "x" * 2_000_000))
    with (tmp_path / "file").open("wb") as file:
        child.tell(Announce("info", "a file"), (file.fileno(),))
    assert heard(child, 2) == ["2000000", "6"]
    assert open_files() == before


def free_descriptors() -> list[int]:
    """The numbers that the next files get; the limit is one on numbers, and other tests may have left gaps."""
    return [number for number in range(256) if not Path(f"/proc/self/fd/{number}").is_symlink()]


def test_what_cannot_be_started_now_is_due_later_and_leaks_nothing(make: Make) -> None:
    child = make()
    child.kill()
    eventually(lambda: child.ended() is not None, "its end")
    before = open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    for limit in free_descriptors()[:8]:  # every call that makes a descriptor fails once
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            child.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if child.pid is not None:
            break
        failures += 1
        assert child.due > time.monotonic()
        assert open_files() == before
    assert child.pid is not None
    assert failures


def test_a_child_that_has_not_spoken_has_not_been_heard(make: Make) -> None:
    child = make(deaf=600.0)
    assert not child.spoke
    assert child.silent() < 60.0
    child.kill()
    assert eventually(child.ended, "its end") == -signal.SIGKILL


def killed(child: ChildProcess) -> float:
    """Seconds from its death until it is due again."""
    child.kill()
    eventually(lambda: child.ended() is not None, "end of the child")
    return child.due - time.monotonic()


def test_a_child_that_served_is_started_again_soon_however_often_it_is_killed(make: Make) -> None:
    child = make()
    for _ in range(6):
        child.tell(Announce("info", "hello"))
        heard(child, 1)
        eventually(lambda: time.monotonic() - child.started > SERVED, "a second of life")
        assert killed(child) <= SERVED_PAUSE
        child.start()


def test_a_child_that_is_killed_at_once_is_started_again_soon(make: Make) -> None:
    child = make()
    for _ in range(7):
        assert killed(child) <= KILLED_PAUSE
        child.start()


def killed_by_others(child: ChildProcess) -> float:
    """Seconds from its death until it is due again, as the kernel kills for lack of memory."""
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: child.ended() is not None, "end of the child")
    return child.due - time.monotonic()


def test_a_child_that_others_kill_soon_after_each_start_is_started_again_later_and_later(make: Make) -> None:
    child = make()
    pauses = []
    for _ in range(8):
        pauses.append(killed_by_others(child))
        child.start()
    assert max(pauses[:QUICK_KILLS]) <= KILLED_PAUSE
    assert pauses[-1] > KILLED_PAUSE
    assert max(pauses) <= LONGEST_PAUSE
    child.started -= SOON  # it has lived for a while
    assert killed_by_others(child) <= KILLED_PAUSE


def test_a_child_that_ends_at_once_is_started_again_later_and_later(make: Make) -> None:
    child = make(module="tests.supervisor.nowhere")
    pauses = []
    for _ in range(6):
        eventually(lambda: child.ended() is not None, "its end")
        pauses.append(child.due - time.monotonic())
        child.start()
    assert max(pauses) > KILLED_PAUSE
    assert max(pauses) <= LONGEST_PAUSE


def in_a_thread(*words: str) -> ChildProcess:
    child = ChildProcess(ChildSpec("listener", "tests.supervisor.listener", words, (GrabDone,)))
    child.start(thread=True)
    return child


def test_a_thread_is_a_child_like_others_that_nobody_can_end() -> None:
    gc.collect()  # what tests before this one have left open is closed now, and not in its course
    before = places()
    child = in_a_thread()
    child.tell(Announce("info", "hello"))
    assert heard(child, 1) == ["5"]
    assert child.pid == os.getpid()
    assert not child.unkilled
    child.kill()
    assert child.unkilled
    assert not child.stop(0.1)
    assert child.ended() is None  # nobody waits for it any more: it finds its channel closed
    eventually(lambda: "listener" not in {thread.name for thread in threading.enumerate()}, "end of the thread")
    assert len(places() - before) <= 1  # by which it told its end; its number may be that of one of an earlier test


def test_a_thread_with_a_fault_has_ended_with_1_and_may_be_started_again() -> None:
    before = open_files()
    child = in_a_thread("--fault")
    for start in range(2):
        child.tell(Announce("info", "hello"))
        assert eventually(child.ended, "its end") == 1
        assert child.due > time.monotonic()
        assert open_files() == before
        if not start:
            child.start(thread=True)
