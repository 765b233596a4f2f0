"""Import paths that plug-ins, subscribers and the state directory name: they stay, wherever a module moves."""

from __future__ import annotations

from importlib import import_module

import pytest

from edge_infer.plan.plugins import DECODERS
from edge_infer.readers.sources import SOURCES

PATHS = {
    "edge_infer": ("Model", "load", "__version__"),
    "edge_infer.client": ("Client", "EdgeInferError", "Series", "Standing", "StateUpdate", "StatusUpdate"),
    "edge_infer.cli": ("main",),
    "edge_infer.closing": ("Closing",),
    "edge_infer.codec": ("ABSENT", "Record", "encode", "replace"),
    "edge_infer.config.plan": ("DecoderPlan", "Gives", "InputPlan", "NmsPlan", "SignalPlan", "SourcePlan", "TextPlan"),
    "edge_infer.engine.decoders": ("Decoder", "Layout", "decoder_class", "decoder_names", "decoder_target"),
    "edge_infer.engine.decoders.candidates": ("corners", "sound_boxes", "stored"),
    "edge_infer.engine.decoders.options": ("Options",),
    "edge_infer.engine.decoders.scores": ("Scores",),
    "edge_infer.engine.frame": ("Frame", "Line", "Pixels", "Samples", "Signal"),
    "edge_infer.engine.interpreter": ("Interpreter", "Tensor"),
    "edge_infer.engine.preprocess.shape": ("image_shape", "image_size"),
    "edge_infer.engine.records": ("Bodies", "Boxes", "Classes", "Numbers", "Regions"),
    "edge_infer.errors": ("ConfigError", "EdgeInferError", "InputError", "ModelError", "SourceError"),
    "edge_infer.messages": ("Event", "Health", "Result", "State"),
    "edge_infer.readers.fake": ("FakeCapture",),
    "edge_infer.readers.sources": ("Block", "Passed", "Picture", "Source", "Wanted", "Words"),
    "edge_infer.readers.sources.synthetic": ("SyntheticOptions", "SyntheticSource"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_others_holds_its_names(path: str) -> None:
    module = import_module(path)
    assert not [name for name in PATHS[path] if not hasattr(module, name)]


@pytest.mark.parametrize(
    ("path", "now"),
    [
        ("edge_infer.messages", "edge_infer.contract.messages"),
        ("edge_infer.config.plan", "edge_infer.plan.records"),
        ("edge_infer.engine.frame", "edge_infer.frames.frame"),
    ],
)
def test_both_paths_name_the_same_classes(path: str, now: str) -> None:
    one, other = vars(import_module(path)), vars(import_module(now))
    public = {name for name, value in other.items() if not name.startswith("_") and isinstance(value, type)}
    assert public
    assert all(one[name] is other[name] for name in public)


@pytest.mark.parametrize("target", [*DECODERS.values(), *SOURCES.values()])
def test_a_target_in_a_stored_plan_stays(target: str) -> None:
    """The state directory keeps the targets of the plan that was applied last."""
    assert target.startswith(("edge_infer.engine.decoders.", "edge_infer.readers.sources."))
