"""Advice about drift, in the words that the command and the page use.

This module imports nothing else of the package, so that the page needs little memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

_REMEDIES: Final[Mapping[str, str]] = {
    "covered": "check whether something covers the lens",
    "dark": "check whether the scene is lit and the lens is free",
    "moved": "turn the camera back, or check mask and zones and run: edge-infer drift accept {name}{option}",
    "defocused": "clean the lens and focus it",
    "veiled": "clean the lens: a web, drops or dirt hide part of the picture",
    "changed": "look at the picture (edge-infer page); if this is intended: edge-infer drift accept {name}{option}",
}
_OF_ANSWERS: Final = (
    "the camera has not changed, so the scene or the model has: compare with edge-infer evaluate; if this is "
    "intended: edge-infer drift accept {name}{option}"
)
_OF_BOTH: Final = "the camera has changed too, so check it first"


def remedies(name: str, camera: str | None, outcome: str | None, option: str = "") -> Iterator[str]:
    """Yield a sentence about drift of a pipeline's camera, then a sentence about drift of its model's findings.

    ``option`` is the part of the command that names the configuration, with a leading space.
    """
    if camera is not None:
        yield _REMEDIES.get(camera, _REMEDIES["changed"]).format(name=name, option=option)
    if outcome is not None:
        yield _OF_BOTH if camera is not None else _OF_ANSWERS.format(name=name, option=option)
