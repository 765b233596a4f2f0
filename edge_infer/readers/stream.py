"""The reader's end for signals and text: every stretch and every line goes to the engine, in order."""

from __future__ import annotations

import base64
from typing import Final

import numpy as np

from edge_infer.channel import Channel
from edge_infer.engine.frame import Signal
from edge_infer.readers.sources import Block, Words
from edge_infer.rooms import LineReady, ReaderHello, ReaderTrouble, SamplesReady

LONGEST_LINE: Final = 65536
"""Characters of a line; what is longer is cut."""


class StreamWriter:
    """Numbers what was read and tells the engine; what it does not take is dropped and shows as a missing number."""

    def __init__(self, channel: Channel) -> None:
        self.frames = 0
        self.greetings = 0
        self.faults = 0
        self.looks: float | None = None
        """Nothing of a signal or of text is passed over."""
        self._channel = channel
        self._before: Signal | None = None

    def poll(self) -> None:
        """Takes in what the engine has said; raises `ChannelClosedError`."""
        while (record := self._channel.receive()) is not None:
            if isinstance(record, ReaderHello):
                self.greetings += 1

    def write(self, reading: Block | Words) -> bool:
        """Hands one reading to the engine; False when it was dropped because the engine does not keep up."""
        self.frames += 1
        self.poll()
        if isinstance(reading, Words):
            text = reading.text[:LONGEST_LINE]
            return self._channel.send(LineReady(self.frames, reading.wall, reading.monotonic, text, self.faults))
        values = np.ascontiguousarray(reading.values, "<f4")
        repeated = self._before is not None and np.array_equal(self._before, values)
        self._before = values.copy()
        ready = SamplesReady(
            number=self.frames,
            wall=reading.wall,
            monotonic=reading.monotonic,
            rate=reading.rate,
            channels=values.shape[1],
            values=base64.b64encode(values.tobytes()).decode("ascii"),
            gap=reading.gap,
            repeated=repeated,
            faults=self.faults,
        )
        return self._channel.send(ready)

    def trouble(self, text: str, *, ended: bool = False) -> bool:
        """Tells the engine why nothing comes."""
        return self._channel.send(ReaderTrouble(text[:500], ended))

    def close(self) -> None:
        """Lets go of the channel; may be called twice."""
        self._channel.close()
