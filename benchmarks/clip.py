"""Writes a synthetic clip of 1280 x 720 in H.264: clip.py FILE. It needs PyAV."""

import sys

import av
import numpy as np

FRAMES = 250


def main():
    out = av.open(sys.argv[1], "w")
    stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23", "g": "50"})
    stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (12, 20, 3)).astype(np.uint8)
    ground = np.kron(coarse, np.ones((60, 64, 1), np.uint8))
    for number in range(FRAMES):
        picture = np.roll(ground, 4 * number, axis=1)
        left = (7 * number) % 1000
        picture[200:420, left : left + 180] = (40, 160, 220)
        noise = random.integers(0, 12, picture.shape, np.uint8)
        for packet in stream.encode(av.VideoFrame.from_ndarray(np.minimum(picture, 240) + noise, format="bgr24")):
            out.mux(packet)
    for packet in stream.encode():
        out.mux(packet)
    out.close()


main()
