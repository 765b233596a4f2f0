"""What swaps of models cost and what happens when they go wrong: each made for real, many times, and counted."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from edge_infer.contract.codec import decode, decode_json
from edge_infer.models.serving_record import APPLIED, FILE, Happened, ServingRecord
from edge_infer.plan.records import Plan
from edge_infer.supervisor.control.server import NotRunningError, ask
from edge_infer.supervisor.rollout.effective_plan import effective
from tests.broker import eventually
from tests.config.test_broken import BROKEN
from tests.exposition import Series, samples
from tests.faults import shadow
from tests.faults.powercuts import Recording, images
from tests.faults.soak import use
from tests.faults.writing import PATTERNS, save, save_half
from tests.moody import Mood, write_model
from tests.running import alive
from tests.swapping import P, Swapping, detector, short, swapping

HEADER: Final = f"{'what':<58} {'n':>5}  figures"
WITHIN: Final = 2.0
"""Seconds within which a new model answers (the median), and a refusal is told."""
BACK: Final = 5.0
"""Seconds within which the model of before is back."""
NONSENSE: Final = ("nonsense: 1", "\tx", "pipelines: {", "models: []", "- a", "mqtt: {port: 70000}", "}", "a: b: c")
MAX_SERIES: Final = 60 + 25
"""Metric series of a device with one pipeline."""
LIMIT: Final = 1.0
"""Seconds that a frame of the small models may take, which have no budget of their own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out of ``count`` repetitions, and whether it is what was promised."""

    what: str
    count: int
    figures: str
    kept: bool

    def __str__(self) -> str:
        """One line of the table."""
        return f"{self.what:<58} {self.count:>5}  {self.figures}{'' if self.kept else '   BROKEN'}"


def good_swaps(folder: Path, repeat: int) -> Iterator[Finding]:
    """Edits between two files of the shipped detector under 25 frames a second."""
    files = _detectors(folder)
    with swapping(folder, files[0], size="640x480") as running:
        engine, waits = running.daemon.pids()["engine"], []
        for number in range(1, repeat + 1):
            file = files[number % 2]
            moment = running.edit(file)
            waits.append(running.result(short(file), moment, 30).at - moment)
            if number % 3 == 0:
                running.model(state="active", deadline=30)  # some are committed, others overtaken by the next edit
        last = running.subscriber.on(f"{P}/hall/result")
        gaps = [after.at - before.at for before, after in pairwise(last)]
        numbers, stamps = [each.value["seq"] for each in last], [each.value["ts"] for each in last]
        dropped = running.daemon.status()["pipelines"]["hall"]["dropped"]
        lost, doubled = numbers[-1] - len(set(numbers)), len(numbers) - len(set(numbers))
        twice = len(stamps) - len(set(stamps))
        usual, middle = statistics.median(gaps), statistics.median(waits)
        assert running.daemon.pids()["engine"] == engine
        yield Finding(
            "good swaps under 25 fps: results", len(numbers),
            f"{lost} lost, {doubled} doubled, {twice} frames answered twice, {dropped} frames dropped by the source",
            lost == doubled == twice == 0,
        )  # fmt: skip
        yield Finding(
            "good swaps: save -> first result of the new model", repeat,
            f"median {middle:.2f} s, worst {max(waits):.2f} s", middle <= WITHIN,
        )  # fmt: skip
        yield Finding(
            "good swaps: between two results", len(gaps),
            f"usually {usual * 1000:.0f} ms, at most {max(gaps) * 1000:.0f} ms", max(gaps) <= usual + 0.5,
        )  # fmt: skip


def many_swaps(folder: Path, repeat: int) -> Iterator[Finding]:
    """Five times as many switches, by `models rollback` and `models retry`: what they leave behind."""
    files = _detectors(folder)
    with swapping(folder, files[0], size="640x480") as running:
        running.edit(files[1])
        running.model(state="active", sha=short(files[1]), deadline=30)
        rooms = {"supervisor": running.daemon.pid, **running.daemon.pids()}
        before: dict[str, tuple[int, int]] = {}
        series: set[Series] = set()
        for number in range(5 * repeat + 40):
            if number == 40:  # allocators have what they need
                before = {room: use(pid) for room, pid in rooms.items()}
                series = _series(running)
            action, file = (("rollback", files[0]), ("retry", files[1]))[number % 2]
            moment = time.monotonic()
            _ask(running, action)
            running.result(short(file), moment, 30)
        for room, pid in rooms.items():
            (files_before, memory_before), (files_after, memory_after) = before[room], use(pid)
            grown = (memory_after - memory_before) / 2**20
            yield Finding(
                f"switches: {room}", 5 * repeat,
                f"{files_before} -> {files_after} open files, {memory_after / 2**20:.1f} MB, {grown:+.1f} MB",
                grown <= 5.0 and files_after <= files_before,
            )  # fmt: skip
        same, count = _series(running) == series, len(series)
        yield Finding(
            "switches: metric series", 5 * repeat,
            f"{count}, {'the same' if same else 'others'} after, at most {MAX_SERIES}", same and count <= MAX_SERIES,
        )  # fmt: skip


def broken_files(folder: Path, repeat: int) -> Iterator[Finding]:
    """Broken configurations, written in all ways: each is refused with a reason, and nothing else happens."""
    chance = random.Random(4)
    old, new = write_model(folder / "old.tflite"), write_model(folder / "new.tflite", gain=0.9)
    with swapping(folder, old) as running:
        rooms, waits, silent, boot = running.daemon.pids(), [], 0, running.results()[0]["boot"]
        for number in range(repeat * 5 // 2):
            data = _broken(running.text(new), chance)
            pattern = list(PATTERNS)[number % len(PATTERNS)]
            save(pattern, running.daemon.config, data)
            moment = time.monotonic()
            said = running.subscriber.wait(
                f"{P}/config", lambda heard, m=moment: heard.at > m and heard.value["state"] == "rejected", 30
            )
            waits.append(said.at - moment)
            silent += not said.value["errors"] or not re.match(r".*:\d+: ", said.value["errors"][0])
        shas = {each["sha"] for each in running.results()}
        exits = sum(pid != rooms[room] for room, pid in running.daemon.pids().items())
        late = sum(wait > WITHIN for wait in waits)
        yield Finding(
            "broken configurations", len(waits),
            f"{exits} exits, {len(shas) - 1} applied in part, {silent} without a reason and its line; told after "
            f"{statistics.median(waits):.2f} s, at most {max(waits):.2f} s, {late} later than {WITHIN:g} s",
            exits == silent == late == 0 and shas == {short(old)} and {e["boot"] for e in running.results()} == {boot},
        )  # fmt: skip


def writers(folder: Path, repeat: int) -> Iterator[Finding]:
    """Every way of writing a file, killed in the middle, and then for good."""
    old, new = write_model(folder / "old.tflite"), write_model(folder / "new.tflite", gain=0.9)
    with swapping(folder, old) as running:
        for pattern in PATTERNS:
            partly, rounds = 0, max(1, repeat // 50)
            for _ in range(rounds):
                before = running.results()[-1]["sha"]
                file = old if before == short(new) else new
                save_half(pattern, running.daemon.config, running.text(file).encode())
                eventually(lambda r=running: _settled(r), "a settled file")
                partly += running.results()[-1]["sha"] != before
                moment = time.monotonic()
                save(pattern, running.daemon.config, running.text(file).encode())
                running.result(short(file), moment, 30)
            yield Finding(f"writers killed in the middle: {pattern}", rounds, f"{partly} applied in part", partly == 0)


def kills(folder: Path, repeat: int) -> Iterator[Finding]:
    """SIGKILL to supervisor, engine or both at any moment of a swap; the daemon is started again, as by systemd."""
    chance = random.Random(5)
    files = [write_model(folder / f"{number}.tflite", gain=1 - number / 100) for number in range(8)]
    with swapping(folder, files[0]) as running:
        lies, waits = [], []
        for number in range(max(1, repeat // 2)):
            running.edit(files[(number + 1) % len(files)])
            time.sleep(chance.uniform(0.3, 4.0))
            moment = time.monotonic()
            _kill(running, ("supervisor", "engine", "both")[number % 3])
            running.subscriber.wait(f"{P}/hall/result", lambda heard, m=moment: heard.at > m + 0.1, 60)
            waits.append(time.monotonic() - moment)
            settled = eventually(lambda r=running: _truth(r), lambda r=running: f"the truth: {_told(r)}", 60)
            lies += [settled] if settled != "true" else []
        yield Finding(
            "SIGKILL of supervisor, engine or both during a swap", len(waits),
            f"{len(lies)} untrue histories; a model serves after {statistics.median(waits):.1f} s, at most "
            f"{max(waits):.1f} s", not lies,
        )  # fmt: skip


def power_cuts(folder: Path, repeat: int) -> Iterator[Finding]:
    """A power cut after every system call with which the supervisor writes its record, on three kinds of disks."""
    chance = random.Random(6)
    files = [write_model(folder / f"{number}.tflite", gain=1 - number / 100) for number in range(5)]
    with swapping(folder, files[0]) as running:
        state = folder / "state"
        with Recording(running.daemon.pid, folder / "calls") as recording:
            for file in files[1 : 2 + repeat // 60]:
                running.edit(file)
                running.model(state="active", sha=short(file), deadline=30)
            for action in ("rollback", "retry"):
                _ask(running, action)
    count, torn, older, homeless = 0, 0, 0, 0
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    versions: list[bytes] = []
    for disk, image in images(recording.calls(), state, chance):
        count += 1
        written = disk.contents[disk.names[FILE]] if FILE in disk.names else None
        if written is not None and written not in versions:
            versions.append(written)
        if FILE not in image:
            continue  # the one from before the recording is still there
        least = disk.synced[disk.kept[FILE]] if FILE in disk.kept else versions[0]
        if image[FILE] not in versions:
            torn += 1
        elif versions.index(image[FILE]) < versions.index(least):
            older += 1
        elif APPLIED in image:
            homeless += not _serves(image, digests - {Path(path).stem for path in disk.removed})
    yield Finding(
        "power cuts over the record", count,
        f"{len(versions)} records; {torn} torn, {older} older than what was synced, {homeless} without a model",
        torn == older == homeless == 0 and count >= repeat * 3 // 2,
    )  # fmt: skip


def moods(folder: Path, repeat: int) -> Iterator[Finding]:
    """Models that go bad at their 20th frame, and an engine that is killed or stopped from outside at that moment."""
    old = write_model(folder / "old.tflite")
    times: dict[str, list[float]] = {}
    cases: tuple[Mood, ...] = ("nan", "constant", "slow", "hang")
    outside = (signal.SIGKILL, signal.SIGSTOP)
    with swapping(folder, old) as running:
        for number in range(max(1, repeat // 40)):
            for case in (*cases, *outside):
                gain = 0.9 - number / 1000
                mood: Mood = "good" if isinstance(case, signal.Signals) else case
                bad = write_model(folder / f"bad{number}{case}.tflite", mood, gain=gain)
                moment = running.edit(bad)
                since = _twentieth(running, short(bad), moment, None if mood != "good" else signal.Signals(case))
                back = running.result(short(old), since, 30)
                name = case.name if isinstance(case, signal.Signals) else case
                times.setdefault(name, []).append(back.at - since)
                running.model(state="rolled_back", sha=short(old), deadline=30)
                running.edit(old)
                running.model(state="active", sha=short(old), deadline=30)
    for name, seconds in times.items():
        most = BACK + LIMIT if name in ("hang", "SIGSTOP") else BACK
        yield Finding(
            f"20th frame {name} -> first result of the model before", len(seconds),
            f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s, at most {most:g} s",
            max(seconds) <= most,
        )  # fmt: skip


def shadows(_folder: Path, repeat: int) -> Iterator[Finding]:
    """Frames beside a shadow, a hundred times as many as edits, and a tenth of that on one core."""
    for frames, one_core in ((repeat * 100, False), (repeat * 10, True)):
        cost = shadow.measure(frames, one_core=one_core)
        low, high = min(cost.ratios), max(cost.ratios)
        yield Finding(
            f"frames beside a shadow of a fifth{', on one core' if one_core else ''}", cost.frames,
            f"{cost.ratio:.3f} of as fast as without (median of {len(cost.ratios)} turns of {low:.2f} to {high:.2f}); "
            f"{cost.shadow.frames} compared, {cost.shadow.skipped} skipped", cost.kept,
        )  # fmt: skip


FAULTS: Final[tuple[Callable[[Path, int], Iterator[Finding]], ...]] = (
    good_swaps, many_swaps, broken_files, writers, kills, power_cuts, moods, shadows,
)  # fmt: skip


def _detectors(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [detector(folder / f"detector{number}.tflite", "1.0.0", 16 * number) for number in range(2)]


def _broken(text: str, chance: random.Random) -> bytes:
    """A file that cannot be right: one of a list, or this one with a line of nonsense in it."""
    if chance.random() < 0.3:
        return (chance.choice(list(BROKEN.values())) + f"\n# {chance.random()}\n").encode()
    lines = text.splitlines()
    spot = chance.randrange(1, len(lines))
    nonsense = chance.choice(
        ("nonsense: 1", "\tx", "pipelines: {", "models: []", "- a", "mqtt: {port: 70000}", "}", "a: b: c")
    )
    changed = [*lines[:spot], nonsense, *lines[spot:], f"# {chance.random()}"]
    return ("\n".join(changed) + "\n").encode()


def _ask(running: Swapping, action: str) -> str:
    socket = running.daemon.folder / "state" / "control.sock"
    answer = ask(socket, {"do": "models", "action": action, "name": "light"}, timeout=30)
    while "in a row" in answer.get("error", ""):  # a user may change something once a second in the long run
        time.sleep(0.5)
        answer = ask(socket, {"do": "models", "action": action, "name": "light"}, timeout=30)
    assert "done" in answer, answer
    return str(answer["done"])


def _series(running: Swapping) -> set[Series]:
    """The metric series, without the digest and version of the model that serves."""
    done = running.daemon.command("metrics")
    assert done.returncode == 0, done.stderr
    found = samples(done.stdout)
    return {(name, frozenset(pair for pair in labels if pair[0] not in ("sha", "version"))) for name, labels in found}


def _settled(running: Swapping) -> bool:
    """Whether the file as it is now has been judged, or was applied already."""
    config = running.daemon.status().get("config") or {}
    data = running.daemon.config.read_bytes() if running.daemon.config.exists() else b""
    return config.get("state") == "rejected" or not data or data.endswith(b"\n")


def _kill(running: Swapping, who: str) -> None:
    rooms = running.daemon.pids()
    if who != "supervisor" and "engine" in rooms:
        os.kill(rooms["engine"], signal.SIGKILL)
    if who != "engine":
        running.daemon.signal(signal.SIGKILL)
        running.daemon.wait(10)
        eventually(lambda: not any(alive(pid) for pid in rooms.values()), "the end of the rooms")
        running.daemon.start()


def _truth(running: Swapping) -> str | None:
    """``true`` once the history and what serves agree; None while something is still being tried."""
    try:
        told, last = _told(running), running.results()[-1]["sha"]
    except (NotRunningError, KeyError):
        return None
    if told["state"] in ("staging", "probation") or last != told["sha"]:
        return None
    return "true" if _by_history(told["history"]) == told["sha"] else None


def _told(running: Swapping) -> dict[str, Any]:
    """What the daemon says of the model and of its history."""
    answer = ask(running.daemon.folder / "state" / "control.sock", {"do": "models", "action": "history"}, timeout=10)
    history = [decode(Happened, each) for each in answer["history"]]
    model: dict[str, Any] = running.daemon.status()["models"]["light"]
    return {**model, "history": history}


def _by_history(history: list[Happened]) -> str:
    """The digest that serves if all this has happened in this order."""
    serving: list[str] = []
    trial = ""
    for each in history:
        sha = each.sha[:8]
        if each.what == "first":
            serving.append(sha)
        elif each.what == "tried":
            trial = sha
        elif each.what == "committed":
            serving.append(sha)
            trial = ""
        elif each.what in ("rolled_back", "rejected", "superseded") and sha == trial:
            trial = ""
        elif each.what == "rolled_back" and serving[-1] == sha:
            serving.pop()
    return trial or serving[-1]


def _serves(image: dict[str, bytes], copies: set[str]) -> bool:
    """Whether there is a copy of every model that a start with these files would run."""
    plan = effective(decode_json(Plan, image[APPLIED]), decode_json(ServingRecord, image[FILE]))
    return all(pipeline.model.sha256 in copies for pipeline in plan.pipelines)


def _twentieth(running: Swapping, sha: str, moment: float, number: signal.Signals | None) -> float:
    """When the 19th result of a model came; the engine gets a signal then."""

    def found() -> list[float]:
        heard = [each for each in running.subscriber.on(f"{P}/hall/result") if each.at > moment]
        return [each.at for each in heard if each.value["sha"] == sha][18:19]

    engine = running.daemon.pids()["engine"]
    at: float = eventually(found, f"19 results of {sha}", 30)[0]
    if number is not None:
        os.kill(engine, number)
        return time.monotonic()
    return at
