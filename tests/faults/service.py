"""Faults of the installed service under a real systemd, and what a subscriber notices of each."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from edge_infer.publisher.outbox.database import FILE
from tests.broker import UNLIMITED, Broker
from tests.deploy.machine import ROOT, run_under_systemd
from tests.faults.figure import Figure as Promise
from tests.faults.rooms import Figure

INSTALLED: Final = """
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin
rm -rf /var/lib/edge-infer /etc/edge-infer /opt/edge-infer
mkdir /opt/edge-infer && mount -t tmpfs -o size=2g none /opt/edge-infer
@ROOT@/deploy/install >>/shared/log 2>&1 || { cat /shared/log; exit 0; }
sed -i 's/  # port: 8883/  port: @PORT@/; s/    # publish: change.*/    publish: every/' /etc/edge-infer/config.yaml
edge-infer reload >>/shared/log 2>&1
mosquitto_sub -p @PORT@ -q 1 -i witness -c -t '+/+/+/result' -t '+/+/+/event' -t '+/+/status' -F '%U %t %p' \
    >>/shared/heard &
until grep -q /result /shared/heard; do sleep 0.2; done
"""
"""The service, on the clip that comes along, and a subscriber that keeps what it hears with the time."""
FREEZES: Final = """
for _ in $(seq @REPEAT@); do
    edge-infer status --wait --timeout 60s >>/shared/log 2>&1
    sleep 4
    echo "frozen $(date +%s.%N)"
    kill -STOP $(systemctl show -p MainPID --value edge-infer)
    for _ in $(seq 400); do
        sleep 0.1
        [ "$(systemctl show -p ActiveState --value edge-infer)" != active ] && break
    done
    until timeout 5 edge-infer status 2>/dev/null | grep -q 'broker *ok'; do sleep 0.2; done
    echo "answers $(date +%s.%N)"
done
edge-infer status --wait --timeout 60s >>/shared/log 2>&1
"""


@dataclass(frozen=True, slots=True)
class Message:
    """What the subscriber heard, and when, in seconds since the epoch."""

    at: float
    topic: str
    payload: str

    @property
    def value(self) -> Any:
        """The payload of anything but a status."""
        return json.loads(self.payload)


def run(folder: Path, script: str, deadline: float = 900.0) -> tuple[str, list[Message]]:
    """What a script printed that ran beside the installed service, and what the subscriber heard."""
    folder.mkdir(parents=True, exist_ok=True)
    with Broker(folder, *UNLIMITED) as broker, _freezing(broker, folder / "shared/freeze"):
        text = (INSTALLED + script).replace("@ROOT@", str(ROOT)).replace("@PORT@", str(broker.port))
        output = run_under_systemd(folder, text, deadline)
    lines = (folder / "shared/heard").read_text().splitlines() if (folder / "shared/heard").exists() else []
    if not lines:
        raise AssertionError(output)
    return output, [Message(float(at), topic, payload) for at, topic, payload in (line.split(" ", 2) for line in lines)]


@contextmanager
def _freezing(broker: Broker, flag: Path) -> Iterator[None]:
    """Stop the broker while there is a file with this name; the script makes and removes it."""
    over = threading.Event()

    def watch() -> None:
        frozen = False
        while not over.wait(0.1):
            if flag.exists() != frozen:
                frozen = not frozen
                broker.send(signal.SIGSTOP if frozen else signal.SIGCONT)
        broker.send(signal.SIGCONT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def supervisor_freezes(folder: Path, repeat: int) -> Figure:
    """SIGSTOP to the supervisor until results of another boot arrive and ``status`` answers."""
    output, heard = run(folder, FREEZES.replace("@REPEAT@", str(repeat)), 300.0 + 60.0 * repeat)
    times = [float(line.split()[1]) for line in output.splitlines() if line.startswith(("frozen ", "answers "))]
    results = [(message.at, message.value["boot"]) for message in heard if message.topic.endswith("/result")]
    seconds = []
    for begin, answers in zip(times[::2], times[1::2], strict=True):
        boots = {boot for at, boot in results if at < begin}
        again = min(at for at, boot in results if boot not in boots)
        seconds.append(max(again, answers) - begin)
    assert len(seconds) == repeat, output
    return Figure("supervisor frozen -> next result and status", tuple(seconds), 25.0)


ROOMS: Final = ("engine", "publisher", "supervisor", "both")
HOUR: Final = """
look() { edge-infer status --json 2>/dev/null | tr -d '\\n' >>/shared/looks && echo >>/shared/looks; }
send() { # SIGNAL PROCESS
    case $2 in
    supervisor) kill -$1 $(systemctl show -p MainPID --value edge-infer) ;;
    both) kill -$1 $(pgrep -f edge_infer.engine) $(pgrep -f edge_infer.publisher) ;;
    *) kill -$1 $(pgrep -f edge_infer.$2) ;;
    esac
    echo "$1 $2"
}
RANDOM=@SEED@
rooms=(@ROOMS@)
until [ $SECONDS -gt @SECONDS@ ]; do
    edge-infer status --wait --timeout 60s >>/shared/log 2>&1 || echo "NOT SERVING"
    look
    sleep $((RANDOM % 4 + 1))
    room=${rooms[RANDOM % 4]}
    case $((RANDOM % 6)) in
    0 | 1 | 2) send KILL $room ;;
    3) send STOP $room; sleep 6 ;;
    4) systemctl restart edge-infer; echo restart ;;
    5) touch /shared/freeze; sleep 4; rm /shared/freeze; echo broker ;;
    esac
    sleep 1
    look
done
edge-infer status --wait --timeout 90s >>/shared/log 2>&1 || echo "NOT SERVING"
for _ in $(seq 300); do # until nothing waits
    edge-infer status --json | tr -d ' \\n' | grep -q '"pending":[0-3],' && break
    sleep 0.2
done
systemctl stop edge-infer
cp /var/lib/edge-infer/publisher/outbox.sqlite* /shared
sleep 2
"""
"""Random faults; `look` writes down what the daemon says of its account."""
MOST_UNKNOWN: Final = 64


def hour(folder: Path, seconds: int, seed: int = 1) -> list[Promise]:
    """Random faults for so many seconds; the daemon's account against what the subscriber received."""
    script = HOUR
    for name, value in {"SEED": str(seed), "SECONDS": str(seconds), "ROOMS": " ".join(ROOMS)}.items():
        script = script.replace(f"@{name}@", value)
    output, heard = run(folder, script, seconds + 900.0)
    looks = [json.loads(line)["outbox"] for line in (folder / "shared/looks").read_text().splitlines() if line]
    return judge(output.splitlines(), [look for look in looks if look], heard, account(folder / "shared" / FILE))


@dataclass(frozen=True, slots=True)
class Booked:
    """What the account has of one series: numbers given, waiting, and lost by reason."""

    given: int
    waiting: int
    lost: Mapping[str, int]

    @property
    def delivered(self) -> int:
        """The numbers that the broker has acknowledged."""
        return self.given - self.waiting - sum(self.lost.values())


def account(file: Path) -> dict[tuple[str, str, str], Booked]:
    """The account in the file of a publisher that has ended, by pipeline, engine and kind."""
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT id, pipeline, boot, kind, upto, waiting FROM series").fetchall()
        lost: dict[int, dict[str, int]] = {}
        for number, reason, count in database.execute("SELECT series, reason, count FROM loss"):
            lost.setdefault(number, {})[reason] = count
    return {tuple(series): Booked(given, waiting, lost.get(number, {})) for number, *series, given, waiting in rows}


def judge(
    faults: Sequence[str],
    looks: Sequence[Mapping[str, Any]],
    heard: Sequence[Message],
    booked: Mapping[tuple[str, str, str], Booked],
) -> list[Promise]:
    """Compare the account, series by series, with what was received, and each look with the one before."""
    received: dict[tuple[str, str, str], set[int]] = {series: set() for series in booked}
    for message in heard:
        pipeline, kind = message.topic.split("/")[-2:]
        if kind != "status":
            received.setdefault((pipeline, message.value["boot"], kind), set()).add(message.value["seq"])
    nobody = beyond = unknown = 0
    where = []
    for series, numbers in received.items():
        known = booked.get(series, Booked(0, 0, {}))
        unsure = known.lost.get("unknown", 0)
        if (missing := known.delivered - len(numbers)) > 0:
            nobody += missing
            latest = max(numbers, default=0)
            where.append(f"{'/'.join(series)}: {missing} of {known}, {latest} received last")
        beyond += max(0, len(numbers) - known.delivered - unsure)
        unknown += unsure
    kills = sum(fault.startswith(("KILL", "STOP")) for fault in faults)
    accounts = [each["delivered"] + each["pending"] + sum(each["lost"].values()) for each in looks]
    uneven = sum(each["produced"] != known for each, known in zip(looks, accounts, strict=True))
    back = sum(after["delivered"] < before["delivered"] for before, after in pairwise(looks))
    note = f"{len(faults)} faults, {sum(map(len, received.values()))} received, {unknown} unknown"
    return [
        Promise("starts after which nothing served", faults.count("NOT SERVING"), 0, note=note),
        Promise("delivered that nobody received", nobody, 0, note="; ".join(where)),
        Promise("received beyond delivered and unknown", beyond, 0),
        Promise("unknown, per kill or freeze", unknown / max(1, kills), MOST_UNKNOWN),
        Promise("looks at an account that was not even", uneven, 0),
        Promise("looks at which fewer were delivered than before", back, 0),
    ]
