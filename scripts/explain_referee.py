"""Runs xaitk-saliency's D-RISE on given masks and detections, in an environment of its own.

``python explain_referee.py IN.npz OUT.npy``: IN has ``reference [1, 5 + classes]``, ``detections [masks, n, 5 +
classes]`` and ``masks [masks, height, width]``; OUT becomes the map ``[height, width]``.
"""

import sys

import numpy as np
from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring

given = np.load(sys.argv[1])
np.save(sys.argv[2], DRISEScoring().generate(given["reference"], given["detections"], given["masks"])[0])
