"""The threads of a pipeline run on the CPUs that it names, those of the runtime included, also after a reload."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_infer.engine.threads import stay_on, staying_on
from edge_infer.errors import ModelError
from tests.broker import Broker, eventually
from tests.running import CLIP, Daemon, config

ALL = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(len(ALL) == 1, reason="one CPU: every thread runs on it")
FIRST, SECOND = sorted(ALL)[:2] if len(ALL) > 1 else (0, 0)


def in_a_thread(act: object) -> None:
    """Done in a thread of its own, whose CPUs are nobody's after it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_a_thread_and_what_it_makes_stays_and_goes_back_to_all() -> None:
    def act() -> None:
        stay_on((SECOND,))
        seen: list[set[int]] = []
        below = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        below.start()
        below.join()
        assert seen == [{SECOND}]
        stay_on(())
        assert os.sched_getaffinity(0) == ALL

    in_a_thread(act)
    assert os.sched_getaffinity(0) == ALL


def test_for_a_while() -> None:
    with staying_on((FIRST,)):
        assert os.sched_getaffinity(0) == {FIRST}
    assert os.sched_getaffinity(0) == ALL


def test_a_cpu_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match=r"it cannot run on the CPUs 4000 .*; this process may use "):
        in_a_thread(lambda: stay_on((4000,)))


def masks(pid: int) -> list[str]:
    """On which CPUs each thread of a process may run, its first one first."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
        try:
            lines = (task / "status").read_text().splitlines()
        except OSError:
            continue  # it has ended
        found += [line.split()[1] for line in lines if line.startswith("Cpus_allowed_list:")]
    return found


def test_the_threads_of_the_engine(broker: Broker, tmp_path: Path) -> None:
    text = (
        config(broker.port, f"{{kind: video, file: {CLIP}, loop: true, realtime: false}}")  # prefetched all the time
        .replace("threads: 1, ", "")
        .replace(", fps: 10}", "KEYS, ahead: always}")
    )
    with Daemon(tmp_path, text.replace("KEYS", f", threads: 2, affinity: [{SECOND}]")) as daemon:
        daemon.wait_serving()
        engine = daemon.pids()["engine"]
        all_of_them = masks(engine)[0]

        def on(cpu: int, threads: int) -> bool:
            return masks(engine).count(str(cpu)) >= threads and masks(engine)[0] == all_of_them

        # The worker, the one that prepares frames, and the runtime's second one.
        eventually(lambda: on(SECOND, 3), "three threads on the second CPU")
        daemon.config.write_text(text.replace("KEYS", f", threads: 2, affinity: [{FIRST}]"))
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: on(FIRST, 3) and str(SECOND) not in masks(engine), "all three on the first one")
        daemon.config.write_text(text.replace("KEYS", ""))
        assert daemon.reload()["state"] == "applied"
        eventually(lambda: set(masks(engine)) == {all_of_them}, "all threads on all CPUs")
        assert daemon.pids()["engine"] == engine
