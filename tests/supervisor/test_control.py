"""The control socket against clients that are polite, slow, rude or gone."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge_infer.errors import EdgeInferError
from edge_infer.platform.paths import DEFAULT_CONFIG
from edge_infer.supervisor.control import files as socket_files
from edge_infer.supervisor.control import server
from edge_infer.supervisor.control.files import MAX_CLOSERS, FileCloser
from edge_infer.supervisor.control.peer import ChangeLimit, EndedError, Peer, RefusedError, identify
from edge_infer.supervisor.control.requests import ModelRequests, PendingExplainRequests
from edge_infer.supervisor.control.server import (
    LONGEST,
    ControlSocket,
    Identify,
    NotRunningError,
    Request,
    ask,
    find_socket,
)
from tests.broker import eventually

NOBODY = 1_000_000_000
"""The number of a daemon of which no process is a child, so that this process may ask itself."""


MAX_UNCLOSED = 20

LONG = "x" * 900_000
"""More than the kernel holds for a client that does not read."""
FOR_ANYBODY: Identify = partial(identify, daemon=NOBODY)


@contextmanager
def serving(path: Path, identify: Identify = FOR_ANYBODY) -> Iterator[list[dict[str, Any]]]:
    """A daemon that answers every request with what it was asked, and writes into a file that came along."""
    seen: list[dict[str, Any]] = []

    def handle(request: Request) -> None:
        seen.append(dict(request.body))
        for file in request.files if request.body.get("do") == "check" else ():
            os.write(file, b"written")
        request.answer({"asked": request.body.get("do"), **({"long": LONG} if request.body.get("long") else {})})

    stop = threading.Event()

    def loop(control: ControlSocket) -> None:
        while not stop.is_set():
            for fd in select.select(control.files(), control.unsent(), [], 0.05)[0]:
                control.serve(fd)
            control.flush()

    with ControlSocket(path, handle, identify) as control:
        thread = threading.Thread(target=loop, args=(control,))
        thread.start()
        try:
            yield seen
        finally:
            stop.set()
            thread.join(10)


def test_a_request_is_answered_and_the_socket_is_for_the_group_only(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask(path, {"do": "status"}) == {"asked": "status"}
    assert not path.exists()


def test_a_folder_of_a_long_name_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    with serving(folder / "control.sock"):
        assert ask(folder / "control.sock", {"do": "status"}) == {"asked": "status"}
    assert list(folder.iterdir()) == []
    with pytest.raises(NotRunningError, match="no daemon answers"):
        ask(folder / "control.sock", {"do": "status"})


def test_a_slip_in_the_path_of_the_configuration_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with pytest.raises(NotRunningError, match=r"\S+/confg\.yaml does not exist"):
        find_socket(tmp_path / "confg.yaml")
    with serving(tmp_path / "control.sock"):
        assert find_socket(tmp_path / "confg.yaml") == tmp_path / "control.sock"


@pytest.mark.parametrize("text", ["", "device: {id: box}\n"])
def test_a_file_without_a_state_directory_is_told_as_the_reason_for_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "usual"))
    with pytest.raises(NotRunningError, match=r"the default, because \S+config.yaml names no device: state_dir:"):
        find_socket(config)
    config.write_text("device: {state_dir: own}\n")
    assert find_socket(config) == tmp_path / "own/control.sock"


def test_a_file_travels_with_a_request(tmp_path: Path) -> None:
    target = tmp_path / "picture"
    with serving(tmp_path / "control.sock"), target.open("wb") as file:
        ask(tmp_path / "control.sock", {"do": "check"}, (file.fileno(),))
    assert target.read_bytes() == b"written"


def test_clients_that_say_nothing_nonsense_or_too_much_disturb_nobody(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path) as seen:
        idle = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for client in idle:
            client.connect(str(path))
            client.send(b'{"do":')
        rude = socket.socket(socket.AF_UNIX)
        rude.connect(str(path))
        rude.sendall(b"\xff\0 not json\n")
        assert json.loads(rude.recv(1000)) == {"asked": None}
        endless = socket.socket(socket.AF_UNIX)
        endless.connect(str(path))
        endless.settimeout(10)
        with pytest.raises(OSError, match=r"(?i)broken pipe|reset"):
            endless.sendall(b"x" * (LONGEST + 1_000_000))
        assert ask(path, {"do": "status"}, timeout=10) == {"asked": "status"}
        for client in (*idle, rude, endless):
            client.close()
        assert seen[-1] == {"do": "status"}


def test_a_user_with_many_connections_locks_nobody_else_out(tmp_path: Path) -> None:
    path, users = tmp_path / "control.sock", iter([7, *[8] * 40])
    with serving(path, lambda *_: Peer(1, next(users), frozenset())), ExitStack() as stack:
        slow = stack.enter_context(socket.socket(socket.AF_UNIX))
        slow.connect(str(path))
        slow.send(b'{"do":')
        for _ in range(40):
            other = stack.enter_context(socket.socket(socket.AF_UNIX))
            other.connect(str(path))
            other.send(b'{"do":')
        slow.settimeout(10)
        slow.send(b'"status"}\n')
        assert json.loads(slow.recv(1000)) == {"asked": "status"}


def lingering(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A TCP socket that holds up, for half a minute, whoever closes it last; and its other end."""
    way = socket.create_connection(listener.getsockname())
    other = listener.accept()[0]
    way.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            way.send(b"x" * 65536)
    way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
    return way, other


@pytest.mark.parametrize(
    ("body", "files"),
    [(b'{"do":"status"}\n', 2), (b'{"do":"status"}\n', 6), (b'{"do":', 2), (b"not json\n", 2)],
    ids=["with a request", "too many", "and hangs up", "with nonsense"],
)
@pytest.mark.parametrize("who", ["a client", "one that is refused"])
def test_sockets_that_come_along_hold_nobody_up(tmp_path: Path, body: bytes, files: int, who: str) -> None:
    path, whose = tmp_path / "control.sock", iter([who == "a client", True])

    def choose(connection: socket.socket, quiet: int) -> Peer:
        return identify(connection, quiet, daemon=NOBODY if next(whose) else None)

    with serving(path, choose), socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = [lingering(listener) for _ in range(files)]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            try:
                socket.send_fds(client, [body], [way.fileno() for way, _ in pairs])
            except BrokenPipeError:  # refused already: the daemon has none of them, and here nobody is to wait
                for way, _ in pairs:
                    way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            for way, _ in pairs:
                os.close(way.detach())  # the daemon has the last one
        assert ask(path, {"do": "status"}, timeout=10) == {"asked": "status"}
        for _, other in pairs:
            other.close()


def test_answers_that_nobody_reads_hold_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path), ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
            client.sendall(b'{"do":"status","long":true}\n')
        assert ask(path, {"do": "status"}, timeout=10) == {"asked": "status"}
        assert ask(path, {"do": "status", "long": True}, timeout=10) == {"asked": "status", "long": LONG}


def test_who_is_turned_away_tries_again(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with ExitStack() as stack:
        control = stack.enter_context(ControlSocket(path, lambda request: request.answer({}), FOR_ANYBODY))
        with suppress(BlockingIOError):
            while True:  # until no more may wait
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        with pytest.raises(EdgeInferError, match=r"the daemon on \S+ is busy: too many programs") as raised:
            ask(path, {"do": "status"}, timeout=0.2)
        assert not isinstance(raised.value, NotRunningError)
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(ask(path, {"do": "status"}, timeout=20)))
        thread.start()
        while thread.is_alive():
            for fd in select.select(control.files(), [], [], 0.05)[0]:
                control.serve(fd)
        assert answers == [{}]


def test_what_could_not_be_said_on_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path):
        for body in (b'{"do":"models","action":"retry","name":"\\ud800"}\n', b'{"do":NaN}\n'):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(body)
                assert json.loads(client.recv(1000)) == {"asked": None}


def test_a_left_over_socket_is_replaced_and_a_missing_daemon_is_named(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunningError, match=r"control\.sock.*edge-infer run"):
        ask(path, {"do": "status"})
    with serving(path):
        assert ask(path, {"do": "status"}) == {"asked": "status"}


def test_a_daemon_that_hangs_up_is_told(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def hang_up() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    with pytest.raises(EdgeInferError, match=r"closed the connection|did not answer"):
        ask(tmp_path / "control.sock", {"do": "status"}, timeout=10)
    thread.join(10)
    listener.close()


def test_a_folder_that_is_closed_to_this_user_hides_whether_a_daemon_runs(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(closed))
    path = find_socket(DEFAULT_CONFIG)
    assert path == closed / "control.sock"
    with pytest.raises(
        NotRunningError, match=r"no daemon answers on .*closed/control\.sock, or this user may not enter its folder"
    ):
        ask(path, {"do": "status"})


@pytest.mark.parametrize("ours", [True, False])
def test_a_user_who_may_not_connect_is_told_who_may(closed: Path, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    monkeypatch.setattr("edge_infer.platform.permissions._service_gid", lambda: os.getegid() if ours else None)
    monkeypatch.setattr("edge_infer.platform.permissions._user", lambda uid: "me")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder, "control.sock")
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        with pytest.raises(NotRunningError, match="may not connect to the daemon on") as told:
            ask(path, {"do": "status"})
        join = ", or join the group that may: sudo usermod -aG edge-infer me, then log in again"
        assert str(told.value).endswith(f"with sudo{join if ours else ''}")


def test_a_stopped_service_is_told_to_a_user_who_may_not_look_into_its_folder(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder, "control.sock")
        monkeypatch.setattr("edge_infer.supervisor.control.server.SYSTEM_SOCKET", unit)
        monkeypatch.setattr("edge_infer.supervisor.control.server.ROOT_STATE", closed)
        with pytest.raises(NotRunningError) as told:
            ask(closed / "control.sock", {"do": "status"})
        assert f"no daemon answers on {unit}: the service is stopped or just starting;" in str(told.value)
        assert f"{closed}/control.sock, run the command as root" in str(told.value)


def test_a_socket_that_is_there_goes_before_a_folder_that_is_closed(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory of the service is root's to enter, and the socket lies where everybody may look."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("edge_infer.supervisor.control.server.SYSTEM_SOCKET", Path(folder, "control.sock"))
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(closed))
        assert find_socket(DEFAULT_CONFIG) == closed / "control.sock"
        Path(folder, "control.sock").touch()
        assert find_socket(DEFAULT_CONFIG) == Path(folder, "control.sock")


def test_a_process_of_the_daemon_is_told_so_and_takes_no_place(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with serving(path, identify) as seen:  # the daemon is this process
        for _ in range(3):
            with pytest.raises(RefusedError, match="does not answer processes that it started"):
                ask(path, {"do": "status"}, timeout=20)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.settimeout(20)
            assert b"refused" in client.recv(1000)
            assert client.recv(1000) == b""
    assert seen == []


def test_refusals_are_logged_once_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path / "control.sock", identify):
        for _ in range(5):
            with pytest.raises(RefusedError):
                ask(tmp_path / "control.sock", {"do": "status"}, timeout=20)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["control socket"]


def test_without_pidfds_a_program_that_has_just_begun_is_answered_the_second_time(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    question = f"""
from pathlib import Path
from edge_infer.supervisor.control.server import ask
print(ask(Path({str(path)!r}), {{"do": "status"}}, timeout=20))
"""
    with serving(path, partial(identify, daemon=NOBODY, pidfd=lambda _: None)) as seen:
        done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, timeout=60, check=True)
        assert (done.stdout, seen) == ("{'asked': 'status'}\n", [{"do": "status"}])
        raw = "import socket, sys; way = socket.socket(socket.AF_UNIX); way.connect(sys.argv[1]); print(way.recv(1000))"
        first = subprocess.run(
            [sys.executable, "-c", raw, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert "cannot verify yet" in first.stdout


def test_refusals_are_one_line_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "control.sock"

    def refuse(*_: object) -> Peer:
        raise RefusedError("it is not welcome")

    with ControlSocket(path, lambda _: None, refuse) as control:

        def turned_away(count: int) -> list[str]:
            for _ in range(count):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                    control.serve(control.files()[0])
            return [line for line in caplog.messages if "not welcome" in line]

        first = "control socket: connections refused since the last such line: 1; the latest: it is not welcome"
        assert turned_away(50) == [first]
        control._log_at -= server.LOG_EVERY
        assert turned_away(1) == [first, first.replace(": 1;", ": 50;")]


def test_a_process_that_ends_before_it_is_identified_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a check during an upgrade does."""
    path = tmp_path / "control.sock"

    def miss(*_: object) -> Peer:
        raise EndedError("it has ended")

    caplog.set_level(logging.DEBUG)
    with ControlSocket(path, lambda _: None, miss) as control, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        control.serve(control.files()[0])
    assert [record.levelname for record in caplog.records if "it has ended" in record.message] == ["DEBUG"]


@pytest.mark.parametrize(
    "body", [{"do": "models", "action": "x" * 5000}, {"do": "why", "since": "x" * 5000}], ids=["models", "why"]
)
def test_an_answer_repeats_little_of_what_was_asked(body: dict[str, Any]) -> None:
    told: list[bytes] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = Request(ours, Peer(1, 0, frozenset()), body, (), lambda _, data, *__: told.append(data))
        handler: Any = (
            ModelRequests(None, None, ChangeLimit())  # type: ignore[arg-type]
            if body["do"] == "models"
            else PendingExplainRequests(None, dict)  # type: ignore[arg-type]
        )
        handler.begin(request)
    assert "error" in json.loads(told[0])
    assert len(told[0]) < 400


def test_files_whose_closing_takes_its_time_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As those in a file system that the client itself serves, and does not."""
    path, served, close = tmp_path / "control.sock", threading.Event(), socket_files._close_file
    monkeypatch.setattr(socket_files, "_close_file", lambda file: (served.wait(60), close(file)))
    monkeypatch.setattr(server, "_FILES", FileCloser(MAX_UNCLOSED))
    monkeypatch.setattr(server, "_CONNECTIONS", FileCloser(MAX_UNCLOSED))
    with serving(path), (tmp_path / "target").open("wb") as target:
        before, open_before = threading.active_count(), open_files()
        for _ in range(MAX_UNCLOSED):
            ask(path, {"do": "status"}, files=(target.fileno(),), timeout=20)
        for _ in range(MAX_UNCLOSED):
            with pytest.raises(RefusedError, match=r"accepts no files now.* 20 .*FUSE"):
                ask(path, {"do": "status"}, files=(target.fileno(),) * 4, timeout=20)
        assert threading.active_count() <= before + 2 * MAX_CLOSERS
        assert "20 files of clients stay open because closing them hangs" in caplog.text
        assert open_files() <= open_before + 2 * MAX_UNCLOSED + 2
        served.set()
        eventually(lambda: open_files() <= open_before + 2, "the end of all files", 30)
        assert ask(path, {"do": "check"}, files=(target.fileno(),), timeout=20) == {"asked": "check"}
    assert (tmp_path / "target").read_bytes() == b"written"


def test_requests_without_files_are_answered_while_files_do_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, served, close = tmp_path / "control.sock", threading.Event(), socket_files._close_file
    files = FileCloser(1)
    monkeypatch.setattr(socket_files, "_close_file", lambda file: (served.wait(60), close(file)))
    monkeypatch.setattr(server, "_FILES", files)
    files.close((os.dup(0),))
    with serving(path) as seen:
        for _ in range(3):
            assert ask(path, {"do": "status", "long": True}, timeout=20)["asked"] == "status"
        with socket.socket(socket.AF_UNIX) as client, (tmp_path / "target").open("wb") as target:
            client.connect(str(path))
            client.sendall(b'{"do":')  # and files behind it
            socket.send_fds(client, [b'"check"}\n'], [target.fileno()])
            assert b"accepts no files now" in client.recv(1000)
        assert seen == [{"do": "status", "long": True}] * 3
        served.set()


def test_no_connection_is_accepted_while_too_many_do_not_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, connections = tmp_path / "control.sock", FileCloser(1)
    served, close = threading.Event(), socket_files._close_file
    monkeypatch.setattr(socket_files, "_close_file", lambda file: (served.wait(60), close(file)))
    monkeypatch.setattr(server, "_CONNECTIONS", connections)
    connections.close((os.dup(0),))
    with ControlSocket(path, lambda request: request.answer({}), FOR_ANYBODY) as control:
        assert control.files() == []
        served.set()
        eventually(lambda: len(control.files()) == 1, "a listener")


def test_a_closer_without_threads_closes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closer, before = FileCloser(2), open_files()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", no_thread)
        closer.close((os.dup(0), os.dup(0)))
        assert closer.full
    closer.close(())
    eventually(lambda: not closer.full, "the end of the files")
    eventually(lambda: open_files() == before, "the end of the files")


def no_thread(_: object) -> None:
    raise RuntimeError("can't start new thread")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
