"""A stop on an ext4 disk that root has filled: blocks that the publisher frees then go to root's reserve."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_infer.contract.codec import decode_json
from edge_infer.ipc.messages import Tally, handover
from edge_infer.publisher import reserved_space
from edge_infer.publisher.outbox import saved_account
from edge_infer.publisher.outbox.database import FILE, Batch, Limits, SeriesRow
from edge_infer.publisher.outbox.database_worker import SPACE_FILES, DatabaseWorker, Open, SaveAccount
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.outbox.saved_account import SavedAccount, account_of
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.open_events import EventNotes, OpenEvents
from tests.publisher.samples import BOOT
from tests.publisher.test_open_events import appear, ends
from tests.publisher.test_stored import DOOR, PLAN, YARD, drain, even, opened, stored, until

NOBODY = 65534
LATER = MessageSeries("door", "bbbbbb", "result")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk with the usual reserve for root, and a folder of the user `NOBODY`."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("no disk of its own can be mounted here: only root may")
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "5", "-b", "4096", str(image)], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk of its own can be mounted here: {mounted.stderr.strip()}")
    (place / "publisher").mkdir()
    os.chown(place / "publisher", NOBODY, NOBODY)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    """Leaves no block, not even to root."""
    with suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 20, 4096, 512):
            with suppress(OSError):
                while True:
                    filler.write(b"x" * size)
                    os.fsync(filler.fileno())
    assert os.statvfs(disk).f_bavail == 0


class Service:
    """A process of its own, as a user who may not take root's reserve."""

    def __init__(self, disk: Path, work: Callable[[Callable[[], None]], None]) -> None:
        """``work`` gets a function that waits until `go_on`."""
        (reached, at), (goes, go) = os.pipe(), os.pipe()

        def pause() -> None:
            os.write(at, b"!")
            os.read(goes, 1)

        self._reached, self._go = reached, go
        self._pid = os.fork()
        if self._pid == 0:
            os.close(go)
            os.close(reached)
            try:
                os.chdir(disk / "publisher")
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                work(pause)
                os._exit(0)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(at)
        os.close(goes)

    def reach(self) -> None:
        """Waits until the process pauses."""
        assert os.read(self._reached, 1) == b"!"

    def go_on(self) -> None:
        """Lets it go on, and waits for its end."""
        os.write(self._go, b"!")
        self.end()

    def end(self) -> None:
        """Waits for its end."""
        assert os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]) == 0


def look(disk: Path, wanted: Callable[[StoredOutbox], None]) -> None:
    """The next process with room on the disk."""

    def work(_: Callable[[], None]) -> None:
        with opened(Path()) as outbox:
            wanted(outbox)
            even(outbox)

    Service(disk, work).end()


@pytest.mark.parametrize("waiting", [0, 400], ids=["all delivered", "backlog"])
def test_the_account_survives(disk: Path, waiting: int) -> None:
    """With a backlog, the log of SQLite does not fit into its file any more."""

    def work(pause: Callable[[], None]) -> None:
        with opened(Path()) as outbox:
            for seq in range(1, 501):
                outbox.put(DOOR, seq, b"x" * 300, late=True)
            stored(outbox, 500)
            for entry in drain(outbox, 500 - waiting)[: 500 - waiting]:
                outbox.acked(entry)
            if not waiting:
                until(outbox, lambda: not outbox._gone and not outbox._writing, "the removal")
            pause()
            for seq in range(501, 701):
                outbox.put(DOOR, seq, b"x" * 300, late=True)
            until(outbox, lambda: outbox.account().degraded, "word of it")
            outbox.rewind()
            for entry in drain(outbox, 50)[:50]:
                outbox.acked(entry)

    def wanted(outbox: StoredOutbox) -> None:
        account = outbox.account()
        assert account.produced == 700
        assert account.lost == ({"full": 200} if waiting else {"full": 150})
        assert account.delivered == (150 if waiting else 550)
        assert account.pending == max(0, waiting - 50)
        assert [entry.seq for entry in drain(outbox, account.pending)] == list(range(151, 501) if waiting else ())

    service = Service(disk, work)
    service.reach()
    fill(disk)
    service.go_on()
    (disk / "filler").unlink()
    look(disk, wanted)
    assert sorted(each.name for each in (disk / "publisher").iterdir()) == sorted((FILE, *SPACE_FILES))
    look(disk, wanted)


@pytest.mark.parametrize("freed", [False, True], ids=["full", "freed"])
def test_a_process_that_could_not_read_the_file_leaves_its_backlog_as_it_is(disk: Path, freed: bool) -> None:
    """The publisher is killed on a full disk, the next one goes on with the same engine, and the service stops."""

    def first(pause: Callable[[], None]) -> None:
        outbox = opened(Path())
        for seq in range(1, 201):
            outbox.put(DOOR, seq, b"x" * 300, late=True)
        stored(outbox, 200)
        pause()
        os._exit(0)

    def second(pause: Callable[[], None]) -> None:
        with StoredOutbox() as outbox:
            outbox.use(Path(), PLAN, "kernel")
            until(outbox, lambda: outbox.account().degraded, "word of it")
            outbox.resume("aaaaaa", (Tally("door", "result", given=205, safe=200),))
            for seq in range(201, 206):
                outbox.put(DOOR, seq, b"x" * 300, late=True)
            pause()

    def wanted(outbox: StoredOutbox) -> None:
        account = outbox.account()
        assert (account.delivered, account.pending) == (0, 200)
        assert account.lost.keys() <= {"full"}
        assert [entry.seq for entry in drain(outbox, 200)] == list(range(1, 201))

    service = Service(disk, first)
    service.reach()
    fill(disk)
    service.go_on()
    service = Service(disk, second)
    service.reach()
    if freed:
        (disk / "filler").unlink()
    service.go_on()
    (disk / "filler").unlink(missing_ok=True)
    look(disk, wanted)


def test_two_stops_while_the_disk_stays_full(disk: Path) -> None:
    def first(pause: Callable[[], None]) -> None:
        with opened(Path()) as outbox:
            outbox.put(DOOR, 1, b"x" * 300, late=True)
            stored(outbox, 1)
            pause()
            for seq in range(2, 5):
                outbox.put(DOOR, seq, b"x" * 300, late=True)
            until(outbox, lambda: outbox.account().degraded, "word of it")

    def second(_: Callable[[], None]) -> None:
        with opened(Path()) as outbox:
            for seq in range(1, 4):
                outbox.put(LATER, seq, b"x" * 300, late=True)
            until(outbox, lambda: outbox.account().degraded, "word of it")

    def wanted(outbox: StoredOutbox) -> None:
        assert (outbox.account().produced, outbox.account().lost) == (7, {"full": 6})
        assert [entry.seq for entry in drain(outbox, 1)] == [1]

    service = Service(disk, first)
    service.reach()
    fill(disk)
    service.go_on()
    fill(disk)
    Service(disk, second).end()
    (disk / "filler").unlink()
    look(disk, wanted)


def test_an_engine_that_goes_on_loses_nothing_with_its_publisher(disk: Path) -> None:
    """An edit of the broker replaces the publisher; the engine sends the other one what is not acknowledged."""

    def work(pause: Callable[[], None]) -> None:
        with opened(Path()) as outbox:
            for series in (DOOR, LATER):
                outbox.put(series, 1, b"x" * 300, late=True)
                stored(outbox, 1, series)
            pause()
            for series in (DOOR, LATER):
                for seq in range(2, 22):
                    outbox.put(series, seq, b"x" * 300, late=True)
            until(outbox, lambda: outbox.account().degraded, "word of it")
            outbox.hand_over(LATER.boot)

    def wanted(outbox: StoredOutbox) -> None:
        for seq in range(2, 22):
            assert not outbox.settled_before(LATER, seq)
            assert outbox.put(LATER, seq, b"x" * 300, late=True)
        account = outbox.account()
        assert (account.produced, account.pending, account.lost) == (42, 22, {"full": 20})

    service = Service(disk, work)
    service.reach()
    fill(disk)
    service.go_on()
    (disk / "filler").unlink()
    look(disk, wanted)


def test_the_list_of_open_events_survives(disk: Path) -> None:
    def work(pause: Callable[[], None]) -> None:
        with opened(Path()):
            known = OpenEvents(EventNotes())
            known.load(Path())
            known.note(handover("door", appear(1)))
            known.note(handover("door", appear(2, 2)))
            known.save()
            pause()
            known.note(handover("door", appear(3, 3)))
            known.settle(MessageSeries("door", BOOT, "event"), 3)
            assert known.finish()

    service = Service(disk, work)
    service.reach()
    fill(disk)
    service.go_on()
    assert not (disk / "publisher" / "open-events.new").exists()
    after = OpenEvents(EventNotes())
    after.load(disk / "publisher")
    assert [found[1:3] for found in ends(after.end("stopped", lambda _: True))] == [(4, 1), (5, 2), (6, 3)]


def test_a_stop_with_room_uses_no_reserve(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted((FILE, *SPACE_FILES))
    assert {(tmp_path / name).stat().st_size for name in SPACE_FILES} == {reserved_space.MOST}


def lose(folder: Path, count: int, series: MessageSeries = DOOR) -> bytes:
    """Saves an account, as a process does at its end on a full disk; returns the file."""
    worker = DatabaseWorker(folder, Limits(PLAN.max_size, PLAN.max_age), "kernel", time.monotonic)
    worker.order(Open({}))
    worker.order(SaveAccount(Batch(series=(SeriesRow(series, count, 0, 0, True, {"full": count}),))))
    assert worker.close(20)
    return (folder / saved_account.FILE).read_bytes()


def test_a_saved_account_is_read_once(tmp_path: Path) -> None:
    lose(tmp_path, 3)
    assert not (tmp_path / SPACE_FILES[0]).exists()
    for _ in range(2):
        with opened(tmp_path) as outbox:
            assert outbox.account().lost == {"full": 3}
            outbox.put(YARD, outbox.highest(YARD) + 1, b"{}", late=True)
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted((FILE, *SPACE_FILES))


def test_a_power_cut_while_the_account_is_saved(tmp_path: Path) -> None:
    """The reserved file has only its beginning, and is used again."""
    packed = lose(tmp_path, 3)
    (tmp_path / saved_account.FILE).unlink()
    (tmp_path / SPACE_FILES[0]).write_bytes(packed[:40] + bytes(reserved_space.MOST - 40))
    with opened(tmp_path) as outbox:
        assert outbox.account().produced == 0
    lose(tmp_path, 4)
    with opened(tmp_path) as outbox:
        assert outbox.account().lost == {"full": 4}


@pytest.mark.parametrize("content", [b"", b"{", bytes(4096), b'{"at":0.0,"series":[],"forgotten":[],"gone":[[-1,2]]}'])
def test_an_account_that_cannot_be_read(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / saved_account.FILE).write_bytes(content)
    with opened(tmp_path) as outbox:
        assert outbox.account().produced == 0
    assert "the last account may be incomplete" in caplog.text
    assert not (tmp_path / saved_account.FILE).exists()


@pytest.mark.parametrize("fate", ["written", "gone", "corrupt"])
def test_an_account_of_another_state_of_the_outbox_is_ignored(tmp_path: Path, fate: str) -> None:
    """An older version may have written the outbox since, and numbered other messages with these numbers."""
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 1, b"{}", late=True)
        stored(outbox, 1)
    old = lose(tmp_path, 3)
    (tmp_path / saved_account.FILE).unlink()
    with opened(tmp_path) as outbox:
        outbox.put(DOOR, 2, b"{}", late=True)
        stored(outbox, 2)
    (tmp_path / saved_account.FILE).write_bytes(old)
    if fate == "gone":
        (tmp_path / FILE).unlink()
    elif fate == "corrupt":
        (tmp_path / FILE).write_bytes(b"x" * 8192)
    with opened(tmp_path) as outbox:
        assert outbox.account().lost == {}
        assert outbox.account().pending == (2 if fate == "written" else 0)
    assert not (tmp_path / saved_account.FILE).exists()


def test_the_reserve_of_an_earlier_version_is_cut(tmp_path: Path) -> None:
    (tmp_path / SPACE_FILES[0]).write_bytes(bytes(2 * reserved_space.MOST))
    with opened(tmp_path):
        assert {(tmp_path / name).stat().st_size for name in SPACE_FILES} == {reserved_space.MOST}


def test_an_account_that_does_not_fit() -> None:
    rows = tuple(SeriesRow(DOOR._replace(boot=f"{boot:06x}"), 9, 0, 0, True) for boot in range(100))
    total = SeriesRow(MessageSeries("", "", "result"), 900, 0, 0, True)
    account = account_of(Batch(gone=(9, 1, 2, 3, 8), series=(total, *rows), forgotten=(YARD,)), 5.0, base=10)
    assert account.gone == ((11, 13), (18, 19))
    whole = account.packed(1 << 20)
    assert decode_json(SavedAccount, whole) == account
    less = decode_json(SavedAccount, account.packed(len(whole) - 1))
    assert (less.gone, less.series) == ((), account.series)
    less = decode_json(SavedAccount, account.packed(4000))
    assert less.series
    assert (less.series, less.forgotten) == (account.series[-len(less.series) :], ())
    assert len(account.packed(4000)) <= 4000


def test_a_removal_that_does_not_fit_is_sent_again(tmp_path: Path) -> None:
    with opened(tmp_path) as outbox:
        for seq in range(1, 4):
            outbox.put(DOOR, seq, b"{}", late=True)
        stored(outbox, 3)
    worker = DatabaseWorker(tmp_path, Limits(PLAN.max_size, PLAN.max_age), "kernel", time.monotonic)
    worker.order(Open({}))
    worker.order(SaveAccount(Batch(gone=(-2,), series=(SeriesRow(DOOR, 3, 0, 0, True),))))  # and two that did not fit
    assert worker.close(20)
    with opened(tmp_path) as outbox:
        assert (outbox.account().pending, outbox.account().delivered) == (2, 1)
        assert [entry.seq for entry in drain(outbox, 2)] == [2, 3]
        even(outbox)


def test_a_disk_that_copies_what_is_overwritten_gets_room(tmp_path: Path) -> None:
    """The reserved file is of no use there, or missing: then its space is freed for the file of the outbox."""
    with opened(tmp_path):
        pass
    (tmp_path / SPACE_FILES[0]).unlink()
    (tmp_path / SPACE_FILES[0]).mkdir()
    worker = DatabaseWorker(tmp_path, Limits(PLAN.max_size, PLAN.max_age), "kernel", time.monotonic)
    worker.order(Open({}))
    worker.order(SaveAccount(Batch(series=(SeriesRow(DOOR, 3, 0, 0, True, {"full": 3}),))))
    assert worker.close(20)
    with opened(tmp_path) as outbox:
        assert outbox.account().lost == {"full": 3}
