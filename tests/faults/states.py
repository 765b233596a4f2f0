"""What subscribers take for true while a face stands in front of the cameras all the time.

A daemon with three cameras, of a picture in five seconds, one and five a second, is started, reloaded, loses its
cameras, gets them back, and loses and regains its pipelines. The client of this project listens; so do Node-RED and
Home Assistant where ``NODE_RED`` and ``HOME_ASSISTANT_PYTHON`` name them, as ``scripts/node-red`` and
``scripts/home-assistant`` install them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2

from edge_infer.client import Client, StateUpdate
from tests.broker import Broker, eventually
from tests.faults.figure import Figure
from tests.faults.listening import Listening
from tests.faults.orders import orders
from tests.nodered.host import NodeRed
from tests.running import MODEL, PYTHON, Daemon, alive

Rates = Mapping[str, float]
RATES: Final[Rates] = {"slow": 0.2, "calm": 1.0, "brisk": 5.0}
"""Pictures a second, by pipeline."""
BRIEF: Final = 2.0
"""Seconds for which an answer may be wrong: a message is under way."""
PATIENCE: Final = 180.0
STALE: Final = 190.0
"""Seconds after the last message of a device for which its state may still be shown."""
SIZE: Final = (320, 240)
ZONE: Final = "[[0, 0], [1, 0], [1, 1], [0, {corner}]]"
CAMERA: Final = """\
import os, random, sys, time
picture, flag, rate = open(sys.argv[1], "rb").read(), sys.argv[2], float(sys.argv[3])
while os.path.exists(flag):
    begun = time.monotonic()
    sys.stdout.buffer.write(bytes([random.randrange(256)]) + picture[1:])
    sys.stdout.buffer.flush()
    while os.path.exists(flag) and time.monotonic() - begun < 1 / rate:
        time.sleep(0.05)
"""

Said = tuple[float, "bool | None"]
"""When an answer came, on the monotonic clock, and what it was; None: not known."""


@dataclass
class ByClient(Listening):
    """`edge_infer.client`, in a thread."""

    port: int
    name: str = "client"
    _said: dict[str, list[Said]] = field(default_factory=dict)

    def listen(self) -> None:
        with Client("127.0.0.1", self.port, device="box") as client:
            while not self._stop.is_set():
                for update in client.updates(0.5):
                    if isinstance(update, StateUpdate):
                        answer = time.monotonic(), update.standing.present("face")
                        self._said.setdefault(update.pipeline, []).append(answer)

    def said(self, pipeline: str) -> list[Said]:
        return list(self._said.get(pipeline, []))


class ByNodeRed:
    """Node-RED with the recipe of the page, one process for each pipeline."""

    name = "Node-RED"

    def __init__(self, folder: Path, port: int, rates: Rates) -> None:
        self._flows = {name: NodeRed(folder / name, port, f"edge-infer/box/{name}", "face") for name in rates}

    def __enter__(self) -> ByNodeRed:
        self._stack = ExitStack()
        for flow in self._flows.values():
            self._stack.enter_context(flow)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def said(self, pipeline: str) -> list[Said]:
        ahead = time.time() - time.monotonic()
        return [(answer.at - ahead, answer.value) for answer in self._flows[pipeline].answers()]


class ByHomeAssistant:
    """Home Assistant, asked several times a second what its entities show."""

    name = "Home Assistant"

    def __init__(self, folder: Path, port: int, rates: Rates) -> None:
        from tests.homeassistant.check import HomeAssistant

        self._home = HomeAssistant(folder, port)
        self._said: dict[str, list[Said]] = {name: [] for name in rates}

    def __enter__(self) -> ByHomeAssistant:
        self._home.__enter__()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._home.__exit__()

    def _ask(self) -> None:
        while not self._stop.wait(0.2):
            states = self._home.ask("states")
            for name, said in self._said.items():
                shown = states.get(f"binary_sensor.box_{name}_face_present")
                value = {"on": True, "off": False}.get(str(shown))
                if not said or said[-1][1] is not value:
                    said.append((time.monotonic(), value))

    def said(self, pipeline: str) -> list[Said]:
        return list(self._said[pipeline])


Real = ByClient | ByNodeRed | ByHomeAssistant


def witnesses(folder: Path, port: int, rates: Rates) -> list[Real]:
    """Those that this machine has."""
    found: list[Real] = [ByClient(port)]
    if "NODE_RED" in os.environ:
        found.append(ByNodeRed(folder / "node-red", port, rates))
    if "HOME_ASSISTANT_PYTHON" in os.environ:
        found.append(ByHomeAssistant(folder / "home-assistant", port, rates))
    return found


class Yard:
    """The daemon, its cameras and its configuration."""

    def __init__(self, folder: Path, port: int, rates: Rates) -> None:
        self._folder, self._port, self._rates = folder, port, rates
        self._flag = folder / "there"
        picture = cv2.imread(str(MODEL.parent / "golden" / "astronaut.png"))
        assert picture is not None
        (folder / "picture.rgb").write_bytes(cv2.cvtColor(cv2.resize(picture, SIZE), cv2.COLOR_BGR2RGB).tobytes())
        (folder / "camera.py").write_text(CAMERA)
        self._flag.touch()
        self._corner = 90
        self.daemon = Daemon(folder, self.text())

    def text(self, *, pipelines: bool = True) -> str:
        """The configuration, with another zone each time; without ``pipelines`` one other is left."""
        self._corner = 90 + (self._corner + 1) % 10
        zone = ZONE.format(corner=self._corner / 100)
        camera = f"[{PYTHON}, {self._folder}/camera.py, {self._folder}/picture.rgb, {self._flag}"
        sources = [
            f"  {name}: {{kind: exec, command: {camera}, '{rate}'], size: {SIZE[0]}x{SIZE[1]}, format: rgb24}}"
            for name, rate in self._rates.items()
        ]
        rest = f"{{source: {next(iter(self._rates))}, model: faces}}"
        each = f"model: faces, labels: [face], track: true, zones: {{all: {zone}}}"
        rows = [f"  {name}: {{source: {name}, {each}}}" for name in self._rates] if pipelines else []
        return "\n".join(
            [
                "device: {id: box, state_dir: state}",
                f"mqtt: {{host: 127.0.0.1, port: {self._port}, discovery: homeassistant}}",
                f"models: {{faces: {{file: {MODEL}}}}}",
                "sources:",
                *sources,
                "pipelines:",
                f"  rest: {rest}",
                *rows,
                "",
            ]
        )

    def configure(self, *, pipelines: bool = True) -> None:
        """Another configuration, applied."""
        self.daemon.config.write_text(self.text(pipelines=pipelines))
        assert self.daemon.reload()["state"] == "applied"

    def cameras(self, *, there: bool) -> None:
        """All cameras go, or come back."""
        self._flag.touch() if there else self._flag.unlink()

    def kill(self) -> None:
        """All processes at once, as a power cut does."""
        for pid in (pids := (self.daemon.pid, *self.daemon.pids().values())):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.daemon.wait(20)
        eventually(lambda: not any(alive(pid) for pid in pids), "their end")


@dataclass
class Account:
    """What happened, and for how long what a witness said was wrong."""

    happened: int = 0
    gone: list[tuple[float, float]] = field(default_factory=list)  # when there were no pipelines

    def false_for(self, said: list[Said], end: float) -> tuple[list[float], list[float]]:
        """Seconds of each "nobody", and of each "somebody" of a pipeline that was removed."""
        spells = [
            (begun, said[place + 1][0] if place + 1 < len(said) else end, value)
            for place, (begun, value) in enumerate(said)
        ]
        nobody = [until - begun for begun, until, value in _joined(spells) if value is False]
        ghosts = [
            min(until, back) - max(begun, gone)
            for begun, until, value in _joined(spells)
            if value is True
            for gone, back in self.gone
            if min(until, back) > max(begun, gone)
        ]
        return nobody, ghosts


def _joined(spells: list[tuple[float, float, bool | None]]) -> list[tuple[float, float, bool | None]]:
    found: list[tuple[float, float, bool | None]] = []
    for begun, until, value in spells:
        if found and found[-1][2] is value:
            found[-1] = (found[-1][0], until, value)
        else:
            found.append((begun, until, value))
    return found


@contextmanager
def _place(folder: Path, *lines: str) -> Iterator[tuple[Broker, ExitStack]]:
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)  # a daemon of root becomes another user
    with ExitStack() as stack:
        yield stack.enter_context(Broker(folder, *lines)), stack


def false_states(folder: Path, repeat: int, progress: Callable[[str], None], rates: Rates = RATES) -> Iterator[Figure]:
    """Each round starts the daemon, reloads it, takes the cameras away and back, and the pipelines away and back."""
    with _place(folder) as (broker, stack):
        all_: list[Real] = [stack.enter_context(witness) for witness in witnesses(folder, broker.port, rates)]
        yard, account = Yard(folder, broker.port, rates), Account()

        def known(value: bool | None, what: str) -> None:
            for witness in all_:
                for name in rates:
                    eventually(
                        lambda w=witness, n=name: (w.said(n) or [(0.0, None)])[-1][1] is value,
                        lambda w=witness, n=name: f"{what} at {w.name}, {n}: {w.said(n)[-6:]}",
                        PATIENCE,
                    )
            account.happened += len(rates)

        for number in range(repeat):
            progress(f"round {number + 1} of {repeat}: start")
            yard.daemon.start()
            known(True, "a face after a start")
            progress("reload")
            yard.configure()
            time.sleep(1)
            known(True, "a face after a reload")
            progress("cameras away")
            yard.cameras(there=False)
            known(None, "nothing known without cameras")
            yard.cameras(there=True)
            known(True, "a face after the return of the cameras")
            progress("pipelines away")
            yard.configure(pipelines=False)
            gone = time.monotonic()
            known(None, "nothing known without pipelines")
            time.sleep(BRIEF + 1)
            account.gone.append((gone, time.monotonic()))
            yard.configure()
            known(True, "a face after the return of the pipelines")
            yard.daemon.signal(signal.SIGTERM)
            yard.daemon.wait(30)
            known(None, "nothing known after a stop")
        end = time.monotonic()
        for witness in all_:
            for name, rate in rates.items():
                nobody, ghosts = account.false_for(witness.said(name), end)
                wrong = [seconds for seconds in (*nobody, *ghosts) if seconds > BRIEF]
                note = f"{len(nobody)} of any length, {max(nobody, default=0.0):.2f} s the longest"
                each = account.happened // len(rates)
                title = f"{witness.name}, {rate:g}/s: false states over 2 s in {each}"
                yield Figure(title, float(len(wrong)), 0.0, note=note)


def stale_states(folder: Path, repeat: int, progress: Callable[[str], None]) -> Iterator[Figure]:
    """Power cuts of a site, broker and device, of which only the broker comes back; with an office behind a bridge."""
    lines = ("persistence true", f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 1")
    with _place(folder, *lines) as (broker, stack):
        office = folder / "office"
        office.mkdir()
        bridge = ("connection gate", f"address 127.0.0.1:{broker.port}", "topic edge-infer/# in 1", "restart_timeout 1")
        behind = stack.enter_context(Broker(office, *bridge))
        near: list[Real] = [stack.enter_context(witness) for witness in witnesses(folder, broker.port, RATES)]
        far: list[Real] = [stack.enter_context(witness) for witness in witnesses(office, behind.port, RATES)][:2]
        yard, longest = Yard(folder, broker.port, RATES), [0.0] * (len(near) + len(far))
        for number in range(repeat):
            progress(f"power cut {number + 1} of {repeat}")
            yard.daemon.start()
            for witness in (*near, *far):
                eventually(lambda w=witness: w.said("brisk") and w.said("brisk")[-1][1], "a face", PATIENCE)  # type: ignore[misc]
            time.sleep(2)  # so that the broker has it on its disk
            broker.send(signal.SIGKILL)  # first, so that it says no will
            cut = time.monotonic()
            yard.kill()
            broker.stop(signal.SIGKILL)
            broker.start()
            late = [
                stack.enter_context(ByClient(port, f"client that comes later{where}"))
                for port, where in ((broker.port, ""), (behind.port, ", bridge"))
            ]
            longest += [0.0] * (len(near) + len(far) + len(late) - len(longest))
            while time.monotonic() < cut + STALE + 15:
                for place, witness in enumerate((*near, *far, *late)):
                    if any(said and said[-1][1] is not None for said in map(witness.said, RATES)):
                        longest[place] = max(longest[place], time.monotonic() - cut)
                time.sleep(0.2)
            names = [witness.name for witness in near] + [f"{witness.name}, bridge" for witness in far]
            names += [witness.name for witness in late]
        for name, seconds in zip(names, longest, strict=True):
            yield Figure(f"{name}: shown after the last message, s", seconds, STALE, note=f"{repeat} power cuts")


PARTS: Final = {"false": false_states, "stale": stale_states, "orders": orders}


def main(folder: Path, repeat: int, only: str | None) -> int:
    """Prints one line a figure; 1 when a promise was broken."""
    kept = True
    for name, part in PARTS.items():
        if only in (None, name):
            for figure in part(folder / name, repeat, lambda line: print(line, file=sys.stderr, flush=True)):
                print(figure, flush=True)
                kept &= figure.kept
    return 0 if kept else 1
