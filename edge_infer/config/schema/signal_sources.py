"""Keys that all kinds of sources have, and the keys of sources of samples or text."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from edge_infer.config.schema.broker import HOST, TLS, Tls
from edge_infer.plan.records import Flip, Rotation
from edge_infer.yamlfile.error_text import ProblemAtError, wrong
from edge_infer.yamlfile.fields import PATH, Kind, Path, choice, flag, integer, number, text
from edge_infer.yamlfile.section import Section


class SourceSection(Section):
    """Base of all kinds of sources."""

    pipes: ClassVar[bool] = False
    """Whether ``file`` may also be a named pipe, or ``-`` for standard input."""

    fps: Annotated[float | None, number(0.001, 1000), Field(examples=[15])] = None
    """The most frames (windows, lines) a second into each pipeline; frames in between are skipped, and not counted.
    Without it as many as the source gives."""
    rotate: Annotated[Rotation, choice(0, 90, 180, 270)] = 0
    """Turn every picture clockwise by these degrees; for cameras, clips and pictures only."""
    flip: Annotated[Flip | None, choice("horizontal", "vertical"), Field(examples=["horizontal"])] = None
    """Mirror every picture after its rotation: `horizontal` swaps left and right."""


# The kinds of sources that give samples or text.

COLUMN: Final = text("the name of a column", most=128)


def _columns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 256:
        raise ValueError(wrong("a list of 1 to 256 names such as [x, y, z]", value))
    found: list[str] = []
    for index, item in enumerate(value):
        try:
            name = COLUMN.parse(item)
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
        if name in found:
            raise ProblemAtError((index,), f"{name} is already in this list; name each column once")
        found.append(name)
    return tuple(found)


NAMES: Final = Kind(
    _columns,
    {"type": "array", "minItems": 1, "maxItems": 256, "items": {"type": ["string", "number"]}},
    list,
)
RATE: Final = number(0.0001, 100_000)
Columns = Annotated[tuple[str, ...], NAMES, Field(examples=[["x", "y", "z"]])]


class Audio(SourceSection):
    """A microphone, or a WAV file."""

    one_of: ClassVar[tuple[str, ...]] = ("device", "file")
    kind: Literal["audio"]
    device: Annotated[str | None, text("the name or number of a microphone"), Field(examples=["default"])] = None
    """Name of the microphone, a part of it, or its number; needs the extra `audio`."""
    file: Annotated[str | None, PATH, Field(examples=["alarm.wav"])] = None
    """A `.wav` file instead of a device."""
    rate: Annotated[int | None, integer(1000, 768_000), Field(examples=[16000])] = None
    """Samples a second to ask the device for; without it the device's own. A file must have it."""
    channels: Annotated[int | None, integer(1, 64), Field(examples=[1])] = None
    """Number of channels to record, one without it; `1` mixes all channels of a file into one."""
    loop: Annotated[bool, flag()] = False
    """Begin a file again at its end."""
    realtime: Annotated[bool, flag()] = True
    """`true` plays a file at its pace; `false` goes as fast as it can."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Audio:
        if (self.device is None) == (self.file is None):
            raise ValueError("needs either device (a microphone such as default) or file (a .wav file), and not both")
        for key in ("loop", "realtime"):
            if self.device is not None and key in self.model_fields_set:
                raise ProblemAtError((key,), "belongs to files; a device sets its own pace and has no end")
        return self


class Serial(SourceSection):
    """A sensor at a serial port that sends lines of CSV or JSON, or binary frames."""

    kind: Literal["serial"]
    device: Annotated[
        str, text("the path of a port such as /dev/ttyUSB0", r"/[^\x00-\x1f]+"), Field(examples=["/dev/ttyUSB0"])
    ]
    """The port; names under `/dev/serial/by-id/` stay the same."""
    baud: Annotated[int, integer(50, 4_000_000)] = 115200
    """Bits a second; 8 data bits, no parity, one stop bit."""
    format: Annotated[Literal["csv", "json", "struct"], choice("csv", "json", "struct")] = "csv"
    """`csv` and `json`: a sample a line; `struct`: binary frames."""
    columns: Columns = ()
    """Keys of JSON (`a.b` for nested ones), names in a CSV header, else names of the numbers in their order; without
    it all."""
    rate: Annotated[float | None, RATE, Field(examples=[100])] = None
    """Samples a second that the sensor sends; without it measured from their arrival."""
    layout: Annotated[str | None, text("a layout such as <hhh", most=128), Field(examples=["<hhh"])] = None
    """With `format: struct`: the numbers of a frame after its header, in the notation of Python's `struct`."""
    header: Annotated[str | None, text("hexadecimal digits such as aa55", most=64), Field(examples=["aa55"])] = None
    """With `format: struct`: the bytes that every frame begins with, in hexadecimal digits."""


class Iio(SourceSection):
    """A sensor of the kernel's industrial I/O: acceleration, rotation, light, voltage."""

    kind: Literal["iio"]
    device: Annotated[str, text("the name of a sensor"), Field(examples=["adxl345"])]
    """Content of the sensor's `name` file, or its folder such as `iio:device0`."""
    channels: Annotated[tuple[str, ...], NAMES, Field(examples=[["x", "y", "z"]])]
    """Channels such as `accel_x`, or `x` where only one name ends with it; offset and scale are applied."""
    rate: Annotated[float, number(0.0001, 100_000), Field(examples=[100])]
    """Samples a second to read; without `buffer` at most 10,000."""
    buffer: Annotated[bool, flag()] = False
    """Read the sensor's buffer, in which the kernel gathers samples at the sensor's own pace."""
    trigger: Annotated[str | None, text("the name of a trigger"), Field(examples=["adxl345-dev0"])] = None
    """With `buffer`: the trigger that fills it, for sensors that need one; its name is in `trigger0/name`."""
    root: Annotated[str, text("a folder", most=4096)] = "/sys/bus/iio/devices"
    """Folder of the sensors."""
    dev: Annotated[str, text("a folder", most=4096)] = "/dev"
    """With `buffer`: folder of their character devices."""


class MqttSensor(SourceSection):
    """A sensor that publishes its samples to a broker on this board or network."""

    kind: Literal["mqtt"]
    topic: Annotated[str, text("one topic, without + and #", r"[^\x00-\x1f\x7f+#]+"), Field(examples=["hall/accel"])]
    """The topic; a message is JSON (an object, a list, a number, or a list of these) or lines of CSV."""
    host: Annotated[str, HOST, Field(examples=["broker.lan"])] = "127.0.0.1"
    """Host name or address of the broker."""
    port: Annotated[int | None, integer(1, 65535), Field(examples=[8883])] = None
    """Port of the broker; without it 1883, with `tls` 8883."""
    tls: Annotated[Tls | None, TLS, Field(examples=[True])] = None
    """Encrypt the connection. `true` trusts the certificate authorities of the system. A section names other files,
    as in `mqtt.tls`."""
    username: Annotated[str | None, text("a user name"), Field(examples=["sensors"])] = None
    """User name at the broker."""
    password_file: Annotated[str | None, PATH, Field(examples=["sensors.pass"])] = None
    """File that holds the password and nothing else."""
    columns: Columns = ()
    """Keys of JSON (`a.b` for nested ones), or names of the numbers in their order; without it all."""
    rate: Annotated[float | None, RATE, Field(examples=[10])] = None
    """Samples a second that the sensor sends; without it measured from their arrival."""

    @model_validator(mode="after")
    def _belongs_together(self) -> MqttSensor:
        if self.password_file and self.username is None:
            raise ProblemAtError(("password_file",), "needs username, the user that this password belongs to")
        return self


class Csv(SourceSection):
    """Samples recorded in a CSV file, or written into a pipe."""

    pipes: ClassVar[bool] = True

    kind: Literal["csv"]
    file: Annotated[Path, Field(examples=["vibration.csv"])]
    """The file, a named pipe, or `-` for the standard input of the daemon."""
    rate: Annotated[float, RATE, Field(examples=[100])]
    """Rows a second."""
    columns: Columns = ()
    """Names in the header, else names of the numbers in their order; without it all."""
    loop: Annotated[bool, flag()] = False
    """Begin a file again at its end."""
    realtime: Annotated[bool, flag()] = True
    """`true` plays a file at the pace of `rate`; `false` goes as fast as it can."""


class Lines(SourceSection):
    """Lines of text: of a program that writes into a pipe, or of a file."""

    pipes: ClassVar[bool] = True

    kind: Literal["lines"]
    file: Annotated[Path, Field(examples=["/run/app/messages"])]
    """A named pipe, a file, or `-` for the standard input of the daemon."""


SYSTEM_COLUMNS: Final = ("cpu", "memory", "temperature")


def _system_columns(value: Any) -> tuple[str, ...]:
    found = _columns(value)
    for index, name in enumerate(found):
        try:
            choice(*SYSTEM_COLUMNS).parse(name)
        except ValueError as error:
            raise ProblemAtError((index,), str(error)) from error
    return found


class System(SourceSection):
    """The board itself: load, memory, temperature."""

    kind: Literal["system"]
    columns: Annotated[
        tuple[str, ...],
        Kind(_system_columns, {"type": "array", "minItems": 1, "items": {"enum": list(SYSTEM_COLUMNS)}}, list),
    ] = SYSTEM_COLUMNS
    """`cpu` and `memory` in use as shares of 1, `temperature` of the hottest zone in degrees Celsius."""
    rate: Annotated[float, number(0.0001, 50)] = 1.0
    """Samples a second."""
