"""SSD of TensorFlow's Object Detection API without the post-processing operator: encoded boxes and scores, no anchors.

Encodings ``[1, n, 4]`` are y, x, height and width: the centre moves by ``y / 10`` and ``x / 10`` times the anchor's
size, and the size grows by the factors ``exp(height / 5)`` and ``exp(width / 5)``. The option ``coding`` defines the
four divisors. Scores ``[1, n, 1 + classes]`` have the background first; they are scores or logits (see `Scores`). The
outputs of such files are named ``raw_outputs/box_encodings`` and ``raw_outputs/class_predictions``, or like the inputs
of a post-processing operator that was removed.

Source: ``box_coders/faster_rcnn_box_coder.py`` of the TensorFlow Model Garden; "Faster R-CNN" (arXiv:1506.01497).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.candidates import best_classes, corners, sound_boxes
from edge_infer.engine.decoders.options import Options, number, wrong
from edge_infer.engine.decoders.scores import Scores
from edge_infer.engine.decoders.ssd_anchors import made_anchors, read_anchors
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.shape import image_size
from edge_infer.engine.records import Array, Boxes
from edge_infer.errors import ModelError

CODING: Final = (10.0, 10.0, 5.0, 5.0)
ENCODINGS: Final = "box_encodings"
PREDICTIONS: Final = "class_predictions"
"""Parts of the output names that identify the pair."""


class Encoded:
    """Decoder of candidates above the threshold, with the best class of each anchor."""

    def __init__(self, layout: Layout) -> None:
        """Match the outputs; raise `ModelError` unless the manifest defines one anchor for each encoding."""
        options = Options(layout)
        self._outputs = layout.outputs
        self._first, self._second = _which(layout.outputs, options)
        self.classes = layout.outputs[self._first].shape[2] - 1
        self._threshold = layout.threshold
        self._scores = Scores.of(layout.outputs[self._first], options)
        self._coding = _coding(options)
        self._anchors = _anchors(layout, options)
        count = layout.outputs[self._second].shape[1]
        if self._anchors.shape[1] != count:
            raise ModelError(
                f"it encodes {count} boxes, so it needs {count} anchors, but `decoder: anchors` in the manifest gives "
                f"{self._anchors.shape[1]}",
                key="decoder",
            )

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> Boxes:
        """Return at most one candidate per anchor."""
        head = tensors[self._first][0]
        reading = self._scores.seen(head)
        kept, classes = best_classes(head, reading.limit(self._threshold), background=True)
        moves = self._outputs[self._second].dequantize(tensors[self._second][0, kept]).T / self._coding
        anchors = self._anchors[:, kept]
        with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are dropped and counted later
            centers = anchors[:2] + moves[[1, 0]] * anchors[2:]
            boxes = corners(np.concatenate((centers, anchors[2:] * np.exp(moves[[3, 2]]))))
        return sound_boxes(boxes, reading.real(head[kept, 1 + classes]), classes)


def are_encoded(outputs: tuple[Tensor, ...]) -> bool:
    """Return whether the outputs are a pair: scores and four numbers for each anchor."""
    if len(outputs) != 2 or any(len(output.shape) != 3 or output.shape[0] != 1 for output in outputs):
        return False
    widths = [output.shape[2] for output in outputs]
    return outputs[0].shape[1] == outputs[1].shape[1] and 4 in widths and min(widths) >= 2


def known_by_name(outputs: tuple[Tensor, ...]) -> bool:
    """Return whether the outputs have the names that the exporter gives them."""
    names = [output.name.lower() for output in outputs]
    return are_encoded(outputs) and all(any(part in name for name in names) for part in (ENCODINGS, PREDICTIONS))


def _which(outputs: tuple[Tensor, ...], options: Options) -> tuple[int, int]:
    """Return the positions of the scores and of the encodings."""
    said = options.output("scores")
    other = [index for index, output in enumerate(outputs) if output.shape[2] != 4]
    if said is None and not other:
        other = [index for index, output in enumerate(outputs) if PREDICTIONS in output.name.lower()]
    if said is not None and other and said != other[0]:
        raise wrong("scores", outputs[said].name, f"{outputs[other[0]].name}, the only one of its shape")
    found = said if said is not None else other[0] if len(other) == 1 else None
    if found is None:
        raise ModelError(
            "its two outputs have one shape, and their names do not show which contains the scores; name them in "
            "the manifest: `decoder: {kind: ssd, scores: NAME, …}`",
            key="decoder",
        )
    return found, 1 - found


def _coding(options: Options) -> Array:
    said = options.get("coding")
    if said is None:
        return np.array(CODING, np.float32)[:, np.newaxis]
    if not isinstance(said, list) or len(said) != 4:
        raise wrong("coding", said, "the four divisors of y, x, height and width, such as [10, 10, 5, 5]")
    return np.array([number("coding", item, 1e-3, 1000) for item in said], np.float32)[:, np.newaxis]


def _anchors(layout: Layout, options: Options) -> Array:
    said, path = options.get("anchors"), options.get("anchors_file")
    if (said is None) == (path is None):
        raise ModelError(
            "this SSD returns encoded boxes, and the file does not contain their anchors; set them in the manifest as "
            "in the configuration of its training: `decoder: {kind: ssd, anchors: "
            "{layers: 6, min_scale: 0.2, max_scale: 0.95}}` (ssd_anchor_generator), `anchors: {levels: [3, 7], "
            "anchor_scale: 4}` (multiscale_anchor_generator), or name a file with a list of "
            "them: `anchors_file: FILE`; set only one of the two keys",
            key="decoder",
        )
    if path is not None:
        return read_anchors(str(path))
    size = image_size(layout.inputs)
    if size == (0, 0):
        raise ModelError("anchors need a picture, and its input is not one", key="decoder")
    return made_anchors(said, size)
