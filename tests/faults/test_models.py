"""A short form of ``scripts/faults models``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults import models, reloading
from tests.faults.mutants import SHARES, mutants, no_models


def test_damaged_models_are_refused_or_as_good_as_before(tmp_path: Path) -> None:
    models.put_sound(tmp_path / "sound", None)
    *_, tally = models.judge(tmp_path, models.write_packages(tmp_path, 24), keep=8)
    assert tally.kept, "\n".join(tally.lines())
    assert tally.fitting.total() == tally.tried == 24
    assert tally.fitting["refused"] > 0
    sample = sorted(place.parent for place in tmp_path.glob("*/fit"))
    assert len(sample) == 3
    *_, reloads = reloading.reload_all(tmp_path / "daemon", sample)
    assert reloads.kept, "\n".join(reloads.lines())
    assert reloads.outcomes.total() == 3


def test_mutants_are_of_every_kind_and_always_the_same() -> None:
    sound = next(models.SHIPPED.glob("*.tflite")).read_bytes()
    found = [
        list(mutants(sound, 60, random.Random(number), no_models(random.Random(1), [models.CLIP])))
        for number in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]
    assert {mutant.kind for mutant in found[0]} == set(SHARES)
    assert all(mutant.data != sound for mutant in found[0])
