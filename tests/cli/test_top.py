"""The live view: on a terminal, in a pipe, as JSON; with a daemon that comes and goes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.cli.panel import DaemonSample, Processes, Use, panel
from edge_infer.cli.status import _lines
from edge_infer.contract.codec import decode, encode, replace
from edge_infer.contract.messages import Latency, ModelStatus, OutboxHealth, PipelineHealth, SourceHealth
from edge_infer.errors import LONGEST_SENTENCE, shortened
from edge_infer.ipc.messages import STARTING_UP
from edge_infer.supervisor.processes.supervisor import LastFailure
from edge_infer.supervisor.status import BrokerStatus, RoomStatus, Status
from edge_infer.yamlfile.units import rough_duration
from tests.broker import Broker, eventually
from tests.running import Daemon, config

STATUS = Status(
    version="0.1.0",
    uptime=3725.0,
    boot="9f2c1a",
    runtime="ai-edge-litert 2.3.0",
    rooms={"engine": RoomStatus(10, 0, 61.0), "publisher": RoomStatus(None, 2, 0.0)},
    sources={
        "cam": SourceHealth("lost", 0.0, "the camera is unplugged", 3),
        "pump": SourceHealth("ok", 10.0, rate=100.0),
    },
    pipelines={"door": PipelineHealth(5.0, Latency(10.0, 20.0, 30.0), 7, 100), "yard": PipelineHealth(0, None, 0, 0)},
    models={"faces": ModelStatus("rejected", "1.0.0", "eac9143a", "golden inputs differ")},
    broker=BrokerStatus(connected=False, text="nothing listens on broker:1883"),
    outbox=OutboxHealth(pending=4, bytes=900, delivered=50, lost={"full": 2}, degraded=True),
    config=None,
    last_error=LastFailure("2026-11-25T08:45:12.345Z", "engine ended\x1b[2J"),
    pid=9,
)


def test_what_is_on_the_panel() -> None:
    lines = panel(DaemonSample(20.0, STATUS, {9: Use(0.05, 30_000_000), 10: Use(0.25, 90_000_000)}), None, 200)
    text = "\n".join(lines)
    assert "up 1 h 2 min" in lines[0]
    for part in ("DOWN  nothing listens", "50 delivered, 4 waiting, lost: 2 full, DEGRADED", "engine ended\\x1b[2J"):
        assert part in text
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["cam"] == ["cam", "lost", "0.0", "3", "the", "camera", "is", "unplugged"]
    assert rows["pump"] == ["pump", "ok", "100/s", "0"]
    assert "source    pump: ok, 100 samples/s" in _lines(STATUS)
    assert rows["door"] == ["door", "5.0", "10.0", "20.0", "30.0", "100", "-", "7"]
    assert rows["yard"] == ["yard", "0.0", "-", "-", "-", "0", "-", "0"]
    assert rows["faces"][:4] == ["faces", "rejected", "1.0.0", "eac9143a"]
    assert rows["engine"] == ["engine", "10", "1", "min", "1", "s", "25%", "90", "MB", "0"]
    assert rows["supervisor"] == ["supervisor", "9", "1", "h", "2", "min", "5%", "30", "MB", "0"]
    assert rows["all"] == ["all", "30%", "120", "MB"]
    assert rows["publisher"] == ["publisher", "-", "is", "starting", "-", "-", "2"]
    assert all(len(line) <= 40 for line in panel(DaemonSample(20.0, STATUS, {}), None, 40))


def test_one_of_a_kind_is_no_plural() -> None:
    one = PipelineHealth(5.0, None, 1, 1)
    rooms = {"engine": RoomStatus(10, 1, 61.0), "publisher": RoomStatus(11, 2, 61.0)}
    text = "\n".join(_lines(replace(STATUS, pipelines={"door": one, "yard": replace(one, dropped=2)}, rooms=rooms)))
    for part in (", 1 result, 1 frame dropped", ", 1 result, 2 frames dropped", ", 1 restart\n", ", 2 restarts\n"):
        assert part in text


def test_rates_are_of_one_boot() -> None:
    before = DaemonSample(10.0, STATUS, {})
    later = replace(STATUS, pipelines={"door": replace(STATUS.pipelines["door"], produced=125)})
    rows = {line.split()[0]: line.split() for line in panel(DaemonSample(20.0, later, {}), before, 200) if line}
    assert rows["door"][6] == "2.5"
    other = replace(later, boot="aaaaaa")
    rows = {line.split()[0]: line.split() for line in panel(DaemonSample(20.0, other, {}), before, 200) if line}
    assert rows["door"][6] == "-"


def test_durations() -> None:
    assert [rough_duration(seconds) for seconds in (0.4, 59, 60, 3599, 3600)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min",
    ]  # fmt: skip


def test_what_processes_use() -> None:
    processes = Processes()
    first = processes.look([os.getpid(), 2**22 + 1])
    assert list(first) == [os.getpid()]
    assert first[os.getpid()].cpu is None
    assert first[os.getpid()].memory > 1_000_000
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    used = processes.look([os.getpid()])[os.getpid()].cpu
    assert used is not None
    assert used > 0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("top")
    with Broker(folder) as broker, Daemon(folder, config(broker.port)) as running:
        running.wait_serving()
        yield running


def test_json_lines(daemon: Daemon) -> None:
    done = daemon.command("top", "--json", "--count", "2", "--interval", "0.2")
    assert done.returncode == 0, done.stderr
    assert [decode(Status, json.loads(line)).version for line in done.stdout.splitlines()] == ["0.1.0"] * 2


def test_in_a_pipe(daemon: Daemon) -> None:
    done = daemon.command("top", "--count", "2", "--interval", "0.2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("PIPELINE") == 2
    assert "\x1b" not in done.stdout


class Terminal:
    """The command on a terminal of its own, 100 x 30."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(follower)
        self.follower = follower
        environment = {key: value for key, value in os.environ.items() if key not in ("RUNTIME_DIRECTORY", "COLUMNS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_infer", "top", "-c", str(daemon.config), "--interval", "0.2", *words],
            stdin=follower, stdout=follower, stderr=follower, env=environment, start_new_session=True,
        )  # fmt: skip
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(15)
        os.close(self._leader)
        os.close(self.follower)

    def wait(self, part: str) -> None:
        """Until this was shown."""

        def shown() -> bool:
            while select.select([self._leader], [], [], 0)[0]:
                self.text += os.read(self._leader, 65536).decode()
            return part in self.text

        eventually(shown, lambda: f"{part!r} on the terminal; there was {self.text[-500:]!r}")

    def press(self, keys: bytes) -> None:
        os.write(self._leader, keys)


def test_on_a_terminal_until_q(daemon: Daemon) -> None:
    with Terminal(daemon) as terminal:
        terminal.wait("PIPELINE")
        terminal.wait("MB")
        assert termios.tcgetattr(terminal.follower) != terminal.before, "keys come without Enter"
        terminal.press(b"xq")
        terminal.wait("\x1b[?1049l")
        assert terminal.process.wait(15) == 0
        assert termios.tcgetattr(terminal.follower) == terminal.before
        assert terminal.text.count("\x1b[?1049h") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_puts_the_terminal_right(daemon: Daemon, number: signal.Signals) -> None:
    with Terminal(daemon) as terminal:
        terminal.wait("PIPELINE")
        terminal.process.send_signal(number)
        terminal.wait("\x1b[?1049l")
        assert terminal.process.wait(15) == 0
        assert termios.tcgetattr(terminal.follower) == terminal.before


def test_a_daemon_that_goes_and_comes_back(daemon: Daemon) -> None:
    with Terminal(daemon) as terminal:
        terminal.wait("PIPELINE")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        terminal.wait("waiting for one")
        daemon.start()
        terminal.text = ""
        terminal.wait("PIPELINE")
        terminal.press(b"xq")
        assert terminal.process.wait(15) == 0


def test_without_a_daemon(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(config(1))
    done = subprocess.run(
        [sys.executable, "-m", "edge_infer", "top", "-c", str(tmp_path / "config.yaml")],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr


def test_a_broker_that_nobody_has_tried_yet_is_not_down() -> None:
    words = [BrokerStatus(True, "connected").word, BrokerStatus(False, "refused").word]
    assert [*words, BrokerStatus(False, STARTING_UP).word] == ["ok", "DOWN", "…"]


def test_the_longest_sentence_of_the_publisher_is_part_of_the_status() -> None:
    broker = BrokerStatus(False, shortened("word " * LONGEST_SENTENCE))
    assert decode(Status, encode(replace(STATUS, broker=broker))).broker == broker


def test_a_folder_that_is_aside_has_a_line_with_the_remedy() -> None:
    paths = ("/state/publisher.put-aside-3", "/state/publisher.put-aside-on-trial")
    lines = _lines(replace(STATUS, put_aside=paths))
    first, second = (line for line in lines if line.startswith("aside "))
    assert first.startswith(f"aside     {paths[0]} may hold messages; to send its messages, stop the daemon, ")
    assert "sudo mv -T /state/publisher /state/publisher.put-aside-5 && " in first  # 4 is for the end of the trial
    assert first.endswith(" /state/publisher; or remove it")
    assert second.startswith(f"aside     {paths[1]} may hold messages; it comes back if ")
