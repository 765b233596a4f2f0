"""From samples and lines to a broker, through the whole daemon."""

from __future__ import annotations

import math
import os
import pty
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, Talker, eventually
from tests.running import Daemon

SINE = "task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n"
ROWS = 50


def config(broker: Broker, source: str, model: str) -> str:
    return f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {broker.port}}}
models:
  m: {{file: {model}}}
sources:
  s: {source}
pipelines:
  p: {{source: s, model: m, publish: every}}
"""


@pytest.fixture
def sine(tmp_path: Path, assets: Path) -> str:
    """A model of one number: its sine."""
    shutil.copy(assets / "models" / "hello_world_int8.tflite", tmp_path / "sine.tflite")
    (tmp_path / "sine.yaml").write_text(SINE)
    return "sine.tflite"


def test_every_row_of_a_file_becomes_a_result_and_then_it_has_ended(broker: Broker, tmp_path: Path, sine: str) -> None:
    numbers = [index * 2 * math.pi / ROWS for index in range(ROWS)]
    (tmp_path / "x.csv").write_text("x,note\n" + "".join(f"{number:.4f},a\n" for number in numbers) + "?,b\n")
    text = config(broker, "{kind: csv, file: x.csv, rate: 25, columns: [x], realtime: false}", sine)
    with Subscriber(broker.port) as heard, Daemon(tmp_path, text) as daemon:
        results = heard.first(ROWS, "edge-infer/box/p/result")
        values = [result.value["values"][0]["value"] for result in results]
        assert max(abs(value - math.sin(number)) for value, number in zip(values, numbers, strict=True)) < 0.15
        heard.wait("edge-infer/box/p/state", lambda state: state.value.get("reason") == "source_ended")
        eventually(lambda: daemon.status()["sources"]["s"].get("faults") == 1, "count of the broken row")
        assert "reader s" not in daemon.status()["rooms"]  # a file needs no process of its own


def test_the_board_itself(broker: Broker, tmp_path: Path, sine: str) -> None:
    text = config(broker, "{kind: system, columns: [memory], rate: 20, fps: 10}", sine)
    with Subscriber(broker.port) as heard, Daemon(tmp_path, text) as daemon:
        (result, *_) = heard.first(5, "edge-infer/box/p/result")
        assert 0 <= result.value["values"][0]["value"] <= 1
        eventually(lambda: daemon.status()["sources"]["s"]["state"] == "ok", "source that is well")
        done = daemon.command("cameras", "--grab", "s", "-o", "s.png")
        assert done.returncode != 0
        assert "it is of kind system, which delivers samples and no pictures" in done.stderr


def socket_pair() -> tuple[int, int]:
    """As ``ssh`` without a terminal gives to the command."""
    ours, theirs = socket.socketpair()
    return theirs.detach(), ours.detach()


def terminal() -> tuple[int, int]:
    ours, theirs = pty.openpty()
    return theirs, ours


@pytest.mark.parametrize("made", [os.pipe, socket_pair, terminal])
def test_lines_that_are_piped_into_the_daemon(
    broker: Broker, tmp_path: Path, assets: Path, made: Callable[[], tuple[int, int]]
) -> None:
    model = assets / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    end, way = made()
    try:
        text = config(broker, "{kind: lines, file: '-'}", str(model))
        with Subscriber(broker.port) as heard, Daemon(tmp_path, text, stdin=end) as daemon:
            daemon.wait_serving()
            os.write(way, b"What a waste of my time.\n\xff\xff\n")
            result = heard.first(1, "edge-infer/box/p/result")[0]
            best = result.value["classes"][0]
            assert (best["label"], best["score"]) == ("Negative", pytest.approx(0.813, abs=0.02))
            eventually(lambda: daemon.status()["sources"]["s"].get("faults") == 1, "count of the broken line")
            reader = daemon.pids()["reader s"]
            if os.geteuid() == 0:  # another user may not look
                assert str(Path(f"/proc/{reader}/fd/0").readlink()).startswith("pipe:")
            os.kill(reader, 9)
            eventually(lambda: daemon.pids().get("reader s") not in (None, reader), "new reader")
            os.write(way, b"What a waste of my time.\n")
            heard.first(3, "edge-infer/box/p/result")
            os.close(way)
            way = -1
            heard.wait("edge-infer/box/p/state", lambda state: state.value.get("reason") == "source_ended", 30.0)
    finally:
        os.close(end)
        if way >= 0:
            os.close(way)


def test_what_was_left_out_last_is_in_the_log_after_a_stop(broker: Broker, tmp_path: Path, sine: str) -> None:
    """The thread that reads a broker waits for a message that never comes."""
    source = f"{{kind: mqtt, host: 127.0.0.1, port: {broker.port}, topic: hall, columns: [x], rate: 1}}"
    with Daemon(tmp_path, config(broker, source, sine)) as daemon, Talker(broker.port) as talker:
        daemon.wait_serving()
        talker.say("hall", b"bad", retain=True)  # the reader may still have to subscribe
        eventually(lambda: "data dropped or damaged" in daemon.log.read_text(), "the first line")
        for _ in range(9):
            talker.say("hall", b"bad")
        eventually(lambda: daemon.status()["sources"]["s"].get("faults") == 10, "the count")
    assert "(10 so far)" in daemon.log.read_text()
