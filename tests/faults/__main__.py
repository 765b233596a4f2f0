"""``scripts/faults WHAT [--repeat N]``: makes faults for real; prints what came of them.

For ``swap`` N counts edits of a model; there are 5 N switches, 2.5 N broken files, N/2 kills, 1.5 N power cuts and
100 N frames beside a shadow.
For ``privacy`` N counts seconds of one way out; the audit takes a tenth of that.
For ``models`` N counts mutants, a sixteenth of which go through a running daemon, too. Public originals are taken from
where ``EDGE_INFER_ASSETS`` says; ``--python`` is another Python, with another runtime, to judge them with.
For ``delivery`` N is the percentage of the full numbers (100: some fifty minutes; the lines say what was scaled); where
it is goes to standard error.
For ``states`` N counts rounds of five things that happen at three frame rates, power cuts, and stops and starts of
broker and service; its parts are ``false``, ``stale`` and ``orders``.
``systemd`` makes upgrades that go wrong on a copy of this system that a real systemd runs, in namespaces of its own.
With ``--hours`` it makes random faults of the installed service for so long, and compares its account.
``soak --hours N`` runs a daemon for N hours and judges memory, open files, threads and disk by their slope, and then
kills its processes for N hours and judges its account.
``frozen`` freezes engine, publisher and, on such a system, the supervisor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import (
    cameras,
    delivery,
    hostile,
    long_soak,
    mutated,
    privacy,
    rooms,
    service,
    soak,
    states,
    swap,
    upgrades,
    walls,
)
from tests.program import open_program


def main() -> int:
    """Prints one line a fault; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument(
        "what",
        choices=[
            "rooms",
            "cameras",
            "soak",
            "swap",
            "hostile",
            "models",
            "delivery",
            "privacy",
            "states",
            "systemd",
            "frozen",
        ],
    )
    parser.add_argument(
        "--repeat",
        type=int,
        help="repetitions of each fault; default: 20, cameras 10, swap 200, hostile 10000, models 1000, delivery 100, "
        "privacy 600, states 10, frozen 5",
    )
    names = [each.__name__ for each in swap.FAULTS] + [part.name for part in delivery.parts(1.0)] + [*states.PARTS]
    names += [*upgrades.BROKEN, *upgrades.KILLED]
    parser.add_argument("--only", choices=names, help="one part of swap, delivery, states or systemd")
    parser.add_argument("--hours", type=float, help="of systemd and soak: for so long")
    parser.add_argument("--python", help="of models: a Python that has the packages of this one, and tflite-runtime")
    args = parser.parse_args()
    open_program()
    if args.what == "models":
        return mutated.main(args.repeat or 1000, args.python)
    if args.what == "states":
        return _states(args.repeat or 10, args.only)
    if args.what == "systemd":
        return _systemd(args.only, args.hours)
    if args.what == "frozen":
        return _frozen(args.repeat or 5)
    if args.what == "privacy":
        return _privacy(args.repeat or 600)
    if args.what == "swap":
        return _swap(args.repeat or 200, args.only)
    if args.what == "hostile":
        return _hostile(args.repeat or 10_000)
    if args.what == "cameras":
        return _cameras(args.repeat or 10)
    if args.what == "delivery":
        return _delivery(args.repeat or 100, args.only)
    if args.what == "soak" and args.hours is not None:
        return _long_soak(3600 * args.hours)
    return _soak(args.repeat or 20) if args.what == "soak" else _measured(rooms.FAULTS, args.repeat or 20)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is gone afterwards; the user that a daemon of root becomes may enter it."""
    with tempfile.TemporaryDirectory(prefix="edge-infer-faults-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _privacy(seconds: int) -> int:
    with _folder() as folder:
        findings = privacy.one_way_out(folder / "wire", seconds)
        print(*findings, sep="\n", flush=True)
        findings += privacy.audit(folder / "audit", max(20, seconds // 10))
        findings.append(privacy.other_pixels(folder / "pixels"))
        print(*findings[len(findings) - 6 :], sep="\n", flush=True)
        price = walls.price(folder / "price", max(20, seconds // 20))
    print(price)
    return 0 if all(finding.kept is not False for finding in findings) and price.ratio >= walls.LEAST else 1


def _states(repeat: int, only: str | None) -> int:
    with _folder() as folder:
        return states.main(folder, repeat, only)


def _systemd(only: str | None, hours: float | None) -> int:
    with _folder() as folder:
        machine = folder / "machine"
        try:
            if hours is None:
                return upgrades.main(machine, only)
            promises = service.hour(machine, round(3600 * hours))
        except pytest.skip.Exception as why:
            print(f"not run: {why.msg}")
            return 1
        print(*promises, sep="\n")
        return 0 if all(promise.kept for promise in promises) else 1


def _frozen(repeat: int) -> int:
    kept = _measured(rooms.FREEZES, repeat)
    try:
        return kept | _measured((service.supervisor_freezes,), repeat, header="")
    except pytest.skip.Exception as why:
        print(f"supervisor frozen: not run: {why.msg}")
        return 1


def _swap(repeat: int, only: str | None) -> int:
    print(swap.HEADER, flush=True)
    kept = True
    with _folder() as folder:
        for what in swap.FAULTS:
            if only in (None, what.__name__):
                for finding in what(folder / what.__name__, repeat):
                    print(finding, flush=True)
                    kept &= finding.kept
    return 0 if kept else 1


def _delivery(percent: int, only: str | None) -> int:
    kept = True
    with _folder() as folder:
        for figure in delivery.everything(folder, percent / 100, only, _progress):
            print(figure, flush=True)
            kept &= figure.kept
    return 0 if kept else 1


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _measured(
    faults: Sequence[Callable[[Path, int], rooms.Figure]], repeat: int, *, header: str = f"{rooms.HEADER}\n"
) -> int:
    print(header, end="", flush=True)
    kept = True
    with _folder() as folder:
        for fault in faults:
            figure = fault(folder / fault.__name__, repeat)
            print(figure, flush=True)
            kept &= max(figure.seconds) <= figure.promised
    return 0 if kept else 1


def _cameras(repeat: int) -> int:
    print(rooms.HEADER, flush=True)
    kept = True
    with _folder() as folder:
        for figure in cameras.every_camera(folder, repeat):
            print(figure, flush=True)
            kept &= max(figure.seconds) <= figure.promised
    return 0 if kept else 1


def _soak(repeat: int) -> int:
    kept = True
    with _folder() as folder:
        for what in soak.SOAKS:
            for growth in what(folder / what.__name__, repeat):
                print(growth, flush=True)
                kept &= growth.kept
    return 0 if kept else 1


def _long_soak(seconds: float) -> int:
    kept = True
    with _folder() as folder:
        for course in long_soak.steady(folder / "steady", seconds):
            print(course, flush=True)
            kept &= course.kept
        for figure in long_soak.kills(folder / "kills", seconds):
            print(figure, flush=True)
            kept &= figure.kept
    return 0 if kept else 1


def _hostile(repeat: int) -> int:
    kept = True
    with _folder() as folder:
        for what in hostile.HOSTILE:
            came = what(folder / what.__name__, repeat)
            print(came, flush=True)
            kept &= came.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
