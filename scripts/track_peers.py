"""Runs other trackers on sequences; ``scripts/track`` starts this script in the environments of these trackers.

usage: track_peers.py JOBS.json [--no-lines]

JOBS is a list of ``[tracker, options, sequence.npz, out.npz]``. A sequence holds ``found`` (rows of frame, xmin, ymin,
xmax, ymax, score, class), ``frames``, ``fps`` and ``size``. The output holds ``ids``, one for each row of ``found`` (0:
none), ``crossings`` (frame, line, looks of the counter, 1 to the right or -1) of supervision's counter over five
vertical lines, and ``micros``, the CPU time of a frame.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import supervision as sv

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

LINES = (0.3, 0.4, 0.5, 0.6, 0.7)
LOOKS = (1, 3)


class Supervised:
    """A tracker that takes and returns detections of supervision."""

    def __init__(self, tracker, update):
        self._tracker, self._update = tracker, getattr(tracker, update)

    def __call__(self, boxes, scores, classes):
        rows = np.arange(len(boxes))
        found = sv.Detections(boxes, confidence=scores, class_id=classes, data={"row": rows})
        given = self._update(found)
        ids = np.zeros(len(boxes), np.int64)
        if len(given) and given.tracker_id is not None:
            ids[given.data["row"]] = np.where(given.tracker_id < 0, 0, given.tracker_id + 1)
        return ids


class Norfair:
    """Norfair with boxes; only boxes that were matched in the current frame count.

    ``distance`` is a kind and the maximum distance. The kind is ``iou``, or ``corners``, norfair's distance of points
    in shares of the picture.
    """

    def __init__(self, fps, size, *, seconds=None, delay=None, least_score=0.0, distance=("iou", 0.7)):
        from norfair import Tracker, create_normalized_mean_euclidean_distance

        most = 15 if seconds is None else max(1, round(seconds * fps))
        kind, greatest = distance
        self._tracker = Tracker(
            distance_function=create_normalized_mean_euclidean_distance(*size[::-1]) if kind == "corners" else kind,
            distance_threshold=greatest,
            hit_counter_max=most,
            initialization_delay=None if delay is None else min(delay, most - 1),
        )
        self._least_score = least_score

    def __call__(self, boxes, scores, classes):
        from norfair import Detection

        found = [
            Detection(box.reshape(2, 2), scores=np.array([score, score]), data=row, label=int(label))
            for row, (box, score, label) in enumerate(zip(boxes, scores, classes, strict=True))
            if score >= self._least_score
        ]
        ids = np.zeros(len(boxes), np.int64)
        for tracked in self._tracker.update(found):
            if tracked.last_detection in found:
                ids[tracked.last_detection.data] = tracked.id
        return ids


def make(name, options, fps, size):
    """Return a tracker: a function from boxes, scores and classes of a frame to ids."""
    if name == "norfair":
        return Norfair(fps, size, **options)
    if name == "sv-ByteTrack":
        return Supervised(sv.ByteTrack(frame_rate=fps, **options), "update_with_detections")
    import trackers

    return Supervised(getattr(trackers, name)(frame_rate=fps, **options), "update")


def counters(size):
    """Return supervision's line counters: number of the line, looks, counter."""
    width, height = size
    return [
        (
            number,
            looks,
            sv.LineZone(
                sv.Point(at * width, 0),
                sv.Point(at * width, height),
                triggering_anchors=[sv.Position.BOTTOM_CENTER],
                minimum_crossing_threshold=looks,
            ),
        )
        for number, at in enumerate(LINES)
        for looks in LOOKS
    ]


def run(name, options, sequence, *, lines):
    """Run a tracker over a sequence."""
    found, fps, size = sequence["found"], float(sequence["fps"]), sequence["size"].tolist()
    starts = np.searchsorted(found[:, 0], np.arange(int(sequence["frames"]) + 1))
    tracker, lines = make(name, options, fps, size), counters(size) if lines else []
    ids, crossings, spent = np.zeros(len(found), np.int64), [], 0.0
    for frame, (start, end) in enumerate(pairwise(starts)):
        rows = found[start:end]
        begun = time.process_time()
        given = tracker(rows[:, 1:5].copy(), rows[:, 5].copy(), rows[:, 6].astype(int))
        spent += time.process_time() - begun
        ids[start:end] = given
        seen = given > 0
        shown = sv.Detections(rows[seen, 1:5], class_id=np.zeros(int(seen.sum()), int), tracker_id=given[seen])
        for number, looks, line in lines:
            for crossed in line.trigger(shown):
                for box in shown.xyxy[crossed]:
                    right = box[0] + box[2] > 2 * LINES[number] * size[0]
                    crossings.append((frame, number, looks, 1 if right else -1))
    return ids, np.array(crossings, np.float64).reshape(-1, 4), spent / len(starts) * 1e6


for name, options, sequence, out in json.loads(Path(sys.argv[1]).read_text()):
    ids, crossings, micros = run(name, options, np.load(sequence), lines="--no-lines" not in sys.argv)
    np.savez(out, ids=ids, crossings=crossings, micros=micros)
