"""Edits that come at a bad moment: while another one is under way, or while the model of the last one is watched."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import pytest

from edge_infer.contract.codec import decode
from edge_infer.models.serving_record import Happened
from edge_infer.supervisor.control.server import ask
from tests.broker import eventually
from tests.faults.writing import save
from tests.moody import write_model
from tests.swapping import P, Swapping, short, swapping

LONG: Final = 60.0
"""Seconds; a busy machine takes ten to read a configuration."""
ROOT = Path(__file__).parents[2]
EDITOR = """
import random, sys, time
from pathlib import Path
from tests.faults.writing import PATTERNS
name, folder, seed, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
chance, end = random.Random(seed), time.monotonic() + seconds
while time.monotonic() < end:
    data = chance.choice(sorted(folder.glob(f"{name}*"))).read_bytes()
    try:
        PATTERNS[chance.choice(sorted(PATTERNS))](folder / "box" / "config.yaml", data, lambda: time.sleep(0.3))
    except (OSError, ValueError):
        pass  # the other one has just taken the file away
    time.sleep(chance.random() * 1.2)
"""
"""Saves one of several files, as different programs do it, halting in the middle; the folder and how long."""


@pytest.fixture(scope="module")
def slowly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Swapping, Path]]:
    """A daemon in which a model is watched for a minute."""
    folder = tmp_path_factory.mktemp("edits")
    old = write_model(folder / "old.tflite")
    with swapping(folder / "box", old, fps=1) as found:
        yield found, old


@pytest.fixture
def running(slowly: tuple[Swapping, Path]) -> Swapping:
    found, old = slowly
    found.fps = 60
    found.edit(old)
    found.model(state="active", sha=short(old), deadline=LONG)
    found.fps = 1
    found.edit(old)
    eventually(lambda: found.daemon.status()["config"]["digest"] == digest(found), "the slow source", LONG)
    return found


def digest(running: Swapping) -> str:
    """Of the configuration as it is."""
    return hashlib.sha256(running.daemon.config.read_bytes()).hexdigest()


def applied(running: Swapping) -> str | None:
    """The digest of the configuration that was applied, if it was the last one that was read."""
    config = running.daemon.status()["config"]
    return config["digest"] if config["state"] == "applied" else None


def history(running: Swapping) -> list[tuple[str, str]]:
    """What happened to which digest, the oldest first."""
    answer = ask(running.daemon.folder / "state" / "control.sock", {"do": "models", "action": "history"}, timeout=10)
    return [(each.what, each.sha[:8]) for each in (decode(Happened, item) for item in answer["history"])]


def test_an_edit_back_while_the_model_is_watched_takes_it_back(
    running: Swapping, slowly: tuple[Swapping, Path], tmp_path: Path
) -> None:
    old, new = slowly[1], write_model(tmp_path / "new.tflite", gain=0.5)
    before = len(history(running))
    save("sed", running.daemon.config, running.text(new).encode())
    running.result(short(new), time.monotonic(), LONG)
    save("backup", running.daemon.config, running.text(old).encode())
    said = running.model(state="active", sha=short(old), deadline=LONG)
    assert "reason" not in said
    running.result(short(old), time.monotonic(), LONG)
    assert history(running)[before:] == [("tried", short(new)), ("superseded", short(new))]
    save("sed", running.daemon.config, running.text(new).encode())  # nothing speaks against another try
    running.model(state="probation", sha=short(new), deadline=LONG)
    assert history(running)[before + 2 :] == [("tried", short(new))]


def test_an_edit_to_a_third_model_while_the_second_is_watched_keeps_the_first_to_go_back_to(
    running: Swapping, slowly: tuple[Swapping, Path], tmp_path: Path
) -> None:
    old = slowly[1]
    second, third = (write_model(tmp_path / f"gain{gain}.tflite", gain=gain / 10) for gain in (7, 8))
    before = len(history(running))
    save("sed", running.daemon.config, running.text(second).encode())
    running.result(short(second), time.monotonic(), LONG)
    save("backup", running.daemon.config, running.text(third).encode())
    assert running.model(state="probation", sha=short(third), deadline=LONG)["previous"] == short(old)
    running.fps = 60
    running.edit(third)
    assert running.model(state="active", sha=short(third), deadline=LONG)["previous"] == short(old)
    assert history(running)[before:] == [
        ("tried", short(second)),
        ("superseded", short(second)),
        ("tried", short(third)),
        ("committed", short(third)),
    ]


def test_a_model_that_was_committed_is_forgiven_what_was_said_of_it_before(
    running: Swapping, slowly: tuple[Swapping, Path], tmp_path: Path
) -> None:
    new, command = write_model(tmp_path / "new.tflite", gain=0.9), running.daemon.command
    running.result(short(new), running.edit(new), LONG)
    assert command("models", "rollback", "light").returncode == 0
    running.model(state="rolled_back", sha=short(slowly[1]), candidate=short(new))
    running.fps = 60
    text = running.text(new)
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    running.daemon.config.write_text(text.replace(f"{{file: {new}}}", f"{{file: {new}, sha256: {digest}}}"))
    running.model(state="active", sha=short(new), deadline=LONG)
    running.daemon.config.write_text(text)  # with the entry that was refused
    assert running.daemon.reload()["state"] == "applied"
    running.model(state="active", sha=short(new), deadline=LONG)


def test_a_model_that_was_rolled_back_does_not_come_in_again_with_a_pipeline_that_was_away(
    running: Swapping, slowly: tuple[Swapping, Path], tmp_path: Path
) -> None:
    old, new = slowly[1], write_model(tmp_path / "new.tflite", gain=0.85)
    running.result(short(new), running.edit(new), LONG)
    assert running.daemon.command("models", "rollback", "light").returncode == 0
    text = running.text(new)
    other = text.replace("sources:", f"  other: {{file: {old}}}\nsources:").replace("hall:", "door:")
    for now in (other.replace("model: light", "model: other"), text):
        running.daemon.config.write_text(now)
        assert running.daemon.reload()["state"] == "applied"
    assert "requested by" in running.model(state="rolled_back", sha=None, candidate=short(new), deadline=LONG)["reason"]
    moment = time.monotonic()
    running.subscriber.wait(
        f"{P}/hall/state", lambda heard: heard.at > moment - 5 and b"engine_failed" in heard.payload, LONG
    )
    assert running.daemon.command("models", "retry", "light").returncode == 0
    running.result(short(new), moment, LONG)


def test_two_editors_at_once_leave_the_last_whole_file_applied_and_no_half(
    running: Swapping, slowly: tuple[Swapping, Path]
) -> None:
    folder, old = running.daemon.folder.parent, slowly[1]
    whole = {digest(running): running.daemon.config}  # word of it may still be under way
    for name in ("ann", "bob"):
        for number in range(3):  # a line of comment, and pipelines that a half of the file would lack
            text = running.text(old) + f"  {name}{number}: {{source: cam, model: light}}\n" * (number > 0)
            path = folder / f"{name}{number}.yaml"
            path.write_text(f"# {name} {number}\n" + text + f"# {'-' * 40 * number}\n")
            whole[hashlib.sha256(path.read_bytes()).hexdigest()] = path
    running.subscriber.heard.clear()
    command = [sys.executable, "-c", EDITOR]
    for names in (("ann", "bob"), ("ann",), ("bob",)):  # both at the same time, then in turns
        editors = [
            subprocess.Popen([*command, name, str(folder), str(seed), "6" if len(names) > 1 else "2"], cwd=ROOT)
            for seed, name in enumerate(names)
        ]
        assert [editor.wait(60) for editor in editors] == [0] * len(names)
    path = folder / "ann1.yaml"
    save("rename", running.daemon.config, path.read_bytes())
    last = hashlib.sha256(path.read_bytes()).hexdigest()
    eventually(lambda: applied(running) == last, lambda: f"{last}: {running.daemon.status()['config']}", LONG)

    def digests() -> list[str]:
        said = [heard.value for heard in running.subscriber.on(f"{P}/config")]
        return [each["digest"] for each in said if each["state"] == "applied"]

    eventually(lambda: digests()[-1:] == [last], lambda: f"{last}: {digests()}", LONG)  # it was applied before, too
    assert set(digests()) <= whole.keys()
    running.subscriber.wait(f"{P}/ann1/state")


def test_the_process_that_reads_an_edit_starts_before_the_file_is_stable(running: Swapping) -> None:
    """One such process for an edit, which then reads it; after an edit that is put back it ends by itself."""
    seen: set[int] = set()

    def waiting() -> set[int]:
        found = set()
        for child in psutil.Process(running.daemon.pid).children():
            with suppress(psutil.Error):
                found |= {child.pid} if "--wait" in child.cmdline() else set()
        seen.update(found)
        return found

    text = running.daemon.config.read_text()
    running.daemon.config.write_text(f"{text}# first half")
    eventually(waiting, "a process that waits", LONG)
    running.daemon.config.write_text(f"{text}# first half, second half\n")
    eventually(lambda: waiting() or running.daemon.status()["config"]["digest"] == digest(running), "the edit", LONG)
    eventually(lambda: not waiting() and applied(running) == digest(running), "the edit applied", LONG)
    assert len(seen) == 1


def test_a_file_that_is_never_still_is_told_of(running: Swapping, slowly: tuple[Swapping, Path]) -> None:
    running.subscriber.heard.clear()
    text = running.text(slowly[1])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with running.daemon.config.open("a") as file:
            file.write("# more\n")
        said = running.daemon.status()["config"]
        if said["state"] == "rejected":
            break
        time.sleep(0.1)
    assert "it has been changing for" in said["errors"][0]
    running.daemon.config.write_text(text)
    running.subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "applied", LONG)


def test_the_same_file_in_a_folder_that_was_closed_for_a_while_is_taken_again(running: Swapping) -> None:
    """No byte of it and no time of it has changed."""
    config = running.daemon.config
    away = config.with_suffix(".away")
    config.rename(away)
    eventually(lambda: running.daemon.status()["config"]["state"] == "rejected", "a word about it", LONG)
    away.rename(config)
    eventually(lambda: running.daemon.status()["config"]["state"] == "applied", "the file again", LONG)


def test_a_link_to_nowhere_in_the_folder_of_parts_is_noticed_and_so_is_its_end(running: Swapping) -> None:
    folder = running.daemon.config.parent / "conf.d"
    folder.mkdir(exist_ok=True)
    link = folder / "gone.yaml"
    link.symlink_to("/nowhere/at/all")
    eventually(lambda: running.daemon.status()["config"]["state"] == "rejected", "a word about it", LONG)
    link.unlink()
    eventually(lambda: running.daemon.status()["config"]["state"] == "applied", "its end", LONG)
    folder.rmdir()


def test_labels_that_come_after_the_configuration_are_noticed(running: Swapping) -> None:
    config = running.daemon.config
    text, labels = config.read_text(), config.parent / "later.txt"
    assert "  light: {file: " in text, text
    config.write_text(text.replace("  light: {file: ", "  light: {labels: later.txt, file: "))
    eventually(lambda: running.daemon.status()["config"]["state"] == "rejected", "a word about it", LONG)
    before = running.daemon.status()["config"]
    labels.write_text("")
    eventually(lambda: running.daemon.status()["config"] != before, "another reading", LONG)
    config.write_text(text)
    eventually(lambda: applied(running) == digest(running), "the file as it was", LONG)


def test_a_password_that_is_written_after_its_file_is_noticed(running: Swapping) -> None:
    config = running.daemon.config
    text, secret = config.read_text(), config.parent / "later.pass"
    secret.write_text("")
    assert "mqtt: {" in text
    config.write_text(text.replace("mqtt: {", "mqtt: {username: edge, password_file: later.pass, "))
    eventually(lambda: running.daemon.status()["config"]["state"] == "rejected", "a word about it", LONG)
    secret.write_text("at last\n")
    eventually(lambda: running.daemon.status()["config"]["state"] == "applied", "the password", LONG)
    config.write_text(text)
    eventually(lambda: applied(running) == digest(running), "the file as it was", LONG)


@pytest.mark.parametrize("key", ["threshold: 0.123", "top_k: 1", "heartbeat: 7s"])
def test_an_edit_of_a_key_is_no_change_of_the_model(running: Swapping, key: str) -> None:
    config = running.daemon.config
    text = config.read_text()
    running.subscriber.heard.clear()
    config.write_text(text.replace("publish: every", f"publish: every, {key}"))
    eventually(lambda: applied(running) == digest(running), "the edit", LONG)
    running.subscriber.wait(f"{P}/config", lambda heard: heard.value["state"] == "applied", LONG)
    eventually(lambda: running.daemon.status()["pipelines"]["hall"].get("state") != "loading", "the pipeline", LONG)
    running.subscriber.wait(f"{P}/hall/result", deadline=LONG)
    states = [heard.value.get("reason") for heard in running.subscriber.on(f"{P}/hall/state") if heard.payload]
    assert "model_changed" not in states, states
    config.write_text(text)
    eventually(lambda: applied(running) == digest(running), "the file as it was", LONG)


def test_a_file_that_is_deleted_is_told_and_taken_again_when_it_is_back(running: Swapping) -> None:
    config, held = running.daemon.config, applied(running)
    text, before = config.read_bytes(), running.daemon.log.read_text().count("the file does not exist any more")
    config.unlink()
    told = eventually(lambda: running.daemon.status()["config"]["state"] == "rejected", "a word about it", LONG)
    assert told
    status = running.daemon.status()["config"]
    assert status["digest"] == held
    assert "the file does not exist any more; put it back" in status["errors"][0]
    config.write_bytes(text)
    eventually(lambda: running.daemon.status()["config"]["state"] == "applied", "the file again", LONG)
    assert running.daemon.log.read_text().count("the file does not exist any more") == before + 1
