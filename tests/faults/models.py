"""What becomes of damaged model files: each is tried as a configuration would have it tried, and put into a class.

``python -m tests.faults.models FOLDER`` judges packages that were written before, with the runtime of that Python.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import cv2
import yaml

from edge_infer.engine.interpreter import backend_name
from edge_infer.errors import ModelError
from edge_infer.models.packages.catalogue import read_catalogue
from edge_infer.models.packages.package import find_package
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import Probe
from tests.faults.comparing import Thing, same

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ROOT / "models" / "face-detect" / "1.0.0"
CLIP: Final = ROOT / "models" / "demo" / "faces.mp4"
PUBLIC: Final = ("mobilenet-v1-small", "person-present")
"""More models to damage, where the public test inputs are."""
OTHERS: Final = 10
"""Pictures beside the golden ones."""
PATIENCE: Final = 20.0
"""Seconds for one mutant, in the probe and with all pictures."""
OTHER: Final = "taken: NOT equal on its golden inputs"
SOUND: Final = 120.0
"""Seconds for a model that nobody has damaged: it ends, however busy the machine is."""
CRASHES: Final = "crashed the interpreter|was killed|ended with code|did not finish|does not finish|closed its"
REFUSED: Final = (
    ("not the file that the manifest speaks of", "its SHA-256 is .* lists"),
    (
        "no whole model file",
        r"damaged|cut off|TFL3|not a TFLite|outside|flatbuffer|Flatbuffer|is empty|bytes; more|subgraph",
    ),
    ("does not find what its golden inputs hold", "golden input"),
    ("says nothing: not finite, or always the same", "bit by bit|not finite"),
    ("the runtime will not have it", r"refuses it|cannot load it|failed while running|ai-edge-litert|tflite-runtime"),
    ("its tensors, labels or decoder do not fit", ""),
)
"""Classes of reasons, each with what they say; the first that fits."""


@dataclass(slots=True)
class Tally:
    """Counts by class, and what is promised about them."""

    runtime: str
    tried: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong_digest: Counter[str] = field(default_factory=Counter)
    fitting: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    differing: Counter[int] = field(default_factory=Counter)
    crashed_later: int = 0

    @property
    def kept(self) -> bool:
        """All wrong digests refused as such, and none taken that is another one on its golden inputs."""
        refused = self.wrong_digest["refused for its digest"] == self.tried
        return self.tried > 0 and refused and not self.fitting[OTHER]

    def lines(self) -> Iterator[str]:
        """The tables."""
        yield f"{self.tried} mutants on {self.runtime}: " + ", ".join(f"{n} {kind}" for kind, n in self.kinds.items())
        yield from (f"  wrong digest: {what:<52} {count:>5}" for what, count in self.wrong_digest.most_common())
        yield from (f"  made to fit:  {what:<52} {count:>5}" for what, count in self.fitting.most_common())
        yield from (f"    refused:    {what:<52} {count:>5}" for what, count in self.reasons.most_common())
        for count, mutants in sorted(self.differing.items()):
            yield f"    taken:      another outcome on {count:>2} of {OTHERS} other inputs{'':<17} {mutants:>5}"
        yield f"    taken:      crashed or hung on the other inputs{'':<17} {self.crashed_later:>5}"


class Comparer:
    """A child that runs models on pictures, begun again after it died."""

    def __init__(self, pictures: list[Path]) -> None:
        self._pictures = pictures
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Comparer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def findings(self, package: Path, patience: float = PATIENCE) -> list[list[Thing]] | None:
        """What is found in each picture, nothing where the model fails; None when the child did not survive it."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{package}\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(patience) else ""
        if not line:
            self._end()
            return None
        found = json.loads(line)
        if isinstance(found, str):
            return [[] for _ in self._pictures]
        return [[(label, score, tuple(box)) for label, score, box in things] for things in found]

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.faults.comparing", *map(str, self._pictures)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def _end(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate()


def put_sound(folder: Path, assets: Path | None) -> None:
    """The models to damage, as packages with golden inputs: the shipped one, and public ones where these are."""
    shutil.copytree(SHIPPED, folder / "face-detect")
    for offer in (read_catalogue()[name] for name in PUBLIC) if assets else ():
        package = folder / offer.name
        package.mkdir()
        assert assets is not None
        shutil.copyfile(assets / "models" / offer.file, package / offer.file)
        assert offer.listed.example is not None
        picture = offer.listed.example.input
        shutil.copyfile(assets / "images" / picture, package / picture)
        manifest = str(offer.manifest())
        (package / "manifest.yaml").write_text(manifest, encoding="utf-8")
        with Comparer([package / picture]) as comparer:
            found = comparer.findings(package, SOUND)
        assert found
        expect = [{"label": label, "score": round(score, 4)} for label, score, _ in found[0]]
        text = yaml.safe_dump({"golden": [{"input": picture, "expect": expect}]})
        (package / "manifest.yaml").write_text(manifest + text, encoding="utf-8")


def write_packages(folder: Path, repeat: int) -> Iterator[Path]:
    """Mutants of what lies in ``sound``; the manifest of ``fit`` has its digest, that of ``wrong`` has not."""
    import hashlib
    import random

    from tests.faults.mutants import mutants, no_models

    chance = random.Random(20261125)
    sound = sorted((folder / "sound").iterdir())
    strangers = no_models(chance, [CLIP, SHIPPED / "golden" / "astronaut.png", SHIPPED / "manifest.yaml"])
    for turn, package in enumerate(sound):
        manifest = (package / "manifest.yaml").read_text(encoding="utf-8")
        file = find_package(package).file
        share = repeat // len(sound) + (turn < repeat % len(sound))
        for number, mutant in enumerate(mutants(file.read_bytes(), share, chance, strangers)):
            place = folder / f"{package.name}-{number:04}"
            for form, digest in (("wrong", None), ("fit", hashlib.sha256(mutant.data).hexdigest())):
                target = place / form
                shutil.copytree(package, target, ignore=shutil.ignore_patterns(file.name))
                (target / file.name).write_bytes(mutant.data)
                if digest:
                    text = re.sub("^sha256:.*$", f"sha256: {digest}", manifest, flags=re.MULTILINE)
                    (target / "manifest.yaml").write_text(text, encoding="utf-8")
            (place / "kind").write_text(mutant.kind)
            yield place


def judge(folder: Path, places: Iterable[Path], *, keep: int) -> Iterator[Tally]:
    """The tally after each mutant, every ``keep``-th of which stays; ``folder`` has the sound packages."""
    tally = Tally(backend_name())
    pictures = _other_pictures(folder)
    sound = {package.name: package for package in (folder / "sound").iterdir()}
    golden = {name: _golden(package) for name, package in sound.items()}
    comparers = {name: Comparer([*golden[name], *pictures]) for name in sound}
    try:
        wanted = {name: comparers[name].findings(package, SOUND) for name, package in sound.items()}
        with Probe(timeout=PATIENCE) as probe:
            for place in places:
                name = place.name.rpartition("-")[0]
                _judge_one(tally, probe, place)
                if tally.fitting.pop("taken", 0):
                    found = comparers[name].findings(place / "fit")
                    reference = wanted[name]
                    assert reference is not None
                    _compare(tally, reference, found, len(golden[name]))
                if tally.tried % keep:
                    shutil.rmtree(place)
                yield tally
    finally:
        for comparer in comparers.values():
            comparer.__exit__(None, None, None)


def _golden(package: Path) -> list[Path]:
    found = find_package(package)
    return [found.folder / golden.input for golden in found.manifest.golden]


def _judge_one(tally: Tally, probe: Probe, place: Path) -> None:
    tally.tried += 1
    tally.kinds[(place / "kind").read_text()] += 1
    wrong = probe.outcome(ModelRequest("m", str(place / "wrong")))
    by_digest = isinstance(wrong, ModelError) and "its SHA-256 is " in str(wrong)
    tally.wrong_digest["refused for its digest" if by_digest else f"not refused for its digest: {wrong}"] += 1
    outcome = probe.outcome(ModelRequest("m", str(place / "fit")))
    if not isinstance(outcome, ModelError):
        tally.fitting["taken"] += 1
    elif re.search(CRASHES, str(outcome)):
        tally.fitting["crashed or hung the process that tried it, no other"] += 1
    else:
        tally.fitting["refused"] += 1
        tally.reasons[next(what for what, words in REFUSED if re.search(words, str(outcome)))] += 1


def _compare(tally: Tally, reference: list[list[Thing]], found: list[list[Thing]] | None, golden: int) -> None:
    if found is None:
        tally.fitting["taken, then crashes or hangs, which rolls it back"] += 1
        tally.crashed_later += 1
        return
    equal = [same(one, other) for one, other in zip(reference, found, strict=True)]
    tally.fitting["taken: equal on its golden inputs" if all(equal[:golden]) else OTHER] += 1
    tally.differing[equal[golden:].count(False)] += 1


def _other_pictures(folder: Path) -> list[Path]:
    """Ten pictures of the shipped clip, evenly apart."""
    capture = cv2.VideoCapture(str(CLIP))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    written: list[Path] = []
    for number in range(count):
        good, frame = capture.read()
        if good and number * OTHERS // count == len(written):
            written.append(folder / f"{len(written)}.png")
            cv2.imwrite(str(written[-1]), frame)
    capture.release()
    assert len(written) == OTHERS
    return written


def main() -> int:
    """Judges the packages of a folder, and prints how far it is."""
    folder = Path(sys.argv[1])
    tally = None
    for tally in judge(folder, sorted(place for place in folder.iterdir() if (place / "kind").exists()), keep=1):
        if tally.tried % 20 == 0:
            print(f"… {tally.tried}", flush=True)
    assert tally is not None
    print("\n".join(tally.lines()))
    return 0 if tally.kept else 1


def assets_folder() -> Path | None:
    """Where the public test inputs are, if they are anywhere."""
    named = os.environ.get("EDGE_INFER_ASSETS")
    return Path(named) if named else None


if __name__ == "__main__":
    sys.exit(main())
