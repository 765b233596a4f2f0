"""What the engine gets of the files of its models: each once, with the bytes that its name promises, no others."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import ApplyPlan, EngineReport, ModelFile, Running
from edge_infer.models.packages.blob_store import keep
from edge_infer.plan.records import DecoderPlan, InputPlan, ModelPlan, MqttPlan, NmsPlan, PipelinePlan, Plan, ShadowPlan
from edge_infer.platform.memfd import content
from edge_infer.supervisor.processes.child import ChildProcess, ChildSpec, pair
from edge_infer.supervisor.processes.model_sender import ModelSender

MQTT = MqttPlan("127.0.0.1", 1883, None, None, None, "p/box", 1, "c")


class Engine:
    """The other end of the control channel."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.child = ChildProcess(ChildSpec("engine", "nothing", (), ()))
        self.child.channel = Channel(ours, ())
        self._channel = Channel(theirs, (ModelFile,), files=True)

    def got(self) -> dict[str, bytes | str]:
        """The content of every file that has come since, or why there is none."""
        found: dict[str, bytes | str] = {}
        while (word := self._channel.receive()) is not None:
            found[word.path] = word.error
            if not word.error:
                file = self._channel.take_file()
                found[word.path] = content(file)
                self.seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
                os.close(file)
        return found

    def close(self) -> None:
        if self.child.channel is not None:
            self.child.channel.close()
            self.child.channel = None
        self._channel.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def model(path: Path | str, data: bytes = b"") -> ModelPlan:
    sha = hashlib.sha256(data).hexdigest()
    decoder = DecoderPlan("classification", "c:C")
    return ModelPlan("m", "m", None, sha, str(path), "classification", decoder, ("x",), InputPlan(), 0.5, NmsPlan())


def order(*models: ModelPlan, held: tuple[str, ...] = ()) -> ApplyPlan:
    """To run these, each in a pipeline of its own, ``p0`` and so on."""
    pipelines = tuple(PipelinePlan(f"p{number}", "cam", each, 0.5) for number, each in enumerate(models))
    return ApplyPlan(Plan("0" * 64, "box", "/state", MQTT, (), pipelines), held=held)


def kept(store: Path, data: bytes) -> Path:
    return keep(data, hashlib.sha256(data).hexdigest(), store)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_every_file_goes_once_to_each_engine_and_nothing_stays_open(engine: Engine, tmp_path: Path) -> None:
    one, two, words = (kept(tmp_path, data) for data in (b"one", b"two", b"words"))
    sender, before = ModelSender(engine.child), open_files()
    decoder = DecoderPlan("ssd", "s:S", {"anchors_file": str(words)})
    both = order(model(one), model(one), replace(model(two), decoder=decoder))
    sender.send(both)
    assert engine.got() == {str(one): b"one", str(two): b"two", str(words): b"words"}
    assert engine.seals & fcntl.F_SEAL_WRITE
    sender.send(both)
    assert engine.got() == {}
    sender.start_over()
    sender.send(both)
    assert set(engine.got()) == {str(one), str(two), str(words)}
    assert open_files() == before


def test_what_the_engine_has_dropped_is_sent_again(engine: Engine, tmp_path: Path) -> None:
    one, two = kept(tmp_path, b"one"), kept(tmp_path, b"two")
    sender = ModelSender(engine.child)
    sender.send(order(model(one)))
    sender.send(order(model(two)))
    assert set(engine.got()) == {str(one), str(two)}
    sender.send(order(model(one)))
    assert engine.got() == {str(one): b"one"}


def test_a_pipeline_that_is_held_back_gets_none_and_a_shadow_its_own(engine: Engine, tmp_path: Path) -> None:
    one, two, three = (kept(tmp_path, data) for data in (b"one", b"two", b"three"))
    wanted = order(model(one), model(two), held=("p0",))
    pipelines = wanted.plan.pipelines
    pipelines = (pipelines[0], replace(pipelines[1], shadow=ShadowPlan(model(three), 0.5)))
    ModelSender(engine.child).send(replace(wanted, plan=replace(wanted.plan, pipelines=pipelines)))
    assert engine.got() == {str(two): b"two", str(three): b"three"}


def report(number: int, **running: str | None) -> EngineReport:
    """To this order the engine runs these digests."""
    ran = {name: Running(sha) for name, sha in running.items()}
    return EngineReport("abcdef", "0" * 64, {}, {}, ran, number)


def test_where_two_models_have_no_room_the_next_is_sent_when_the_present_one_is_gone(
    engine: Engine, tmp_path: Path
) -> None:
    old, new, other = (kept(tmp_path, data) for data in (b"old", b"new", b"other"))
    sender, sha = ModelSender(engine.child), hashlib.sha256(b"old").hexdigest()
    sender.send(replace(order(model(old), model(other)), order=1))
    engine.got()
    sender.send(replace(order(model(new), model(other)), order=2, alone=("p0",)))
    for early in (report(1, p0=None), report(2, p0=sha)):
        sender.hear(early)
        assert engine.got() == {}
    for _ in range(2):
        sender.hear(report(2, p0=None))
    assert engine.got() == {str(new): b"new"}
    sender.send(replace(order(model(old), model(other)), order=3, alone=("p0",)))
    sender.send(replace(order(model(old), model(other)), order=4))
    assert engine.got() == {str(old): b"old"}, "what an order later is not alone any more is sent with it"


def test_a_copy_that_has_changed_on_the_disk_is_not_sent_until_it_is_whole(engine: Engine, tmp_path: Path) -> None:
    one = kept(tmp_path, b"one")
    one.write_bytes(b"ONE")
    sender = ModelSender(engine.child)
    sender.send(order(model(one)))
    (why,) = engine.got().values()
    assert isinstance(why, str)
    assert why.startswith("its SHA-256 is ")
    assert why.endswith(": the file has changed")
    kept(tmp_path, b"one")
    sender.send(order(model(one)))
    assert engine.got() == {str(one): b"one"}
    one.write_bytes(b"ONE")
    sender.send(order(model(one)))
    assert engine.got() == {}, "what it has is what the plan names"


def test_another_file_is_sent_again_when_it_has_changed(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "face.tflite"
    path.write_bytes(b"one")
    sender = ModelSender(engine.child)
    sender.send(order(model(path)))
    path.write_bytes(b"another")
    sender.send(order(model(path)))
    assert engine.got() == {str(path): b"another"}
    path.unlink()
    sender.send(order(model(path)))
    assert engine.got() == {}, "it has one under that path"


def test_what_cannot_be_read_has_a_reason_and_is_tried_again(engine: Engine, tmp_path: Path) -> None:
    one, other = kept(tmp_path, b"one"), kept(tmp_path, b"other")
    one.unlink()
    sender = ModelSender(engine.child)
    for _ in range(2):
        sender.send(order(model(one), model(other)))
        assert engine.got()[str(one)] == f"it cannot be read: {os.strerror(errno.ENOENT)}"
    kept(tmp_path, b"one")
    sender.send(order(model(one), model(other)))
    assert engine.got() == {str(one): b"one"}


def test_neither_a_link_nor_a_pipe_nor_a_device_is_sent(engine: Engine, tmp_path: Path) -> None:
    """A link in the store would let whoever made it choose what of the supervisor's files the engine reads."""
    (tmp_path / "secret").write_text("the broker's password")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    paths = [str(tmp_path / "link"), str(tmp_path / "pipe"), "/dev/zero", str(tmp_path)]
    ModelSender(engine.child).send(order(*map(model, paths)))
    words = ("is a link", "is a named pipe, not a file", "is a device, not a file", "is a folder, not a file")
    found = engine.got()
    assert list(found) == paths
    for word, why in zip(words, found.values(), strict=True):
        assert isinstance(why, str)
        assert word in why


def test_a_file_that_no_board_has_room_for_is_not_copied(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    path.touch()
    os.truncate(path, 1 << 40)
    ModelSender(engine.child).send(order(model(path)))
    (why,) = engine.got().values()
    assert isinstance(why, str)
    assert f"it has {1 << 40} bytes; more than " in why


def test_without_an_engine_nothing_is_read_and_the_next_one_gets_all(tmp_path: Path) -> None:
    one = kept(tmp_path, b"one")
    sender = ModelSender(ChildProcess(ChildSpec("engine", "nothing", (), ())))
    sender.send(order(model(one)))
    engine = Engine()
    try:
        sender = ModelSender(engine.child)
        channel, engine.child.channel = engine.child.channel, None
        sender.send(order(model(one)))
        engine.child.channel = channel
        sender.send(order(model(one)))
        assert engine.got() == {str(one): b"one"}
    finally:
        engine.close()
