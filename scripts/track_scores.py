"""Scores ids; ``scripts/track`` starts this script in the environments of ``motmetrics`` and ``trackeval``.

usage: track_scores.py motmetrics|trackeval JOBS.json OUT.json

JOBS is a list of ``[key, sequence.npz, ids.npz]``. A sequence holds ``truth`` (rows of frame, object, xmin, ymin, xmax,
ymax), ``found`` (frame, xmin, ymin, xmax, ymax, …) and ``frames``; the ids belong to the rows of ``found``. Boxes
without an id (0) do not count. OUT maps each key to its figures. A box is right from an overlap (IoU) of 0.5 on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def frames(sequence, ids):
    """Yield for each frame the true objects, the ids and the overlaps of their boxes."""
    truth, found = sequence["truth"], sequence["found"]
    moments = np.arange(int(sequence["frames"]) + 1)
    truths, founds = np.searchsorted(truth[:, 0], moments), np.searchsorted(found[:, 0], moments)
    for frame in moments[:-1]:
        real = truth[truths[frame] : truths[frame + 1]]
        rows = np.arange(founds[frame], founds[frame + 1])
        rows = rows[ids[rows] > 0]
        yield real[:, 1].astype(int), ids[rows], overlaps(real[:, 2:6], found[rows, 1:5])


def overlaps(one, other):
    """Return the intersections over unions."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    area = (one[:, 2:] - one[:, :2]).prod(axis=1)[:, None] + (other[:, 2:] - other[:, :2]).prod(axis=1)[None]
    return common / np.maximum(area - common, 1e-9)


def clear_and_identity(sequence, ids):
    """Return IDF1 and MOTA in percent, switches, fragmentations and the number of ids, computed by motmetrics."""
    import motmetrics

    found = motmetrics.MOTAccumulator(auto_id=True)
    for objects, given, shares in frames(sequence, ids):
        found.update(objects, given, np.where(shares >= 0.5, 1 - shares, np.nan))
    names = ["idf1", "mota", "num_switches", "num_fragmentations"]
    row = motmetrics.metrics.create().compute(found, metrics=names, name="all").iloc[0]
    return {
        "IDF1": 100 * float(row["idf1"]), "MOTA": 100 * float(row["mota"]), "switches": int(row["num_switches"]),
        "fragmentations": int(row["num_fragmentations"]), "ids": len(np.unique(ids[ids > 0])),
        "objects": len(np.unique(sequence["truth"][:, 1])),
    }  # fmt: skip


def higher_order(sequence, ids):
    """Return HOTA in percent, by trackeval."""
    from trackeval.metrics import HOTA

    real, given, shares = zip(*frames(sequence, ids), strict=True)
    objects, numbers = (np.unique(np.concatenate(each)) for each in (real, given))
    data = {
        "num_gt_dets": sum(map(len, real)), "num_tracker_dets": sum(map(len, given)),
        "num_gt_ids": len(objects), "num_tracker_ids": len(numbers),
        "gt_ids": [np.searchsorted(objects, each) for each in real],
        "tracker_ids": [np.searchsorted(numbers, each) for each in given],
        "similarity_scores": list(shares),
    }  # fmt: skip
    return {"HOTA": 100 * float(np.mean(HOTA().eval_sequence(data)["HOTA"]))}


if __name__ == "__main__":
    score = clear_and_identity if sys.argv[1] == "motmetrics" else higher_order
    jobs = json.loads(Path(sys.argv[2]).read_text())
    done = {key: score(np.load(sequence), np.load(ids)["ids"]) for key, sequence, ids in jobs}
    Path(sys.argv[3]).write_text(json.dumps(done))
