"""Text as cells: its words, each of which can be left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.explain.answers import ExplainedAnswer
from edge_infer.explain.sampling import Cells, Visible
from edge_infer.frames.frame import Line

MOST: Final = 512
"""Maximum number of words of a line that can be left out; later words always stay."""
WORD: Final = re.compile(r"\S+")


class WordCells:
    """A line of text without some of its words; a `Question` about one answer of a model."""

    fills = 1
    box = None

    def __init__(self, model: LoadedModel, line: Line, answer: ExplainedAnswer, length: int) -> None:
        """``length`` is the number of words that the model reads."""
        self._model, self._line, self._answer = model, line, answer
        every = WORD.findall(line.text)
        most = min(MOST, length)
        self.words, self._rest = every[:most], every[most:]
        self.cells = len(self.words)

    def __call__(self, visible: Visible, fill: int) -> float:
        """Return the answer's strength with only these words."""
        del fill
        kept = [word for word, seen in zip(self.words, visible, strict=True) if seen]
        text = " ".join([*kept, *self._rest])
        return self._answer.strength(self._model.look(replace(self._line, text=text)))

    def inside(self) -> None:
        """Return None: an answer about a text has no box."""

    def names(self) -> tuple[list[str]]:
        """Return the words, numbered if a word occurs more than once in the line."""
        names = [
            f'in "{word}"' + (f" (word {place})" if self.words.count(word) > 1 else "")
            for place, word in enumerate(self.words, 1)
        ]
        return (names,)

    def grid(self, evidence: Cells) -> Mapping[str, Any]:
        """Return the evidence of each word."""
        return {"words": self.words, "values": evidence}
