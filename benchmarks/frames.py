"""The input of all designs: pictures of a video file, or of a .npy file ``[n, height, width, 3]``."""

import itertools

import cv2
import numpy as np


def frames(path):
    """Yield the pictures in an endless loop."""
    if path.endswith(".npy"):
        yield from itertools.cycle(np.load(path))
    while True:
        capture = cv2.VideoCapture(path)
        while True:
            good, frame = capture.read()
            if not good:
                break
            yield frame
