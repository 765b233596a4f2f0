"""What an engine has taken and not finished goes to the next engine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.engine.input.capture import FROM_STREAM, StreamCapture
from edge_infer.engine.input.sample_stream import AHEAD, make_feed
from edge_infer.frames.frame import Line
from edge_infer.ipc.channel import MAX_STRETCH_BYTES, Channel
from edge_infer.ipc.messages import LineReady, ReaderHello, ReaderTrouble, ReadingsDone, StreamBegin, StreamCounts
from edge_infer.plan.records import SourcePlan
from edge_infer.readers.sample_stream import KEEP, SUSPECTS, TO_STREAM_READER, StreamWriter
from edge_infer.readers.sources import Words
from edge_infer.readers.sources.byte_input import CHUNK
from tests.broker import UNLIMITED, Broker, Subscriber, eventually
from tests.running import Daemon

TEXT = SourcePlan("log", "fake", "", live=True, network=False, options={}, gives="text", holds_writer=True)


class Ends:
    """A writer, and the engine's end that outlives every engine."""

    def __init__(self) -> None:
        left, right = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self.writer = StreamWriter(Channel(left, TO_STREAM_READER))
        self._engine = Channel(right, FROM_STREAM, MAX_STRETCH_BYTES)

    def close(self) -> None:
        self.writer.close()
        self._engine.close()

    def write(self, *numbers: int, text: str = "") -> None:
        for number in numbers:
            self.writer.write(Words(f"{number}{text}", 0.0, 0.0))

    def attach(self) -> None:
        """A new engine greets the reader."""
        assert self._engine.send(ReaderHello())

    def done(self, number: int) -> None:
        assert self._engine.send(ReadingsDone(number))

    def begun(self) -> list[int]:
        """Which lines an engine gets after the reader's answer to its greeting; the first is after the settled one."""
        found: list[int] | None = None
        while True:
            sent, record = self.writer.tell_counts(), self._engine.receive()
            if sent and record is None:
                break
            if isinstance(record, StreamBegin):
                found = [record.settled]
            elif isinstance(record, LineReady) and found is not None:
                found.append(record.number)
        assert found is not None
        return found

    def fd(self) -> int:
        return os.dup(self._engine.fd)


@pytest.fixture
def ends() -> Iterator[Ends]:
    each = Ends()
    yield each
    each.close()


def test_the_next_engine_gets_what_the_last_one_took_and_did_not_finish(ends: Ends) -> None:
    ends.attach()
    ends.write(*range(1, 11))
    assert ends.begun() == [0, *range(1, 11)]
    ends.done(4)
    ends.write(11)  # the engine dies with this one in the channel
    ends.attach()
    ends.write(12)
    assert ends.begun() == [4, *range(5, 13)]
    ends.done(12)
    ends.attach()
    assert ends.begun() == [12]


def test_the_first_engine_gets_everything_once(ends: Ends) -> None:
    ends.write(1, 2, 3)
    ends.attach()
    assert ends.begun() == [0, 1, 2, 3]


def test_an_acknowledgement_for_an_earlier_reader_means_nothing(ends: Ends) -> None:
    ends.attach()
    ends.done(500)
    ends.write(1, 2)
    ends.attach()
    assert ends.begun() == [0, 1, 2]


def test_a_reading_that_ends_two_engines_is_dropped_and_logged(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    ends.write(*range(1, 101))
    for _ in range(2):
        ends.attach()
        assert ends.begun() == [0, *range(1, 101)]
    ends.attach()
    assert ends.begun() == [0, *range(SUSPECTS + 1, 101)]
    assert f"readings during which the engine has ended twice ({SUSPECTS} so far)" in caplog.text
    ends.done(60)  # it gets on
    ends.attach()
    assert ends.begun() == [60, *range(61, 101)]


def test_more_than_the_reader_keeps_is_missing_in_the_numbers(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    ends.attach()
    long = "x" * 60_000
    count = 2 * KEEP // len(long)
    for number in range(1, count + 1):
        ends.write(number, text=long)
        assert ends._engine.receive() is not None
    ends.attach()
    kept = ends.begun()
    assert kept[0] == 0
    assert kept[1:] == list(range(count - len(kept) + 2, count + 1))
    assert KEEP * 0.9 < (len(kept) - 1) * len(long) < KEEP
    assert f"too many to keep ({count - len(kept) + 1} so far)" in caplog.text


class Engine:
    """The engine's side of one source: a feed with one pipeline that finishes what it takes."""

    def __init__(self, ends: Ends) -> None:
        self.feed = make_feed(TEXT)
        self.cursor = self.feed.attach()
        self.feed.start(StreamCapture(Channel(ends.fd(), FROM_STREAM, MAX_STRETCH_BYTES)))

    def finish(self, count: int) -> list[int]:
        found = []
        for _ in range(count):
            item = self.feed.next(self.cursor, 10.0)
            assert isinstance(item, Line)
            found.append(int(item.text))
            self.cursor.settled = item.number
        return found


def test_an_engine_that_ends_in_order_leaves_the_rest_to_the_next_one(ends: Ends) -> None:
    first = Engine(ends)
    eventually(lambda: ends.writer.tell_counts() and ends.writer.greetings, "the engine")
    ends.write(*range(1, 31))
    assert first.finish(5) == [1, 2, 3, 4, 5]
    eventually(lambda: len(first.cursor.waiting) == AHEAD, "more than it can finish")
    first.feed.stop()
    first.feed.detach(first.cursor)
    first.feed.close()
    second = Engine(ends)
    eventually(lambda: ends.writer.tell_counts() and ends.writer.greetings == 2, "the next engine")
    assert second.finish(25) == list(range(6, 31))
    assert second.cursor.dropped == 0
    eventually(lambda: ends.writer.tell_counts() and ends.writer._settled == 30, "the last acknowledgement")
    second.feed.close()


def test_what_was_lost_with_an_engine_is_counted_by_the_next(ends: Ends) -> None:
    ends.attach()
    ends.write(*range(1, 101))
    ends.begun()
    ends.attach()
    ends.begun()
    engine = Engine(ends)
    eventually(lambda: ends.writer.tell_counts() and engine.cursor.waiting, "the third engine")
    assert engine.finish(1) == [SUSPECTS + 1]
    assert engine.cursor.dropped == SUSPECTS
    engine.feed.close()


def test_the_end_of_a_source_does_not_overtake_readings(ends: Ends) -> None:
    ends.write(1, 2)
    ends.attach()
    ends.writer.poll()
    assert ends.writer.trouble("the source has ended", ended=True)
    records = [ends._engine.receive() for _ in range(6)]
    assert [type(each) for each in records[2:]] == [StreamBegin, LineReady, LineReady, ReaderTrouble]


def test_counts_do_not_overtake_readings(ends: Ends) -> None:
    ends.write(1, 2)
    ends.attach()
    assert ends.writer.tell_counts()
    records = [ends._engine.receive() for _ in range(6)]
    assert [type(each) for each in records[2:]] == [StreamBegin, LineReady, LineReady, type(None)]
    assert not any(isinstance(each, StreamCounts) for each in records)


# Through the whole daemon.

LINES = 3000
A_FEW = 30


def config(broker: Broker, sources: str, pipelines: str) -> str:
    return f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {broker.port}, max_rate: 20M}}
models:
  words: {{file: words.tflite}}
  sine: {{file: sine.tflite}}
sources: {sources}
pipelines: {pipelines}
"""


@pytest.fixture
def unlimited(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, *UNLIMITED) as broker:
        yield broker


@pytest.fixture
def models(tmp_path: Path, assets: Path) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", tmp_path / "sine.tflite")
    (tmp_path / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    shutil.copy(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", tmp_path / "words.tflite")


def make_pipe(path: Path) -> Path:
    """A named pipe that the daemon can use, also as the user that a daemon of root becomes."""
    os.mkfifo(path)
    path.chmod(0o666)
    return path


class Program(threading.Thread):
    """Writes lines into a pipe, steadily, and ends with the error of the first that it cannot write."""

    def __init__(self, pipe: Path, lines: Iterator[str], pace: float = 0.001) -> None:
        super().__init__(daemon=True)
        self._pipe, self._lines, self._pace = pipe, lines, pace
        self.written = 0
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            with self._pipe.open("w") as way:
                for line in self._lines:
                    way.write(line)
                    way.flush()
                    self.written += 1
                    time.sleep(self._pace)
        except OSError as error:
            self.error = error


def results(heard: Subscriber, pipeline: str) -> int:
    """How many results of a pipeline have arrived, repetitions by the publisher not counted."""
    found = [each.value for each in list(heard.heard) if each.topic == f"edge-infer/box/{pipeline}/result"]
    return len({(each["boot"], each["seq"]) for each in found})


@pytest.mark.usefixtures("models")
def test_an_engine_that_is_killed_loses_no_line_and_no_row(unlimited: Broker, tmp_path: Path) -> None:
    lines, rows = make_pipe(tmp_path / "lines"), make_pipe(tmp_path / "rows")
    text = config(
        unlimited,
        "{l: {kind: lines, file: lines}, r: {kind: csv, file: rows, rate: 100}}",
        "{l: {source: l, model: words, publish: every}, r: {source: r, model: sine, publish: every}}",
    )
    with Subscriber(unlimited.port) as heard, Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        programs = [
            Program(lines, (f"I like number {number}\n" for number in range(LINES))),
            Program(rows, (f"{number % 6}\n" for number in range(LINES))),
        ]
        for each in programs:
            each.start()
        eventually(lambda: results(heard, "l") > LINES // 10 < results(heard, "r"), "some results", 60.0)
        os.kill(daemon.pids()["engine"], signal.SIGKILL)
        eventually(
            lambda: results(heard, "l") >= LINES <= results(heard, "r"),
            lambda: f"all results: {results(heard, 'l')}, {results(heard, 'r')} of {LINES}; the log: {daemon.log}",
            90.0,
        )
        assert [each.error for each in programs] == [None, None]
        assert results(heard, "l") <= LINES + A_FEW
        assert results(heard, "r") <= LINES + 10 * A_FEW  # a few blocks
        assert {name: each["dropped"] for name, each in daemon.status()["pipelines"].items()} == {"l": 0, "r": 0}


def steady(text: str) -> Iterator[str]:
    return (text for _ in range(LINES))


@pytest.mark.usefixtures("models")
def test_the_writer_of_a_pipe_outlives_its_readers(unlimited: Broker, tmp_path: Path) -> None:
    """One reader is killed, and a reload replaces the other one."""
    lines, rows = make_pipe(tmp_path / "lines"), make_pipe(tmp_path / "rows")
    text = config(
        unlimited,
        "{l: {kind: lines, file: lines}, r: {kind: csv, file: rows, rate: 100}}",
        "{l: {source: l, model: words, publish: every}, r: {source: r, model: sine, publish: every}}",
    )
    with Subscriber(unlimited.port) as heard, Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        programs = [Program(lines, steady("I like it\n")), Program(rows, steady("1\n"))]
        for each in programs:
            each.start()
        eventually(lambda: results(heard, "l") > LINES // 10 < results(heard, "r"), "some results", 60.0)
        os.kill(daemon.pids()["reader l"], signal.SIGKILL)
        daemon.config.write_text(text.replace("rate: 100", "rate: 90"))
        assert daemon.reload()["state"] == "applied"
        for each in programs:
            each.join(60.0)
        assert [(each.error, each.written) for each in programs] == [(None, LINES)] * 2
        assert "its reader has ended" not in daemon.log.read_text()
        lost = CHUNK // len("I like it\n")  # the reader that was killed had read them
        eventually(lambda: results(heard, "l") >= LINES - lost, lambda: f"lines, only {results(heard, 'l')}", 60.0)
        eventually(
            lambda: results(heard, "r") + logged(daemon) >= LINES - 8,  # those that arrive as the pipeline ends
            lambda: f"rows, only {results(heard, 'r')} and {logged(daemon)}",
            60.0,
        )


def logged(daemon: Daemon) -> int:
    """How many readings the log says may not have been processed."""
    unsent = re.findall(r"data dropped or damaged: readings not sent [^(]*\((\d+) so far", daemon.log.read_text())
    unsure = re.findall(r"the reader stopped before the engine confirmed (\d+) readings", daemon.log.read_text())
    dropped = re.findall(r"ends; the engine drops (\d+) rows or lines that waited for it", daemon.log.read_text())
    return sum(map(int, unsent + unsure + dropped))


@pytest.mark.usefixtures("models")
def test_a_program_waits_at_its_pipe_while_the_pipeline_is_paused(unlimited: Broker, tmp_path: Path) -> None:
    rows = make_pipe(tmp_path / "rows")
    text = config(unlimited, "{r: {kind: csv, file: rows, rate: 100}}", "{r: {source: r, model: sine, publish: every}}")
    with Subscriber(unlimited.port) as heard, Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        program = Program(rows, (f"{number % 6}\n" for number in range(LINES)))
        program.start()
        eventually(lambda: results(heard, "r") > 20, "some results", 60.0)
        assert daemon.command("pause", "r").returncode == 0
        eventually(lambda: "reader r" not in daemon.status()["rooms"], "end of the reader", 30.0)
        before = program.written
        eventually(lambda: program.written > before + 20 or program.error, "rows that fit into the pipe", 30.0)
        assert daemon.command("resume", "r").returncode == 0
        program.join(60.0)
        assert (program.error, program.written) == (None, LINES)
        eventually(lambda: results(heard, "r") > LINES - 50, "the results of nearly all rows", 60.0)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("action", ["pause", "reload"])
def test_rows_that_have_arrived_are_worked_off_before_a_source_is_closed(
    unlimited: Broker, tmp_path: Path, action: str
) -> None:
    rows = make_pipe(tmp_path / "rows")
    text = config(
        unlimited, "{r: {kind: csv, file: rows, rate: 1000}}", "{r: {source: r, model: sine, publish: every}}"
    )
    with Subscriber(unlimited.port) as heard, Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        program = Program(rows, (f"{number % 6}\n" for number in range(LINES)), pace=0.0)
        program.start()
        eventually(lambda: results(heard, "r") > 0, "some results", 60.0)
        if action == "pause":
            assert daemon.command("pause", "r").returncode == 0
            assert daemon.command("resume", "r").returncode == 0
        else:
            daemon.config.write_text(text.replace("rate: 1000", "rate: 900"))
            assert daemon.command("reload").returncode == 0
        program.join(60.0)
        assert (program.error, program.written) == (None, LINES)
        dropped = re.compile(r"pipeline r ends; the engine drops (\d+) rows or lines that waited for it")

        def accounted() -> int:
            log = daemon.log.read_text()
            if "the reader stopped before the engine confirmed" in log:  # a busy machine: the log has their number
                return LINES
            return results(heard, "r") + sum(map(int, dropped.findall(log)))

        eventually(lambda: accounted() >= LINES - 5, lambda: f"{accounted()} of {LINES}", 60.0)
