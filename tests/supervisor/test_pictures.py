"""Requests for pictures: one in work at a time, for each user so many, and none in memory that a client keeps."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from edge_infer.errors import EdgeInferError
from edge_infer.ipc.messages import GrabDone, Look
from edge_infer.page import looks
from edge_infer.supervisor.control import requests, server
from edge_infer.supervisor.control.files import MAX_PICTURE_BYTES, SentPicture
from edge_infer.supervisor.control.peer import Peer
from edge_infer.supervisor.control.requests import (
    GRABS_AT_ONCE,
    LINES_AT_ONCE,
    MAX_VIEWERS,
    MAX_WAITING_OF_USER,
    PendingPictures,
)
from edge_infer.supervisor.control.server import ControlSocket, Request, ask_for_picture
from edge_infer.supervisor.processes.engine_reports import PICTURE
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from tests.broker import eventually

LOOK = Look(2, 2, (2, 2), "2026-11-25T08:45:12.345Z", 0.5, 0.5, {}, {})


class House:
    """The processes: an engine that is told which picture to make, and makes it when a test says so."""

    def __init__(self) -> None:
        self.orders: list[tuple[int, str, int, int]] = []
        self.done: list[GrabDone] = []
        self.picture: int | None = None
        self.runs = self.watched = True

    def grab(self, source: str, file: int, side: int, number: int) -> bool:
        if self.runs:
            self.orders.append((number, source, side, os.dup(file)))
            self.picture = number
        return self.runs

    def take_grabs(self) -> list[GrabDone]:
        done, self.done = self.done, []
        return done

    def watch(self, *, watched: bool) -> None:
        self.watched = watched

    def forget_picture(self, number: int) -> None:
        self.picture = None if self.picture == number else self.picture

    def make(self, data: bytes = b"picture") -> int:
        """Make the picture that was ordered last; return the engine's file."""
        number, source, side, file = self.orders[-1]
        os.write(file, data)
        os.ftruncate(file, len(data))
        self.done.append(GrabDone(source, look=LOOK if side else None, number=number))
        self.picture = None
        return file


class Clients:
    """Requests of users, and what they are told."""

    def __init__(self, pictures: PendingPictures, house: House) -> None:
        self.pictures = pictures
        self.house = house
        self.told: list[tuple[int, dict[str, Any]]] = []
        self.sent: list[SentPicture] = []
        self.ways: list[socket.socket] = []

    def ask(self, uid: int = 0, **body: Any) -> None:
        ours, theirs = socket.socketpair()
        self.ways += (ours, theirs)

        def send(_: socket.socket, data: bytes, picture: SentPicture | None = None, /) -> None:
            self.told.append((uid, json.loads(data)))
            self.sent += [] if picture is None else [picture]

        request = Request(ours, Peer(1, uid, frozenset()), {"do": "grab", "source": "cam", **body}, (), send)
        self.pictures.begin(request)

    def close(self) -> None:
        """Close everything, also the files of the engine."""
        self.pictures.close()
        for way in self.ways:
            way.close()
        for picture in self.sent:
            picture.close()
        for order in self.house.orders:
            os.close(order[3])

    def errors(self) -> list[str]:
        return [answer.get("error", answer.get("busy", "")) for _, answer in self.told]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def pictures(house: House, monkeypatch: pytest.MonkeyPatch) -> PendingPictures:
    monkeypatch.setattr(requests, "pictures_refusal", lambda _: None)
    return PendingPictures(cast("ProcessSupervisor", house))


@pytest.fixture
def clients(pictures: PendingPictures, house: House) -> Iterator[Clients]:
    with closing(Clients(pictures, house)) as found:
        yield found


def test_one_picture_is_in_work_at_a_time(house: House, pictures: PendingPictures, clients: Clients) -> None:
    for uid in (1, 2, 3):
        clients.ask(uid)
    assert len(house.orders) == 1
    house.make()
    pictures.go_on()
    assert len(house.orders) == 2
    assert clients.told == [(1, {"ok": True, "bytes": 7})]


def test_nobody_can_change_a_picture_that_is_sent(house: House, pictures: PendingPictures, clients: Clients) -> None:
    clients.ask(1)
    file = house.make()
    pictures.go_on()
    with pytest.raises(PermissionError):
        os.write(file, b"more")
    assert clients.sent[0].size == 7


@pytest.mark.parametrize("spoil", ["empty", "seals", "look"])
def test_what_is_not_a_picture_is_not_sent(
    house: House, pictures: PendingPictures, clients: Clients, spoil: str
) -> None:
    clients.ask(1)
    file = house.make(b"" if spoil == "empty" else b"picture")
    if spoil == "seals":
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    if spoil == "look":
        house.done[0] = GrabDone("cam", look=LOOK, number=house.done[0].number)
    pictures.go_on()
    assert clients.errors() == ["the engine made something that is not a picture; see its log"]
    assert clients.sent == []


def test_a_user_who_does_not_read_holds_up_nobody_else(
    house: House, pictures: PendingPictures, clients: Clients
) -> None:
    for uid in (1, 1, 2):
        clients.ask(uid)
    for _ in range(2):
        house.make()
        pictures.go_on()
    assert [uid for uid, _ in clients.told] == [1, 2]
    assert len(house.orders) == 2, "the second picture of a user waits for the first to be read"
    clients.sent[0].close()
    pictures.go_on()
    assert len(house.orders) == 3


def test_each_user_gets_so_many_whole_pictures(house: House, pictures: PendingPictures, clients: Clients) -> None:
    for _ in range(GRABS_AT_ONCE + 3):
        clients.ask(1)
        if house.picture is not None:
            house.make()
        pictures.go_on()
        for picture in clients.sent:
            picture.close()
    assert sum("bytes" in answer for _, answer in clients.told) == GRABS_AT_ONCE
    assert sum("after 10 in a row the daemon gives one a second" in error for error in clients.errors()) == 3
    clients.ask(2)
    assert house.picture is not None


def test_a_user_has_few_requests_waiting(clients: Clients) -> None:
    for _ in range(MAX_WAITING_OF_USER + 2):
        clients.ask(1)
    assert len(clients.told) == 1
    assert "are waiting; try again" in clients.errors()[0]


def test_a_request_is_answered_if_the_engine_ends_or_does_not_run(
    house: House, pictures: PendingPictures, clients: Clients
) -> None:
    clients.ask(1)
    house.picture, house.runs = None, False
    clients.ask(2)
    pictures.go_on()
    assert clients.errors() == [
        "the engine has ended while it made the picture; try again in a moment",
        "the engine is not running; try again in a moment",
    ]


def test_a_late_picture_goes_to_nobody(
    house: House, pictures: PendingPictures, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "PICTURE_SECONDS", -1.0)
    clients.ask(1)
    pictures.go_on()
    assert clients.errors() == [requests.LATE]
    clients.ask(2)
    assert len(house.orders) == 1, "it is still in work"
    house.make()
    pictures.go_on()
    assert clients.sent == []


@pytest.mark.parametrize(("wanted", "most"), [("look", requests.MAX_LOOK_BYTES), ("grab", MAX_PICTURE_BYTES)])
def test_the_engine_can_write_no_more_than_a_picture(
    house: House, pictures: PendingPictures, clients: Clients, wanted: str, most: int
) -> None:
    """What it writes counts as memory of the daemon."""
    clients.ask(do=wanted)
    file = house.orders[-1][3]
    assert os.fstat(file).st_blocks == 0, "what nobody has written takes no memory"
    assert os.pwrite(file, b"12", most - 1) == 1
    for grown in (lambda: os.pwrite(file, b"2", most), lambda: os.ftruncate(file, most + 1)):
        with pytest.raises(PermissionError):
            grown()


def test_a_picture_that_never_comes_is_forgotten(
    house: House, pictures: PendingPictures, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "LATE_SECONDS", -1.0)
    clients.ask(1)
    pictures.go_on()
    assert clients.errors() == [requests.LATE]
    assert house.picture is None


def test_the_page_has_the_limits_of_the_daemon() -> None:
    assert (looks.MAX_VIEWERS, looks.MAX_BYTES) == (MAX_VIEWERS, requests.MAX_LOOK_BYTES)
    assert looks.LEFT_SECONDS > requests.WATCHED_SECONDS


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every client the page; returns the user ids whose names were looked up."""
    looked_up: list[int] = []
    monkeypatch.setattr(Peer, "is_page", property(lambda _: True))
    monkeypatch.setattr(requests, "user_name", lambda uid: looked_up.append(uid) or f"user {uid}")
    monkeypatch.setattr(requests, "LOOKS_AT_ONCE", 10_000)
    monkeypatch.setattr(requests, "WATCHED_SECONDS", -1.0)
    return looked_up


def test_few_people_look_at_once(
    named: list[int],
    clients: Clients,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(requests, "WATCHED_SECONDS", 60.0)
    caplog.set_level(logging.INFO)
    for viewers in (range(MAX_VIEWERS + 1), range(64), range(MAX_VIEWERS), [MAX_VIEWERS], range(MAX_VIEWERS)):
        clients.ask(do="look", viewers=list(viewers))
        if clients.house.picture is not None:
            clients.house.make()
        clients.pictures.go_on()
        for picture in clients.sent:
            picture.close()
    answered = ["bytes" in answer for _, answer in clients.told]
    assert answered == [False, False, True, False, True]
    assert "8 people look at pictures already" in clients.errors()[0]
    assert len(caplog.messages) == len(named) == MAX_VIEWERS


def test_a_page_that_names_many_people_fills_no_log(
    named: list[int], clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """The process of the page may name whom it likes."""
    caplog.set_level(logging.INFO)
    for first in range(0, 4000, MAX_VIEWERS):
        clients.ask(do="look", viewers=list(range(first, first + MAX_VIEWERS)))
        clients.house.make()
        clients.pictures.go_on()
        clients.sent[-1].close()
    assert len(caplog.messages) <= LINES_AT_ONCE + 2
    assert len(named) == len(set(named)) <= LINES_AT_ONCE + 2
    clients.pictures._viewers._lines = requests.UserBuckets(1, 0.0)
    clients.pictures.go_on()
    assert caplog.messages[-1].endswith("were not written (rate limit)")
    assert int(caplog.messages[-1].split()[0]) >= 2 * 4000 - LINES_AT_ONCE - 2


def test_the_page_takes_neither_the_lines_nor_the_places_of_others(
    named: list[int], clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Peer, "is_page", property(lambda peer: peer.uid == 7))
    caplog.set_level(logging.INFO)
    for first in range(0, 40 * MAX_VIEWERS, MAX_VIEWERS):
        clients.ask(7, do="look", viewers=list(range(first, first + MAX_VIEWERS)))
        clients.house.make()
        clients.pictures.go_on()
        clients.sent[-1].close()
    monkeypatch.setattr(requests, "WATCHED_SECONDS", 60.0)
    clients.ask(7, do="look", viewers=list(range(1000, 1000 + MAX_VIEWERS)))
    clients.house.make()
    clients.pictures.go_on()
    clients.ask(9, do="look")
    clients.house.make()
    clients.pictures.go_on()
    assert "bytes" in clients.told[-1][1]
    assert caplog.messages[-1] == "showing pictures of source cam to user 9"
    assert named[-1] == 9


@pytest.mark.parametrize(
    ("picture", "silent", "status", "counts"),
    [
        (1, 0.0, -signal.SIGKILL, False),
        (1, 60.0, -signal.SIGKILL, False),
        (None, 0.0, -signal.SIGKILL, True),
        (None, 60.0, -signal.SIGKILL, True),
        (1, 0.0, -signal.SIGSEGV, True),
        (1, 0.0, 1, True),
    ],
)
def test_an_engine_that_is_killed_for_a_picture_counts_against_no_model(
    monkeypatch: pytest.MonkeyPatch, picture: int | None, silent: float, status: int, counts: bool
) -> None:
    """Large pictures take memory and time. A crash is still the engine's own."""
    house = ProcessSupervisor("info")
    house.picture = house._large = picture
    monkeypatch.setattr(house.engine, "silent", lambda: silent)
    monkeypatch.setattr(house.engine, "ended", lambda: status)
    assert len(house.serve()) == counts
    assert house.picture is None
    monkeypatch.undo()
    house.close()


def test_an_engine_may_be_silent_for_longer_while_it_makes_a_picture() -> None:
    house = ProcessSupervisor("info")
    house.engine.heard = time.monotonic()
    before = dict(house._patiences())[house.engine]
    house.picture = house._large = 1
    assert dict(house._patiences())[house.engine] == before + PICTURE
    house.forget_picture(1)
    assert dict(house._patiences())[house.engine] == before
    house.close()


@pytest.mark.parametrize(("side", "silent", "excused"), [(0, 0.0, True), (640, 0.0, False), (0, 3.0, False)])
def test_a_picture_for_the_page_and_one_ordered_of_a_hanging_engine_excuse_nothing(
    monkeypatch: pytest.MonkeyPatch, side: int, silent: float, excused: bool
) -> None:
    """An open page asks once a second: otherwise no model on probation would ever be rolled back for a hang."""
    house = ProcessSupervisor("info")
    monkeypatch.setattr(type(house.engine), "spoke", property(lambda _: True))
    monkeypatch.setattr(house.engine, "tell", lambda *_: True)
    monkeypatch.setattr(house.engine, "silent", lambda: silent)
    assert house.grab("cam", 0, side, 7)
    monkeypatch.setattr(house.engine, "silent", lambda: 60.0)
    monkeypatch.setattr(house.engine, "ended", lambda: -signal.SIGKILL)
    assert len(house.serve()) == (not excused)
    monkeypatch.undo()
    house.close()


# The bytes of a picture on the control socket.


class Daemon:
    """A control socket that answers each request with a picture of these bytes."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.sent: list[SentPicture] = []
        self._data = data
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _answer(self, request: Request) -> None:
        file = os.memfd_create("picture")
        os.write(file, self._data)
        self.sent.append(SentPicture(file, len(self._data)))
        request.answer_with({"ok": True}, self.sent[-1])

    def _run(self) -> None:
        with ControlSocket(self.path, self._answer, lambda *_: Peer(1, 0, frozenset())) as control:
            while not self._stop.is_set():
                for fd in server_ready(control):
                    control.serve(fd)
                control.flush()

    def __enter__(self) -> Daemon:
        self._thread.start()
        while not self.path.exists():
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)


def server_ready(control: ControlSocket) -> set[int]:
    reads, writes, _ = select.select(control.files(), control.unsent(), [], 0.05)
    return set(reads) - set(writes)


def test_a_large_picture_follows_its_answer(tmp_path: Path) -> None:
    data = os.urandom(3 << 20) + b"\n"
    with Daemon(tmp_path / "control.sock", data) as daemon:
        for _ in range(3):
            assert ask_for_picture(daemon.path, {"do": "grab"}, 20.0) == ({"ok": True, "bytes": len(data)}, data)
        eventually(lambda: all(picture.closed for picture in daemon.sent), "free memory of each picture", 20.0)


@pytest.mark.parametrize("limit", ["READ_WITHIN", "READ_SOME_WITHIN"])
def test_who_does_not_read_a_picture_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(server, "READ_WITHIN", 60.0)
    monkeypatch.setattr(server, "READ_SOME_WITHIN", 60.0)
    monkeypatch.setattr(server, limit, 0.3)
    size = 3 << 20
    with Daemon(tmp_path / "control.sock", bytes(size)) as daemon, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.path))
        client.sendall(b"{}\n")
        deadline = time.monotonic() + 20
        while not (daemon.sent and daemon.sent[0].closed) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert daemon.sent[0].closed
        client.settimeout(20)
        left = 0
        while part := client.recv(1 << 20):
            left += len(part)
        assert left < size


def test_part_of_a_picture_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        told = [b'{"ok":true,"bytes":9}\npart', b'{"ok":true,"bytes":-1}\n', b'{"ok":true,"bytes":999999999}\n']

        def serve() -> None:
            for each in told:
                way, _ = listener.accept()
                with way:
                    way.recv(100)
                    way.sendall(each)

        thread = threading.Thread(target=serve)
        thread.start()
        for why in ("4 of 9 bytes", "-1 is not the size", "999999999 is not the size"):
            with pytest.raises(EdgeInferError, match=why):
                ask_for_picture(tmp_path / "control.sock", {"do": "grab"}, 20.0)
        thread.join(20)
