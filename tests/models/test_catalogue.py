"""The catalogue: every entry is whole, and every model of it finds what its example says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edge_infer.engine.input.files import find_in_file
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.errors import ConfigError
from edge_infer.models.packages.acquire import pull
from edge_infer.models.packages.catalogue import Offer, choose, read_catalogue
from edge_infer.models.packages.library import Library
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.golden import seen_in
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import PipelinePlan, TextPlan

OFFERS = read_catalogue()
FREE = ("Apache-2.0", "MIT")
ENTRY = """models:
  some-model:
    version: 1.0.0
    about: something
    url: https://host/some.tflite
    bytes: 10
    sha256: %s
    licence: MIT
    source: somewhere
    example: {input: a.png, expect: []}
"""


@pytest.mark.parametrize("offer", OFFERS.values(), ids=str)
def test_a_model_of_the_catalogue_works_and_finds_what_is_said(offer: Offer, assets: Path, tmp_path: Path) -> None:
    arrival = pull(offer, Library(tmp_path / "models"), folder=assets / "models")
    plan = probe(ModelRequest(offer.name, str(arrival.folder)))
    assert (plan.title, plan.sha256) == (offer.title, offer.listed.sha256)
    example = offer.listed.example
    assert example is not None
    if isinstance(plan.input, TextPlan):
        path = tmp_path / "line.txt"
        path.write_text(example.input)
    else:
        path = next(path for path in assets.glob(f"*/{example.input}"))
    with LoadedModel(PipelinePlan("p", "s", plan, plan.threshold)) as model:
        seen = [each.label for found in find_in_file(model, plan.input, str(path)) for each in seen_in(found.findings)]
    assert {expected.label for expected in example.expect} <= set(seen)
    assert example.expect


def test_entries_are_of_free_models_at_addresses_that_do_not_change() -> None:
    files = [offer.file for offer in OFFERS.values()]
    assert len(set(files)) == len(files) >= 8
    for offer in OFFERS.values():
        assert offer.listed.licence in FREE
        assert re.search(r"/[0-9a-f]{40}/|\?generation=\d+$", offer.listed.url), offer.name


def test_versions_are_listed_in_their_order_and_the_newest_is_chosen() -> None:
    one = OFFERS["movenet"]
    listed = [one.listed.model_copy(update={"version": version}) for version in ("1.10.0", "2.0.0-rc.1", "1.9.0")]
    offers = {each.version: replace(one, listed=each) for each in listed}
    with pytest.raises(ConfigError, match=r"has movenet@1\.9\.0, movenet@1\.10\.0, movenet@2\.0\.0-rc\.1, not"):
        choose(offers, "movenet@3.0")
    assert choose(offers, "movenet").listed.version == "1.10.0"


def test_one_is_chosen_by_name_and_version() -> None:
    assert choose(OFFERS, "movenet") is choose(OFFERS, "movenet@1.0.0")
    with pytest.raises(ConfigError, match=r"has movenet@1\.0\.0, not movenet@2\.0"):
        choose(OFFERS, "movenet@2.0")
    with pytest.raises(ConfigError, match="the catalogue has no yolo; it has coco-ssd, deeplab"):
        choose(OFFERS, "yolo")


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (("1.9.0", "1.10.0", "2.0.0-beta.2"), "1.10.0"),
        (("1.9.0", "2.0rc1"), "1.9.0"),
        (("2.0.0-beta.2", "2.0.0-beta.10"), "2.0.0-beta.10"),
    ],
)
def test_a_preview_is_chosen_by_its_name_or_where_there_is_no_release(versions: tuple[str, ...], newest: str) -> None:
    one = OFFERS["movenet"]
    offers = {
        f"some@{version}": replace(one, name="some", listed=one.listed.model_copy(update={"version": version}))
        for version in versions
    }
    assert choose(offers, "some").listed.version == newest
    for version in versions:
        assert choose(offers, f"some@{version}").listed.version == version


def test_a_catalogue_that_is_wrong_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(ENTRY % ("0" * 64))
    assert read_catalogue(path)["some-model"].file == "some.tflite"
    path.write_text((ENTRY % "12").replace("https:", "http:"))
    with pytest.raises(ConfigError, match=r"c\.yaml:5: .*url.*\n.*c\.yaml:7: .*sha256"):
        read_catalogue(path)
