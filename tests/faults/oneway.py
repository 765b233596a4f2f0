"""One way out: a daemon in a network whose only wire leads to the broker's, where every packet of it is captured.

``python -m tests.faults.oneway FOLDER SECONDS`` in a new network namespace (``unshare --net``): there is the broker,
and another namespace behind a wire (veth) is the daemon's, with a route for everything. Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from edge_infer.audit import packet_capture
from edge_infer.audit.canary import fresh
from edge_infer.audit.packet_capture import PacketCapture, bring_up_loopback
from edge_infer.audit.search import Search, leaks
from tests import broker
from tests.broker import Subscriber, free_port
from tests.running import MODEL, PYTHON, ROOT, Daemon

OUTER, INNER = "10.77.0.1", "10.77.0.2"
WIDTH, HEIGHT = 640, 480
CONFIG: Final = f"""\
device: {{{{id: box, state_dir: state}}}}
mqtt: {{{{host: {OUTER}, port: {{port}}}}}}
models:
  faces: {{{{file: {MODEL}}}}}
sources:
  cam: {{{{kind: exec, command: [{PYTHON}, {{camera}}, {{pattern}}], size: {WIDTH}x{HEIGHT}, format: rgb24}}}}
pipelines:
  faces: {{{{source: cam, model: faces, publish: every, fps: 10}}}}
"""
CAMERA: Final = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv[1:1] = ["{WIDTH}", "{HEIGHT}"]
from edge_infer.audit.camera import main
main()
"""
SEND: Final = (
    "import socket, sys; socket.socket(int(sys.argv[1]), 2).sendto(b'leak' * 10, (sys.argv[2], int(sys.argv[3])))"
)
STRAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "a packet to elsewhere": ("2", "203.0.113.9", "9"),
    "a question for a name": ("2", OUTER, "53"),
    "a packet to all neighbours": ("10", "ff02::1%in", "9"),
}
LEAK: Final = """
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_start()
for line in sys.stdin:
    client.publish("leak", bytes.fromhex(line), qos=1).wait_for_publish(20)
client.disconnect()
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came out of the daemon's network; ``control`` are the deliberate leaks, and whether each was seen."""

    seconds: float
    results: int
    packets: int
    missed: int
    elsewhere: Mapping[str, int]
    kernel: Mapping[str, int]
    hits: tuple[str, ...]
    searched: int
    control: Mapping[str, bool]


def watch(folder: Path, seconds: float) -> Seen | str:
    """Runs it all in a namespace; why that cannot be had here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--net", sys.executable, "-m", "tests.faults.oneway", str(folder), str(seconds)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 200, check=False)
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    if done.returncode == 3 or done.stderr.startswith("unshare:"):
        return done.stderr.strip().splitlines()[-1]
    assert done.returncode == 0, done.stderr
    return Seen(**json.loads(done.stdout))


def _inside(folder: Path, seconds: float) -> Seen:
    canary, port = fresh(), free_port()
    with ExitStack() as stack:
        enter = stack.enter_context(_wire())
        stack.enter_context(broker.Broker(folder, f"listener {port} {OUTER}", port=port))
        captured = stack.enter_context(PacketCapture(packet_capture.Broker(OUTER, port), "out"))
        subscriber = stack.enter_context(Subscriber(port))
        (folder / "camera.py").write_text(CAMERA)
        text = CONFIG.format(port=port, camera=folder / "camera.py", pattern=canary.text())
        daemon = stack.enter_context(Daemon(folder, text, before=enter))
        daemon.wait_serving(60.0)
        subscriber.wait("edge-infer/box/faces/result", deadline=60.0)
        time.sleep(seconds)
        results = len(subscriber.on("edge-infer/box/faces/result"))
        elsewhere, data = dict(captured.others), captured.data
        found = Search(canary).found(data)
        control = {name: _strays(captured, enter, words) for name, words in STRAYS.items()}
        control |= _leaked(captured, enter, port)
        return Seen(
            seconds,
            results,
            captured.packets,
            captured.missed(),
            elsewhere,
            dict(captured.kernel),
            (found,) if found else (),
            len(data),
            control,
        )


@contextmanager
def _wire() -> Iterator[tuple[str, ...]]:
    """A namespace at the other end of a wire; the words that enter it. Without one the program ends with 3."""
    bring_up_loopback()
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            enter = ("nsenter", f"--net=/proc/{other.pid}/ns/net", "--")
            _ip(f"link add out type veth peer name in netns {other.pid}")
            _ip(f"addr add {OUTER}/30 dev out")
            _ip("link set out up")
            for words in ("link set lo up", f"addr add {INNER}/30 dev in", "link set in up"):
                _ip(words, enter)
            _ip(f"route add default via {OUTER}", enter)
            yield enter
        finally:
            other.kill()


def _ip(words: str, enter: tuple[str, ...] = ()) -> None:
    done = subprocess.run([*enter, "ip", *words.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"ip {words}: {done.stderr.strip()}", file=sys.stderr)
        sys.exit(3)


def _strays(captured: PacketCapture, enter: tuple[str, ...], words: tuple[str, ...]) -> bool:
    before = sum(captured.others.values())
    subprocess.run([*enter, sys.executable, "-c", SEND, *words], check=True)
    return _soon(lambda: sum(captured.others.values()) > before)


def _leaked(captured: PacketCapture, enter: tuple[str, ...], port: int) -> dict[str, bool]:
    """Publishes each leak as somebody inside would, who has the broker's address; each of a pattern of its own."""
    patterns = {name: fresh() for name in leaks(fresh())}
    lines = "".join(f"{leaks(canary)[name].hex()}\n" for name, canary in patterns.items())
    command = [*enter, sys.executable, "-c", LEAK, OUTER, str(port)]
    subprocess.run(command, input=lines.encode(), check=True)
    searches = {name: Search(canary) for name, canary in patterns.items()}
    return {f"a payload, {name}": _soon(partial(_in_it, search, captured)) for name, search in searches.items()}


def _in_it(search: Search, captured: PacketCapture) -> bool:
    return search.found(captured.data) != ""


def _soon(seen: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10.0
    while not (found := seen()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


if __name__ == "__main__":
    print(json.dumps(asdict(_inside(Path(sys.argv[1]), float(sys.argv[2])))))
