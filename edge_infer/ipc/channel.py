"""Sends and receives typed records over one end of a ``SOCK_SEQPACKET`` pair that the supervisor created.

The engine may not import ``socket``. A channel needs only a file descriptor, ``os.read`` and ``os.write``. A record can
carry open files by ``SCM_RIGHTS``, for which the channel calls libc. A record longer than one packet is split and
reassembled.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import struct
from collections import deque
from typing import Any, Final, get_args

from edge_infer.contract.codec import decode_json, dumps, joined
from edge_infer.errors import WireError
from edge_infer.platform.event_loop import readable
from edge_infer.platform.rate_limits import TokenBucket

PACKET: Final = 60_000
"""Maximum bytes of one packet. Three packets with their overhead fit into the kernel's default socket buffer."""
MAX_PACKETS: Final = 64
"""Maximum number of packets that one call of `Channel.receive` reads, so that the caller can serve its other
channels."""
MAX_PLAN_BYTES: Final = 16 << 20
"""Maximum bytes of a record with a plan; only the supervisor sends such records."""
MAX_REPORT_BYTES: Final = 2 << 20
"""Maximum bytes of a record to the supervisor. The longest is a `WhyAnswer` of 500 lines of four-byte characters: 1.1
MB."""
MAX_RESULT_BYTES: Final = 1 << 20
"""Maximum bytes of a record from the engine to the publisher. The longest is a `StateSnapshot` before its strings are
shortened."""
MAX_STRETCH_BYTES: Final = 5 << 20
"""Maximum bytes of a record with samples: 4 MiB in base64, and the other fields."""
MAX_UNFINISHED: Final = 16
UNFINISHED_PER_SECOND: Final = 0.5
"""Incomplete records per second that are tolerated (burst: `MAX_UNFINISHED`). A sender that dies in the middle of a
record leaves one incomplete record."""
MAX_NAME_BYTES: Final = 40
"""Maximum bytes of the name of a record's type."""
MOST_FILES: Final = 4
_WHOLE, _FIRST, _MIDDLE, _LAST = (bytes([mark]) for mark in range(4))
"""Position of a packet in its record. Packets are marked because this end may be inherited from a process that died in
the middle of a record."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):  # struct msghdr of Linux, all architectures of glibc and musl on little-endian boards
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


_CONTROL_HEADER: Final = struct.Struct("@Nii")  # length, level, type
_CONTROL: Final = _CONTROL_HEADER.size + 4 * MOST_FILES
"""Size for exactly `MOST_FILES` files; the kernel closes further files."""
_SOL_SOCKET, _SCM_RIGHTS, _MSG_CMSG_CLOEXEC = 1, 1, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmsg.argtypes = (ctypes.c_int, ctypes.POINTER(_Message), ctypes.c_int)
_libc.recvmsg.restype = ctypes.c_ssize_t
_libc.sendmsg.argtypes = (ctypes.c_int, ctypes.POINTER(_Message), ctypes.c_int)
_libc.sendmsg.restype = ctypes.c_ssize_t
_MSG_NOSIGNAL = 0x4000


class _Inbox:
    """Receive buffer for one packet and its files, allocated once.

    The packet buffer is mapped memory, so only the pages in use take memory.
    """

    def __init__(self) -> None:
        self.packet = (ctypes.c_char * (PACKET + 64)).from_buffer(mmap.mmap(-1, PACKET + 64))
        self.control = ctypes.create_string_buffer(_CONTROL)
        self.message = _Message(
            vectors=ctypes.pointer(_Vector(ctypes.addressof(self.packet), len(self.packet))),
            vector_count=1,
            control=ctypes.addressof(self.control),
        )
        self.pointer = ctypes.pointer(self.message)


class ChannelClosedError(WireError):
    """The process at the other end closed the channel."""


class TooManyFilesError(WireError):
    """Files cannot be sent now, because the kernel limits how many sent files of a user may wait to be received."""


def pack(record: object) -> bytes:
    """Return the bytes of a record, in the form that `Channel.send_packed` takes."""
    return _packed(record, dumps(record))


def pack_checked(record: object) -> bytes:
    """Return the bytes of a record, as `pack` does; raises `WireError` if the record does not fit its own schema.

    The receiver would treat such a record as an attack, and the supervisor would kill the sender. So a process checks
    the records that contain numbers or texts of a model, a source or a plug-in.
    """
    body = dumps(record)
    decode_json(type(record), body)
    return _packed(record, body)


def _packed(record: object, body: bytes) -> bytes:
    return b'{"%b":%b}' % (type(record).__name__.encode(), body)


class Channel:
    """One end of a channel: `receive` returns records of the types in ``accepts``; `send` takes any record.

    A channel is not thread-safe: only one thread may receive, and only one thread, possibly a different one, may send.
    The channel owns the file descriptor. ``longest`` limits the bytes of a received record. The other end may attach
    open files only if ``files`` is true.
    """

    def __init__(self, fd: int, accepts: tuple[Any, ...], longest: int = PACKET, *, files: bool = False) -> None:
        self.fd = fd
        self._takes_files = files
        kinds = (kind for each in accepts for kind in get_args(each) or (each,))
        self._accepts = {kind.__name__.encode(): kind for kind in kinds}
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0  # total size of the parts
        self.bytes_received = 0
        self._unfinished = TokenBucket(MAX_UNFINISHED, UNFINISHED_PER_SECOND)
        self._passed_over: int | None = 0  # skipped bytes of a record without its start; None: no skipping
        self._files: deque[int] = deque()
        self._unsent: deque[bytes] = deque()
        self._inbox: _Inbox | None = None  # allocated by the first `receive`
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)

    def fileno(self) -> int:
        """Return the file descriptor, for select and poll."""
        return self.fd

    def send(self, record: object, files: tuple[int, ...] = ()) -> bool:
        """Send the record now or not at all; return False if the receiver is too slow. Raises `ChannelClosedError`.

        The rest of an earlier long record is sent first. If the socket buffer is full in the middle of a long record,
        the next calls send the rest, so records never mix.
        """
        return self.send_packed(pack(record), files)

    def send_packed(self, data: bytes, files: tuple[int, ...] = ()) -> bool:
        """Send a record that `pack` has already turned into bytes; otherwise the same as `send`."""
        if not self.flush():
            return False
        if len(data) <= PACKET:
            return self._write(_WHOLE + data, files)
        parts = [data[start : start + PACKET] for start in range(0, len(data), PACKET)]
        marks = [_FIRST, *[_MIDDLE] * (len(parts) - 2), _LAST]
        packets = [mark + part for mark, part in zip(marks, parts, strict=True)]
        if not self._write(packets[0], files):
            return False
        self._unsent.extend(packets[1:])
        self.flush()
        return True

    @property
    def unsent(self) -> bool:
        """Return whether a part of a long record is still unsent. If so, call `flush` when the socket is writable."""
        return bool(self._unsent)

    def flush(self) -> bool:
        """Send the rest of a long record; return True when nothing is left."""
        while self._unsent:
            if not self._write(self._unsent[0], ()):
                return False
            self._unsent.popleft()
        return True

    def receive(self) -> Any | None:
        """Return the next record, or None until it has arrived completely. Raises `ChannelClosedError`, `WireError`.

        One call reads at most `MAX_PACKETS` packets; the next call continues the record. Files of the previous record
        that the caller did not take are closed, so they cannot pile up. A record that is incomplete because its sender
        died is dropped.
        """
        if not self._parts:
            self._close_files()
        for _ in range(MAX_PACKETS):
            if (packet := self._read()) is None:
                return None
            if packet[0] == 0 and not self._parts and 1 < len(packet) <= PACKET:  # nearly always one short packet
                self._passed_over = None
                self.bytes_received += len(packet) - 1
                return self._record(packet[1:])
            if self._is_last(packet[:1], packet[1:]):
                return self._parse()
        return None

    def _is_last(self, mark: bytes, part: bytes) -> bool:
        """Store a part; return whether it completes a record.

        Raises `WireError` for packets that `send` never produces.
        """
        self.bytes_received += len(part)
        if mark in (_WHOLE, _FIRST):
            if self._parts and not self._unfinished.take():
                raise self._refused("too many incomplete records")
            self._forget_parts()
            self._passed_over = None
        last = mark in (_WHOLE, _LAST)
        if (
            mark not in (_WHOLE, _FIRST, _MIDDLE, _LAST)
            or not part
            or len(part) > PACKET
            or not (last or len(part) == PACKET)
        ):
            raise self._refused(f"a packet of {len(part)} bytes, where all but the last of a record have {PACKET}")
        if mark in (_MIDDLE, _LAST) and not self._parts:
            self._pass_over(len(part), last=last)
            return False
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._longest:
            raise self._refused(f"a record of more than {self._longest} bytes")
        return last

    def _pass_over(self, size: int, *, last: bool) -> None:
        """Skip the rest of a record that was refused, or that an earlier process has begun to read."""
        if self._passed_over is None:
            raise self._refused("the rest of a record without a beginning")
        self._passed_over += size
        if self._passed_over > self._longest:
            raise self._refused(f"a record of more than {self._longest} bytes")
        if last:
            self._passed_over = None

    def _refused(self, why: str) -> WireError:
        self._forget_parts()
        self._passed_over = 0
        return WireError(why)

    def _forget_parts(self) -> None:
        self._parts.clear()
        self._size = 0

    def wait(self, timeout: float) -> Any | None:
        """Return the next record; wait up to ``timeout`` seconds for it. Return None if it has not arrived by then."""
        record = self.receive()
        if record is None and readable([self.fd], timeout=timeout):
            record = self.receive()
        return record

    def take_file(self) -> int:
        """Return an open file of the last record; the caller then owns it. Raises `WireError` if there is none."""
        if not self._files:
            raise WireError("no open file came with the record")
        return self._files.popleft()

    def close(self) -> None:
        """Close this end and every file that was not taken; may be called twice."""
        self._close_files()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.popleft())

    def _parse(self) -> Any:
        parts, self._parts = self._parts, []
        self._forget_parts()
        return self._record(joined(parts))

    def _record(self, data: bytes) -> Any:
        """Decode a record. Only the exact form that `pack` writes is accepted: no spaces before or after the type."""
        name, mark, _ = data[2 : MAX_NAME_BYTES + 4].partition(b'":')
        if not (data.startswith(b'{"') and mark and data.endswith(b"}")):
            raise WireError("a record must be an object with one key, its type")
        kind = self._accepts.get(name)
        if kind is None:
            raise WireError(f"records of type {name.decode(errors='replace')!r} are not allowed on this channel")
        return decode_json(kind, memoryview(data)[len(name) + 4 : -1])

    def _write(self, packet: bytes, files: tuple[int, ...]) -> bool:
        if not files:
            return self._write_bytes(packet)
        buffer = ctypes.create_string_buffer(packet, len(packet))
        message = _Message(vectors=ctypes.pointer(_Vector(ctypes.addressof(buffer), len(packet))), vector_count=1)
        if files:
            rights = struct.pack(f"@{len(files)}i", *files)
            control = _CONTROL_HEADER.pack(_CONTROL_HEADER.size + len(rights), _SOL_SOCKET, _SCM_RIGHTS) + rights
            control_buffer = ctypes.create_string_buffer(control, len(control))
            message.control, message.control_length = ctypes.addressof(control_buffer), len(control)
        if _libc.sendmsg(self.fd, ctypes.byref(message), _MSG_NOSIGNAL) >= 0:
            return True
        return self._failed()

    def _write_bytes(self, packet: bytes) -> bool:
        """Write a packet without files, in a third of the time that a packet with files takes.

        Python ignores SIGPIPE.
        """
        try:
            os.write(self.fd, packet)
        except (BlockingIOError, InterruptedError):
            return False
        except (BrokenPipeError, ConnectionResetError) as closed:
            raise ChannelClosedError("the other end has closed the channel") from closed
        return True

    def _read(self) -> bytes | None:
        inbox = self._inbox = self._inbox or _Inbox()
        message = inbox.message
        message.control_length = _CONTROL
        size = _libc.recvmsg(self.fd, inbox.pointer, _MSG_CMSG_CLOEXEC)
        if size == 0:
            if self._is_open():  # size 0: the other end is closed, or the packet is empty
                raise self._refused("an empty packet")
            raise ChannelClosedError("the other end has closed the channel")
        if size < 0:
            self._failed()
            return None
        if message.control_length >= _CONTROL_HEADER.size:
            length, level, kind = _CONTROL_HEADER.unpack_from(inbox.control)
            if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
                count = (length - _CONTROL_HEADER.size) // 4
                self._take(struct.unpack_from(f"@{count}i", inbox.control, _CONTROL_HEADER.size))
        return ctypes.string_at(inbox.packet, size)

    def _is_open(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLRDHUP)
        return not poll.poll(0)

    def _take(self, files: tuple[int, ...]) -> None:
        """Keep the files of a record's first packet; raises `WireError` for files that `send` never sends."""
        if self._takes_files and not self._parts:
            self._files.extend(files)
            return
        for file in files:
            os.close(file)
        raise self._refused("open files, which are not allowed on this channel")

    def _failed(self) -> bool:
        """Return False if the call can be repeated later; otherwise raise the error of the last libc call."""
        error = ctypes.get_errno()
        if error in (errno.EAGAIN, errno.EINTR):
            return False
        if error in (errno.EPIPE, errno.ECONNRESET):
            raise ChannelClosedError("the other end has closed the channel")
        if error == errno.ETOOMANYREFS:
            raise TooManyFilesError(
                "too many files of this user are in flight between processes: a program of `kind: exec` or a plug-in "
                "may hold them"
            )
        raise OSError(error, os.strerror(error))
