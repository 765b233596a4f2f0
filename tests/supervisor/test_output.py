"""What a child writes to its descriptors 1 and 2 is clean, bounded and counted when it comes out of the daemon."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.plan.records import SourcePlan
from edge_infer.platform.event_loop import Stalls
from edge_infer.platform.logs import LONGEST_LINE, printable
from edge_infer.supervisor.processes.child import ChildProcess
from edge_infer.supervisor.processes.helper_process import HelperProcess
from edge_infer.supervisor.processes.output import (
    MAX_BURST_BYTES,
    MAX_BYTES_PER_MINUTE,
    MAX_DEBUG_BYTES_PER_MINUTE,
    MAX_EXCERPT,
    MAX_LAST_WORDS,
    Output,
)
from edge_infer.supervisor.processes.readers import MAX_REMEMBERED, Readers
from tests.attacker import attacking
from tests.broker import Broker, eventually
from tests.running import Daemon, config

PICTURE = base64.b64encode(bytes(range(256)) * 30)
"""As long as a picture of a camera in base64, in one line."""
WRITES = f"""
import os, time
time.sleep(2)
def write(data):
    for file in (1, 2):
        left = data
        while left:
            left = left[os.write(file, left):]
write({PICTURE!r} + b"\\n")
write(b"\\x1b[2J\\x1b]0;title\\x07 escape\\r\\n")
write("\\u202e\\u2066\\u200b\\u2028 direction \\U000e0041\\n".encode())
write(bytes(range(256)) + b"\\n")
write(b"12:00:00 ERROR   supervisor: stopping\\n")
for _ in range(160):
    write(os.urandom(1 << 16))
write(b"the last line\\n")
"""


def clean(data: bytes) -> bool:
    """Whether a log holds only what a terminal shows, in lines that are not too long."""
    text = data.decode()  # which is all UTF-8
    return all(line.isprintable() and len(line.encode()) <= 3 * LONGEST_LINE for line in text.split("\n"))


def test_in_a_process_without_a_supervisor_these_writes_arrive_whole(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", WRITES], stdout=log, stderr=log, check=True, timeout=60)
    data = (tmp_path / "log").read_bytes()
    assert len(data) > 20_000_000
    assert data.count(PICTURE) == 2
    assert b"\x1b[2J" in data
    assert "\u202e".encode() in data
    assert data.endswith(b"the last line\n")


CAMERA = (
    "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes(64 * 48 * 3))\n sys.stdout.buffer.flush()\n"
    " time.sleep(0.05)\n"
)


@pytest.mark.parametrize(
    ("module", "name"),
    [("edge_infer.engine", "engine"), ("edge_infer.publisher", "publisher"), ("edge_infer.readers", "reader cam")],
)
def test_the_log_is_no_way_out_for_what_a_process_sees(broker: Broker, box: Path, module: str, name: str) -> None:
    (box / "camera.py").write_text(CAMERA)
    camera = f"{{kind: exec, command: [{sys.executable}, {box / 'camera.py'}], size: 64x48, format: rgb24}}"
    code = f"{WRITES}\ntime.sleep(1)\nos.kill(os.getpid(), 9)"
    with attacking(box, {module: code}), Daemon(box, config(broker.port, camera)) as daemon:
        told = f"{name} wrote too much output: "
        eventually(lambda: told in daemon.log.read_text(), f"what was dropped; its log: {daemon.log}", 90)
        assert daemon.status()["rooms"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) in (0, 1)
    data = daemon.log.read_bytes()
    lines = data.decode().splitlines()
    theirs = [line for line in lines if line.startswith(f"{name}: ")]
    assert clean(data)
    assert PICTURE not in data
    assert PICTURE[:LONGEST_LINE] in data  # cut
    assert f"{name}: the last line" in lines
    assert f"{name}: 12:00:00 ERROR   supervisor: stopping" in lines
    assert not any(line.startswith("12:00:00 ERROR   supervisor") for line in lines)
    starts = data.count(f"{name} started".encode())
    bound = MAX_BURST_BYTES + 2 * MAX_DEBUG_BYTES_PER_MINUTE + starts * 4 * MAX_LAST_WORDS
    assert len("\n".join(theirs).encode()) <= bound, starts
    dropped = [int(line.partition(told)[2].split()[0]) for line in lines if told in line]
    assert sum(dropped) > 20_000_000 - MAX_BURST_BYTES


def test_what_a_model_on_trial_writes_is_a_clean_sentence(broker: Broker, box: Path) -> None:
    code = WRITES.replace("sleep(2)", "sleep(0)").replace("range(160)", "range(1)")
    code = f"{code}\nos.write(2, b'\\x1b[31m in the end')\nos.abort()"
    with attacking(box, {"edge_infer.models.trials.probe_main": code}):
        done = Daemon(box, config(broker.port)).command("check")
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "\ufffd[31m in the end" in said
    assert all(line.isprintable() for line in said.splitlines())
    assert len(said) < 2000


def test_the_last_line_before_a_native_crash_is_told(broker: Broker, box: Path) -> None:
    code = "import os, time\ntime.sleep(2)\nos.write(2, b'free(): invalid pointer')\nos.abort()"
    with attacking(box, {"edge_infer.engine": code}), Daemon(box, config(broker.port)) as daemon:
        last, end = "engine: free(): invalid pointer", "engine was killed by SIGABRT"
        eventually(lambda: end in daemon.log.read_text(), f"the crash; its log: {daemon.log}", 60)
        lines = daemon.log.read_text().splitlines()
    assert lines.index(last) < next(number for number, line in enumerate(lines) if end in line)


# One pipe.

Written = Callable[[], str]


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    return lambda: capfd.readouterr().err


def run(output: Output, code: str) -> None:
    """A child that writes there, until its end."""
    file = output.open()
    with subprocess.Popen([sys.executable, "-c", f"import os, sys, time\n{code}"], stdout=file, stderr=file) as child:
        os.close(file)
        while child.poll() is None:
            output.read()
            time.sleep(0.001)
    output.close()


def test_both_descriptors_go_the_same_way_in_order(written: Written) -> None:
    run(Output("engine"), "for n in range(4): os.write(1 + n % 2, b'line %d\\n' % n)")
    assert written().splitlines() == [f"engine: line {number}" for number in range(4)]


def test_its_own_log_lines_are_as_they_were(written: Written) -> None:
    line = "12:34:56 WARNING engine: häuser"
    run(Output("engine"), f"os.write(2, {line!r}.encode() + b'\\n')")
    assert written() == f"{line}\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("<3>engine: broken", "<3>engine: broken"),
        ("<7>engine: detail", "<7>engine: detail"),
        ("<0>engine: to all terminals", "<6>engine: <0>engine: to all terminals"),
        ("<1>x", "<6>engine: <1>x"),
        ("<8>x", "<6>engine: <8>x"),
        ("<4>supervisor: stopping", "<4>engine: supervisor: stopping"),
        ("native", "<6>engine: native"),
    ],
)
def test_in_the_journal_a_child_chooses_among_the_levels(
    written: Written, monkeypatch: pytest.MonkeyPatch, line: str, told: str
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    run(Output("engine"), f"os.write(2, {line!r}.encode() + b'\\n')")
    assert written() == f"{told}\n"


def test_a_line_without_end_is_cut_and_what_was_cut_is_counted(
    written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    run(Output("engine"), "os.write(2, b'x' * 50000); os.write(2, b'x' * 50000 + b'\\nnext')")
    assert written().splitlines() == ["engine: " + "x" * LONGEST_LINE, "engine: next"]
    assert f"{100_000 - LONGEST_LINE} bytes dropped" in caplog.text


def test_the_last_words_are_cut_into_lines_as_well(written: Written) -> None:
    run(Output("engine"), "for _ in range(40): os.write(2, b'line\\n' * 2000)\nos.write(2, b'x' * 5000 + b' the end')")
    last = written().splitlines()[-1]
    assert last.endswith("x the end")
    assert len(last) <= len("engine: ") + LONGEST_LINE


def test_the_bound_holds_over_all_starts_of_a_child(written: Written, caplog: pytest.LogCaptureFixture) -> None:
    output = Output("engine")
    for _ in range(8):
        run(output, "for n in range(5000): os.write(2, b'%060d\\n' % n)")
    passed = written()
    assert len(passed) <= MAX_BURST_BYTES + MAX_BYTES_PER_MINUTE + 6 * MAX_LAST_WORDS
    assert passed.splitlines()[0] == "engine: " + "0" * 60
    assert passed.splitlines().count(f"engine: {4999:060d}") >= 1  # last words, until they are used up, too
    assert caplog.text.count("bytes dropped") == 8


def test_another_level_gives_no_new_allowance(written: Written) -> None:
    output = Output("engine")
    for turn in range(8):
        output.allow(verbose=turn % 2 == 0)
        run(output, "for n in range(5000): os.write(2, b'%060d\\n' % n)")
    output.allow(verbose=False)
    assert len(written()) <= MAX_BURST_BYTES + MAX_DEBUG_BYTES_PER_MINUTE + 6 * MAX_LAST_WORDS


def test_a_program_that_keeps_the_pipe_open_holds_nobody_up(written: Written) -> None:
    output = Output("engine")
    before = time.monotonic()
    run(output, "os.write(2, b'last'); os.fork() or (time.sleep(20), os._exit(0)); os._exit(0)")
    assert time.monotonic() - before < 15
    assert written() == "engine: last\n"
    assert output.files() == []


def test_one_that_closes_both_descriptors_is_not_asked_again(written: Written) -> None:
    output = Output("engine")
    file = output.open()
    os.write(file, b"so far")
    os.close(file)
    for _ in range(3):
        output.read()
    assert output.files() == []
    output.close()
    assert written() == "engine: so far\n"


def test_one_turn_reads_so_much_and_a_flood_waits(written: Written) -> None:
    output = Output("engine")
    file = output.open()
    os.set_blocking(file, False)
    try:
        for _ in range(20):
            while True:
                try:
                    os.write(file, b"x" * 4095 + b"\n")
                except BlockingIOError:
                    break
            output.read()
        assert output.files() == []  # it rests
        assert output.due() > time.monotonic() - 0.001
    finally:
        os.close(file)
        output.close()
    assert len(written()) <= MAX_BURST_BYTES + 2 * MAX_LAST_WORDS


def test_who_reads_our_log_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        run(Output("engine"), "os.write(2, b'hello\\n')")
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            gone.close()


ONCE = ("timeit", "-n", "1", "-r", "1")
TEXT = (b"x" * 500 + b"\n") * 120


def test_an_errand_writes_there_too(written: Written) -> None:
    with HelperProcess(
        *ONCE, "import os; os.write(2, b'\\x1b[31m'); os._exit(3)", seconds=60, output=Output("helper")
    ) as errand:
        while errand.said() is None:
            time.sleep(0.01)
    assert written() == "helper: \ufffd[31m\n"


def test_the_process_that_reads_a_configuration_has_one_allowance_over_all_of_its_runs(written: Written) -> None:
    output = Output("config")
    for _ in range(3):
        with HelperProcess(*ONCE, f"import os; os.write(2, {TEXT!r}); os._exit(0)", seconds=60, output=output) as run:
            while run.said() is None:
                time.sleep(0.01)
    passed = sum(len(line) for line in written().splitlines() if line.startswith("config: x"))
    assert MAX_BURST_BYTES // 2 < passed < 1.2 * MAX_BURST_BYTES


def test_a_new_reader_of_a_source_has_what_the_one_before_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause, or a change of the source, ends a reader and begins another one."""
    monkeypatch.setattr(ChildProcess, "start", lambda _: None)
    readers = Readers(("--log-level", "info"), Stalls())
    source = SourcePlan("cam", "v4l2", "m:C", live=True, network=False, options={"device": "/dev/video9"})
    for plan in (source, replace(source, fps=3.0)):
        (reader,) = readers.change((plan,), ())
        left = reader.child._output._allowance.left()
        reader.child._output._allowance.take(left)
        readers.change((), ())
        if plan is source:
            assert left == MAX_BURST_BYTES
        else:
            assert left < 1000
    for number in range(2 * MAX_REMEMBERED):
        readers.change((replace(source, name=f"cam{number}"),), ())
    assert len(readers._outputs) <= MAX_REMEMBERED + 1
    readers.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain ü 中 😀", "plain ü 中 😀"),
        ("\x1b[31mred\x07\x00\x7f\x9b", "\ufffd[31mred\ufffd\ufffd\ufffd\ufffd"),
        ("a\u202eb\u2066c\u200bd\ufeffe\U000e0041", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"),
        ("\ud800\ue000\U0010ffff", "\ufffd\ufffd\ufffd"),
        ("a\tb\u00a0c\u2028d\u2029e\rf", "a b c d e f"),
    ],
)
def test_printable(text: str, told: str) -> None:
    assert printable(text) == told
    assert told.isprintable()


def test_empty_lines_count_as_well() -> None:
    """A flood of them would not end otherwise: each costs a look."""
    output = Output("engine")
    theirs = output.open()
    os.set_blocking(theirs, False)
    for _ in range(40):
        with suppress(BlockingIOError):
            os.write(theirs, b"\n" * 65536)
        output._rest_until = 0.0
        output.read()
    os.close(theirs)
    assert output.dropped > 65536
    output.close()


def test_what_the_supervisor_quotes_of_a_child_counts_as_its_output() -> None:
    output = Output("engine")
    said = [output.excerpt("\x1b" + "é" * 9999) for _ in range(1000)]
    assert said[0] == "\ufffd" + "é" * (MAX_EXCERPT - 1)
    lines = 2  # each of them about the kill and the restart
    assert lines * sum(len(each.encode()) for each in said) <= MAX_BURST_BYTES
    assert said[-1] == ""
    assert output.dropped > 0
