"""Broker and service stop and start in every order, an object in view: one end for each begin, and nothing lost."""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from edge_infer.client import Client, EventUpdate
from edge_infer.contract.messages import Event
from tests.broker import Broker, eventually
from tests.faults.figure import Figure
from tests.faults.listening import Listening
from tests.running import MODEL, Daemon

STOPS: Final = (("broker", "service"), ("service", "broker"), ("both",))
STARTS: Final = (("broker", "service"), ("service", "broker"))
PATIENCE: Final = 120.0


class Listener(Listening):
    """A subscriber with a session, so that a broker that was away keeps nothing from it."""

    def __init__(self, port: int) -> None:
        self.events: list[Event] = []
        self._port = port
        self._missing: list[int] = []

    def listen(self) -> None:
        with Client("127.0.0.1", self._port, client_id="listener", keep_session=True) as client:
            while not self._stop.is_set():
                for update in client.updates(0.5):
                    if isinstance(update, EventUpdate):
                        self.events.append(update.event)
            self._missing = [last - first + 1 for gaps in client.gaps().values() for first, last in gaps]

    def begins(self) -> set[tuple[str, object]]:
        """Engine and number of each object that appeared."""
        return {(event.boot, event.id) for event in list(self.events) if event.type == "appear"}

    def ends(self) -> Counter[tuple[str, object]]:
        """How many ends each of them got."""
        return Counter((event.boot, event.id) for event in list(self.events) if event.type == "leave")

    def missing(self) -> int:
        """How many numbers never came; to be asked at the end."""
        return sum(self._missing)


def config(port: int) -> str:
    """A picture with a face, five times a second."""
    picture = MODEL.parent / "golden" / "astronaut.png"
    return f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models: {{faces: {{file: {MODEL}}}}}
sources: {{cam: {{kind: images, path: {picture}, loop: true, every: 200ms}}}}
pipelines: {{door: {{source: cam, model: faces, track: true, publish: every}}}}
"""


def orders(folder: Path, repeat: int, progress: Callable[[str], None]) -> Iterator[Figure]:
    """Each round stops and starts both, in the next of all orders."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)  # a daemon of root becomes another user
    lines = ("persistence true", f"persistence_location {folder}/", "max_queued_messages 0")
    rounds = list(itertools.islice(itertools.cycle(itertools.product(STOPS, STARTS)), repeat))
    with (
        Broker(folder, *lines) as broker,
        Listener(broker.port) as heard,
        Daemon(folder, config(broker.port)) as daemon,
    ):

        def stop(what: str) -> None:
            if what in ("service", "both"):
                daemon.signal(signal.SIGTERM)
            if what in ("broker", "both"):
                broker.stop()
            if what in ("service", "both"):
                daemon.wait(30)

        for number, (stops, starts) in enumerate(rounds, 1):
            eventually(lambda number=number: len(heard.begins()) >= number, "an open event", PATIENCE)  # type: ignore[misc]
            progress(f"round {number} of {repeat}: stop {' and '.join(stops)}, start {' and '.join(starts)}")
            for what in stops:
                stop(what)
            for what in starts:
                broker.start() if what == "broker" else daemon.start()
        eventually(lambda: len(heard.begins()) > repeat, "the last open event", PATIENCE)
        lost = sum(eventually(lambda: daemon.status()["outbox"], "the account", PATIENCE)["lost"].values())
        stop("service")
        eventually(lambda: heard.ends().keys() >= heard.begins(), lambda: f"ends of all: {heard.ends()}", PATIENCE)
    ends = heard.ends()
    counts = [ends[begin] for begin in heard.begins()]
    reasons = {event.reason for event in heard.events if event.type == "leave"}
    note = f"{len(counts)} events, {', '.join(sorted(map(str, reasons)))}"
    yield Figure("ends of an open event, at most", float(max(counts)), 1.0, note=note)
    yield Figure("numbers counted as lost", float(lost), 0.0)
    yield Figure("numbers that a subscriber misses", float(heard.missing()), 0.0)
