"""One line for the eye a message: a result as a strip with its objects where they are, all else as it came."""

from __future__ import annotations

import json
from typing import Any, Final

COLUMNS: Final = 44
HEIGHTS: Final = " ▁▂▃▄▅▆▇█"


def message_line(topic: str, payload: Any) -> str:
    """What a person wants to see of a message."""
    if topic.endswith("/result"):
        return f"{topic}  {result_line(payload)}"
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"{topic}  {text}"


def result_line(result: dict[str, Any]) -> str:
    """The frame from left to right, a block where an object is, as high as the object; its label and score behind."""
    found = result.get("objects", [])
    words = ", ".join(f"{thing['label']} {thing['score']:.2f}" for thing in found) or "nothing"
    return f"|{strip([thing['box'] for thing in found])}| {words} (seq {result['seq']}, {result.get('ms', 0):.0f} ms)"


def strip(boxes: list[list[float]]) -> str:
    """`COLUMNS` characters for boxes ``[xmin, ymin, xmax, ymax]`` in fractions of the frame."""
    heights = [0.0] * COLUMNS
    for xmin, ymin, xmax, ymax in boxes:
        for column in range(int(xmin * COLUMNS), min(COLUMNS, int(xmax * COLUMNS) + 1)):
            heights[column] = max(heights[column], ymax - ymin)
    return "".join(HEIGHTS[min(len(HEIGHTS) - 1, round(height * 2 * len(HEIGHTS) + 0.49))] for height in heights)
