"""The same comparison that ``scripts/agreement`` prints."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "agreement"


@pytest.fixture(scope="module")
def agreement() -> Iterator[ModuleType]:
    loader = SourceFileLoader("agreement_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    yield module
    del sys.modules[loader.name]


def test_detectors_agree_with_the_references(agreement: ModuleType, assets: Path) -> None:
    found = list(agreement.detections(assets))
    assert agreement.enough(found), "\n".join([one.summary + str(one.remarks) for one in found])
    assert [one.file for one in found if not one.counted] == ["blazeface_128x128_quant.tflite"]
    assert sum(one.rows for one in found if one.counted) == 89


def test_classifiers_agree_with_what_is_known_of_them(agreement: ModuleType, assets: Path) -> None:
    found = list(agreement.classes(assets))
    assert sum(one.rows for one in found) == 12
    assert [remark for one in found for remark in one.remarks] == []
