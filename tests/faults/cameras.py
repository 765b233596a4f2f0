"""How soon a network camera that fails is told as gone, and how soon its pictures are looked at again when it is back.

A camera that hangs keeps its connection and says nothing more, as one does whose cable was pulled. One that is killed
closes it. One that is frozen sends the same picture again and again; a stream that is coded over time, as H.264 is,
has no two equal pictures, so only HTTP cameras freeze here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.broker import Broker, Subscriber
from tests.faults.rooms import Figure, P, after
from tests.readers.conftest import CameraProcess, HttpCamera, RtspCamera
from tests.running import Daemon, config

LOST: Final = 6.0
"""Seconds: the 5 s that the documentation promises, and one for the message."""
FROZEN: Final = 11.0
"""Seconds: ten of equal frames, and one for the message."""
BACK: Final = 10.0
OUTAGE: Final = 2.0
"""Seconds that a camera stays away once it is told as gone."""


def hung(camera: CameraProcess) -> Callable[[], None]:
    """It says nothing more; what brings it back."""
    camera.signal(signal.SIGSTOP)
    return lambda: camera.signal(signal.SIGCONT)


def killed(camera: CameraProcess) -> Callable[[], None]:
    """It is gone, and its connections are closed."""
    camera.kill()
    return camera.start


def frozen(camera: CameraProcess) -> Callable[[], None]:
    """It sends the same picture all the time."""
    camera.say("still")
    return lambda: camera.say("moving")


def every_camera(folder: Path, repeat: int) -> Iterator[Figure]:
    """Two lines for each kind of camera and each fault."""
    for name, camera, source in every_kind():
        for fault in (hung, killed, frozen) if isinstance(camera, HttpCamera) else (hung, killed):
            with serving(camera, source, folder / f"{name} {fault.__name__}") as subscriber:
                yield from felt(f"{name} camera", camera, fault, subscriber, repeat)


def every_kind() -> tuple[tuple[str, CameraProcess, str], ...]:
    """Cameras by kind, and what a configuration says of each."""
    rtsp, stream, snapshots = RtspCamera(), HttpCamera(), HttpCamera()
    return (
        ("RTSP", rtsp, f"{{kind: rtsp, url: '{rtsp.url}'}}"),
        ("HTTP stream", stream, f"{{kind: http, url: '{stream.url}'}}"),
        ("HTTP snapshots", snapshots, f"{{kind: http, url: '{snapshots.picture}', snapshot: 400ms}}"),
    )


@contextmanager
def serving(camera: CameraProcess, source: str, folder: Path) -> Iterator[Subscriber]:
    """What a subscriber hears of a daemon with this camera."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.enter_context(camera)
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        daemon = stack.enter_context(Daemon(folder, config(broker.port, source)))
        daemon.wait_serving()
        yield subscriber


def felt(
    name: str, camera: CameraProcess, fault: Callable[[CameraProcess], Callable[[], None]], heard: Subscriber, many: int
) -> Iterator[Figure]:
    """The fault so many times: until its state is null, and from its end until the next result."""
    gone, back = [], []
    reason = "source_frozen" if fault is frozen else "source_lost"
    for _ in range(many):
        after(heard, f"{P}/faces/result", time.monotonic() + OUTAGE)
        moment = time.monotonic()
        restore = fault(camera)
        null = after(heard, f"{P}/faces/state", moment, lambda one: one.value["counts"] is None, 30.0)
        assert null.value["reason"] == reason, null.value
        gone.append(null.at - moment)
        time.sleep(OUTAGE)
        moment = time.monotonic()
        restore()
        back.append(after(heard, f"{P}/faces/result", moment, deadline=30.0).at - moment)
    yield Figure(f"{name} {fault.__name__} -> {reason}", tuple(gone), FROZEN if fault is frozen else LOST)
    yield Figure(f"{name} {fault.__name__}, back -> next result", tuple(back), BACK)
