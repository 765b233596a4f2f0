"""Sound from a microphone through PortAudio and ALSA, or from a WAV file."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final, Protocol

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.frames.frame import Signal
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.platform.extras import install_command
from edge_infer.readers.sources import Block, remedy_for
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.wav import WavFormat, decode_samples, read_header

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

STRETCH: Final = 0.1
"""Length of a block of sound in seconds."""


@dataclass(frozen=True, slots=True)
class AudioOptions:
    """``device`` is a PortAudio name, a part of it, or a number. By default it records one channel at its own rate.

    With a ``file``, ``rate`` and ``channels`` must match the file, but ``channels`` 1 mixes several channels into one.
    """

    device: str | None = None
    file: str | None = None
    rate: int | None = None
    channels: int | None = None
    loop: bool = False
    realtime: bool = True

    def __post_init__(self) -> None:
        if (self.device is None) == (self.file is None):
            raise ValueError("needs either device (a microphone such as default) or file (a .wav), not both")
        if self.device is not None and self.loop:
            raise ValueError("loop is for files only; a device has no end")


class AudioStream(Protocol):
    """A running recording, such as ``sounddevice.InputStream``."""

    samplerate: float

    def start(self) -> None:
        """Start to record."""

    def read(self, frames: int) -> tuple[Any, bool]:
        """Return samples, shaped (frames, channels), and whether samples before them were lost."""

    def close(self) -> None:
        """Stop and release the device."""


def open_stream(device: str, rate: int | None, channels: int) -> AudioStream:
    """Open a recording of a device; raises `SourceError`, also if the optional dependency is not installed."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except ImportError as error:
        raise SourceError(f"microphones need the extra audio; install it: {install_command('audio')}") from error
    except OSError as error:
        raise SourceError("PortAudio is missing: sudo apt install libportaudio2") from error
    chosen = int(device) if device.isdecimal() else device
    try:
        stream: AudioStream = sounddevice.InputStream(
            device=chosen, samplerate=rate, channels=channels, dtype="float32", latency="high"
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        names = ", ".join(repr(found["name"]) for found in sounddevice.query_devices() if found["max_input_channels"])
        raise SourceError(
            f"cannot record {channels} channel{'' if channels == 1 else 's'} from {device} at "
            f"{f'{rate:g} Hz' if rate else 'its own rate'}: {error}; available inputs: {names or 'none'}"
        ) from error
    return stream


class AudioSource(Closing):
    """Sound in blocks of 0.1 s. An overrun counts in ``faults`` and is marked as a gap."""

    gives: ClassVar[Gives] = "samples"
    network: bool = False
    Options = AudioOptions

    def __init__(
        self, options: AudioOptions, factory: Callable[[str, int | None, int], AudioStream] = open_stream
    ) -> None:
        self.live = options.device is not None
        self.noisy = self.live
        self.lossless = not self.live and not options.realtime
        self.faults = Faults()
        self.values = 0
        self.odd = ""
        self._options = options
        self._factory = factory
        self._closed = threading.Event()
        self._stream: AudioStream | None = None
        self._file: BinaryIO | None = None
        self._form: WavFormat | None = None
        self._left = 0
        self._gap = True
        self._due = 0.0

    def __enter__(self) -> Self:
        options = self._options
        self._closed.clear()
        self._gap, self._due = True, time.monotonic()
        if options.device is None:
            self._open_file(str(options.file))
            if self.odd:
                log.warning("%s", self.odd)
            return self
        self._stream = self._factory(options.device, options.rate, options.channels or 1)
        try:
            self._stream.start()
        except Exception as error:
            self.close()
            raise SourceError(f"{options.device} does not start to record: {error}") from error
        return self

    def read(self) -> Block | None:
        """Return the next block, which is due now if it comes from a file; None at the end of the file.

        Raises `SourceError` if the device fails.
        """
        return self._recorded() if self._stream is None else self._heard(self._stream)

    def check(self) -> None:
        """Check that the file can be used; raises `SourceError`."""
        if self.live:
            return
        self._open_file(str(self._options.file))
        if self._form is not None:
            self.values = self._options.channels or self._form.channels
        self.close()

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Close device and file; may be called twice."""
        self._closed.set()
        stream, file, self._stream, self._file = self._stream, self._file, None, None
        if file is not None:
            file.close()
        if stream is not None:
            stream.close()

    def _heard(self, stream: AudioStream) -> Block:
        rate = float(stream.samplerate)
        try:
            values, lost = stream.read(max(1, round(rate * STRETCH)))
        except Exception as error:  # PortAudio's errors have a class of a package that may not be installed
            raise SourceError(f"cannot record sound from {self._options.device}: {error}") from error
        if lost:
            self.faults.note("sound lost because the reader was too slow")
        gap, self._gap = self._gap or bool(lost), False
        return Block(np.asarray(values, np.float32), rate, time.time(), time.monotonic(), gap)

    def _open_file(self, name: str) -> None:
        try:
            self._file = Path(name).open("rb")  # noqa: SIM115 - close() closes it
        except OSError as error:
            raise SourceError(f"{name} cannot be read: {error.strerror}{remedy_for(error)}") from error
        try:
            form = read_header(self._file, name)
            self._agree(form, name)
        except BaseException:
            self.close()
            raise
        if form.truncated:
            self.odd = f"{name} is truncated: it contains only {form.samples / form.rate:.1f} s of sound"
        self._form, self._left = form, form.samples

    def _agree(self, form: WavFormat, name: str) -> None:
        rate, channels = self._options.rate, self._options.channels
        if rate not in (None, form.rate):
            raise SourceError(f"{name} has {form.rate} Hz, but `rate` is {rate}; remove rate")
        if channels not in (None, 1, form.channels):
            raise SourceError(f"{name} has {form.channels} channels, but `channels` is {channels}; remove channels")

    def _recorded(self) -> Block | None:
        file, form = self._file, self._form
        if file is None or form is None:
            raise SourceError(f"{self._options.file} is not open")
        if not self._left:
            if not self._options.loop:
                return None
            file.seek(form.start)
            self._left, self._gap = form.samples, True
        values = self._decode(file.read(min(self._left, max(1, round(form.rate * STRETCH))) * form.frame), form)
        if not len(values):
            raise SourceError(f"{self._options.file} ended early: another program has shortened it")
        self._left -= len(values)
        if not self._wait(len(values) / form.rate):
            return None
        gap, self._gap = self._gap, False
        return Block(values, float(form.rate), time.time(), time.monotonic(), gap)

    def _decode(self, data: bytes, form: WavFormat) -> Signal:
        """Return the samples, also those that are not finite: the pipelines drop them and mark a gap."""
        values = decode_samples(data, form)
        if self._options.channels == 1 and form.channels > 1:
            with np.errstate(invalid="ignore"):
                values = values.mean(axis=1, keepdims=True, dtype=np.float32)
        if wrong := int(np.count_nonzero(~np.isfinite(values).all(axis=1))):
            self.faults.note("samples that are not finite numbers", wrong)
        return values

    def _wait(self, seconds: float) -> bool:
        """Wait for the playing time of the block; return False if the source is closed in the meantime."""
        if not self._options.realtime:
            return True
        self._due = max(self._due, time.monotonic() - 1.0) + seconds
        return not self._closed.wait(max(0.0, self._due - time.monotonic()))
