"""Small files of the publisher, and those that cannot be read or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.topics import Place
from edge_infer.platform.paths import publisher_folder
from edge_infer.publisher.allowed_texts import FILE, AllowedWords, ModelWords, Vocabulary
from edge_infer.publisher.json_file import JsonFile
from edge_infer.publisher.state.retained import FILE as TOPICS
from edge_infer.publisher.state.retained import MAX_PLACES, Remembered, RetainedTopicRegistry
from tests.publisher.samples import mqtt_plan, plan


@dataclass(frozen=True, slots=True)
class Note:
    text: str


def note(most: int = 1000) -> JsonFile[Note]:
    return JsonFile(Note, "note.json", most, "nobody knows what was there")


def test_what_one_process_leaves_the_next_one_finds(tmp_path: Path) -> None:
    folder = tmp_path / "publisher"
    assert note().read(folder) is None
    assert note().write(folder, Note("one"))
    assert note().write(folder, Note("two"))
    assert note().read(folder) == Note("two")
    assert [path.name for path in folder.iterdir()] == ["note.json"]
    assert note().write(folder, None)
    assert note().write(folder, None)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("text", ['{"text":', '{"text":1}', '{"text":"' + "x" * 2000 + '"}', "\udcff"])
def test_a_file_that_is_not_what_it_should_be_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "note.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert note().read(tmp_path) is None
    assert "note.json cannot be read (" in caplog.text
    assert caplog.text.endswith("): nobody knows what was there\n")


def test_what_cannot_be_written_is_told_once_with_what_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "note.json").mkdir()
    keepsake = note()
    assert not keepsake.write(tmp_path, Note("one"))
    assert not keepsake.write(tmp_path, Note("two"))
    assert caplog.text.count("cannot be written (Is a directory): nobody knows what was there") == 1


def test_labels_that_cannot_be_kept_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without them what waits is rejected by the next process, which nobody would understand."""
    (tmp_path / FILE).with_suffix(".new").mkdir()
    vocabulary = Vocabulary()
    vocabulary.load(tmp_path)
    words = AllowedWords((ModelWords("0" * 8, ("face",), (), {}),))
    vocabulary.save(tmp_path, words)
    assert "the publisher may reject queued messages of earlier models" in caplog.text
    (tmp_path / FILE).with_suffix(".new").rmdir()
    vocabulary.save(tmp_path, words)
    assert Vocabulary().load(tmp_path) == words


def test_a_full_list_of_topics_leaves_room_for_those_of_the_plan(tmp_path: Path) -> None:
    """A compromised publisher may have filled it: its successors go on, and forget some."""
    made = replace(plan(mqtt_plan(1883)), state_dir=str(tmp_path))
    folder = publisher_folder(made.state_dir)
    folder.mkdir()
    places = tuple(("state", f"p{number}") for number in range(MAX_PLACES))
    (folder / TOPICS).write_bytes(dumps(Remembered(made.mqtt.topic, places)))
    registry = RetainedTopicRegistry()
    found = registry.load(made)
    assert len(found) == MAX_PLACES
    registry.save(made, found)
    again = RetainedTopicRegistry().load(made)
    assert Place("state", made.pipelines[0].name) in again
    assert len(again) == MAX_PLACES
