"""The parameters of every registered family: what a manifest may say to it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from edge_infer.contract.messages import Task
from edge_infer.engine.decoders import DECODERS, Layout, decoder_class
from edge_infer.engine.decoders.options import make_decoder
from edge_infer.errors import ModelError
from edge_infer.plan.records import InputPlan, NmsPlan

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"


class FromOutside:
    """A family of another package, which reads its options itself."""

    task: ClassVar[Task] = "detection"
    input: ClassVar[InputPlan] = InputPlan()
    nms: ClassVar[NmsPlan] = NmsPlan()
    classes = 1

    def __init__(self, layout: Layout) -> None:
        self.said = dict(layout.options)

    def __call__(self, _tensors: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def recognise(_inputs: Any, _outputs: Any) -> str | None:
        return None


def make(kind: str, family: Any, **options: Any) -> Any:
    return make_decoder(kind, family, Layout((), (), 0, 0.5, options))


def known(kind: str) -> tuple[str, ...]:
    return getattr(decoder_class(DECODERS[kind]), "parameters", ())


@pytest.mark.parametrize("kind", DECODERS)
def test_every_family_refuses_a_parameter_that_it_does_not_know(kind: str) -> None:
    words = f"has the unknown parameter 'qqq'; known for {kind}: {', '.join(known(kind)) or 'none'}$"
    with pytest.raises(ModelError, match=words) as caught:
        make(kind, decoder_class(DECODERS[kind]), qqq=1)
    assert caught.value.key == "decoder"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in DECODERS for name in known(kind)])
def test_a_misspelt_parameter_is_told_the_right_one(kind: str, name: str) -> None:
    with pytest.raises(ModelError, match=f'did you mean "{name}"'):
        make(kind, decoder_class(DECODERS[kind]), **{name[:-2] + name[-1]: 1})


@pytest.mark.parametrize("kind", DECODERS)
def test_the_page_names_every_parameter(kind: str) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{kind}`")]
    told = "".join(row.rsplit("|", 2)[1] for row in rows)
    assert [name for name in known(kind) if f"`{name}" not in told] == []


def test_a_family_that_declares_none_knows_none() -> None:
    with pytest.raises(ModelError, match="unknown parameter 'boxes'; known for yolox: none"):
        make("yolox", FromOutside, boxes="pixels")


def test_a_family_of_another_package_gets_its_options_unless_it_declares_them() -> None:
    assert make("outside", FromOutside, side=3, anything=[1]).said == {"side": 3, "anything": [1]}
    declared = type("Declared", (FromOutside,), {"parameters": ("side",)})
    assert make("outside", declared, side=3).said == {"side": 3}
    with pytest.raises(ModelError, match="unknown parameter 'sid'; known for outside: side; did you mean"):
        make("outside", declared, sid=3)
