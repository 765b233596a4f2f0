"""One end of a ``SOCK_SEQPACKET`` pair that the supervisor made: typed records in, typed records out.

The engine has no ``socket`` module; a channel needs only a file descriptor, ``os.read`` and ``os.write``. Open files
travel with a record by ``SCM_RIGHTS``; receiving them goes through libc, because the engine may not import ``socket``.
A record longer than one packet is split and put together again.
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

from edge_infer.allowance import Allowance
from edge_infer.codec import decode_json, dumps, joined
from edge_infer.errors import WireError

PACKET: Final = 60_000
"""Bytes of one packet; with its bookkeeping it fits the kernel's default socket buffer three times."""
MAX_PACKETS: Final = 64
"""Packets that one call of `Channel.receive` reads: whoever else the caller serves has a turn in between."""
MAX_PLAN_BYTES: Final = 16 << 20
"""Of a record that holds a plan: from the supervisor only."""
MAX_REPORT_BYTES: Final = 2 << 20
"""Of a record to the supervisor. The longest is a `WhyAnswer` of 500 lines of four-byte letters: 1.1 MB."""
MAX_RESULT_BYTES: Final = 1 << 20
"""Of a record from engine to publisher. The longest is a `StateUpdate` before its strings are cut for the wire."""
MAX_STRETCH_BYTES: Final = 5 << 20
"""Of a record with samples: 4 MiB in base64 and what belongs to them."""
MAX_UNFINISHED: Final = 16
UNFINISHED_PER_SECOND: Final = 0.5
"""Records that may be begun and not ended: each time a sender dies in one."""
MAX_NAME_BYTES: Final = 40
"""Of the name of a record's type."""
MOST_FILES: Final = 4
_WHOLE, _FIRST, _MIDDLE, _LAST = (bytes([mark]) for mark in range(4))
"""What a packet is of a record: an end may be inherited from a process that died in the middle of one."""


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
"""Room for so many files and no more: the kernel closes what is beyond."""
_SOL_SOCKET, _SCM_RIGHTS, _MSG_CMSG_CLOEXEC = 1, 1, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmsg.argtypes = (ctypes.c_int, ctypes.POINTER(_Message), ctypes.c_int)
_libc.recvmsg.restype = ctypes.c_ssize_t
_libc.sendmsg.argtypes = (ctypes.c_int, ctypes.POINTER(_Message), ctypes.c_int)
_libc.sendmsg.restype = ctypes.c_ssize_t
_MSG_NOSIGNAL = 0x4000


class _Inbox:
    """Memory for a packet and the files that come with it, made once; mapped, so that only what is used is there."""

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
    """The other end is gone."""


class TooManyFilesError(WireError):
    """Files cannot be sent now: the kernel bounds how many a user has sent and nobody has taken."""


def pack(record: object) -> bytes:
    """The bytes of a record, as `Channel.send_packed` takes them."""
    return b'{"%b":%b}' % (type(record).__name__.encode(), dumps(record))


class Channel:
    """Records of the types in ``accepts`` come out of `receive`; `send` takes any record.

    Not thread-safe: one thread receives, and one (perhaps another) sends. Owns the file descriptor. ``longest`` is the
    most bytes of a record that the other end may send. Open files may come with a record only where ``files`` says so.
    """

    def __init__(self, fd: int, accepts: tuple[Any, ...], longest: int = PACKET, *, files: bool = False) -> None:
        self.fd = fd
        self._takes_files = files
        kinds = (kind for each in accepts for kind in get_args(each) or (each,))
        self._accepts = {kind.__name__.encode(): kind for kind in kinds}
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0  # of the parts together
        self.bytes_received = 0
        self._unfinished = Allowance(MAX_UNFINISHED, UNFINISHED_PER_SECOND)
        self._passed_over: int | None = 0  # bytes of a record whose beginning was not read; None: there can be none
        self._files: deque[int] = deque()
        self._unsent: deque[bytes] = deque()
        self._inbox: _Inbox | None = None  # of one that receives
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)

    def fileno(self) -> int:
        """For select and poll."""
        return self.fd

    def send(self, record: object, files: tuple[int, ...] = ()) -> bool:
        """Sends now or not at all; False when the other end does not keep up. Raises `ChannelClosedError`.

        What was begun is finished first: after a False in the middle of a long record the rest goes out with the
        next call, so records never mix.
        """
        return self.send_packed(pack(record), files)

    def send_packed(self, data: bytes, files: tuple[int, ...] = ()) -> bool:
        """`send` for a record that `pack` has already turned into bytes."""
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
        """Whether something is left of a long record: `flush` when there is room."""
        return bool(self._unsent)

    def flush(self) -> bool:
        """Sends what is left of a long record; True when nothing is left."""
        while self._unsent:
            if not self._write(self._unsent[0], ()):
                return False
            self._unsent.popleft()
        return True

    def receive(self) -> Any | None:
        """The next record, or None when it is not there as a whole yet. Raises `ChannelClosedError`, `WireError`.

        At most `MAX_PACKETS` are read; the rest of the record is read by the next call. Files that came with the
        record before it and that nobody took are closed: they cannot pile up. Of a record that was begun or ended by a
        process that died, nothing comes out.
        """
        if not self._parts:
            self._close_files()
        for _ in range(MAX_PACKETS):
            if (packet := self._read()) is None:
                return None
            if packet[0] == 0 and not self._parts and 1 < len(packet) <= PACKET:  # nearly all are such, and short
                self._passed_over = None
                self.bytes_received += len(packet) - 1
                return self._record(packet[1:])
            if self._is_last(packet[:1], packet[1:]):
                return self._parse()
        return None

    def _is_last(self, mark: bytes, part: bytes) -> bool:
        """Keeps a part; whether it completes a record. A packet that no `send` writes raises `WireError`."""
        self.bytes_received += len(part)
        if mark in (_WHOLE, _FIRST):
            if self._parts and not self._unfinished.take():
                raise self._refused("records that are begun and not ended, again and again")
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
        """The rest of a record that a process before this one began to read, or that was refused."""
        if self._passed_over is None:
            raise self._refused("the rest of a record that was not begun")
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
        """The next record, waiting for it up to ``timeout`` seconds."""
        record = self.receive()
        if record is None and select.select([self.fd], [], [], timeout)[0]:
            record = self.receive()
        return record

    def take_file(self) -> int:
        """The open file that came with the last record; the caller owns it now."""
        if not self._files:
            raise WireError("no open file came with the record")
        return self._files.popleft()

    def close(self) -> None:
        """Closes this end and every file that nobody took; may be called twice."""
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
        """A record as `pack` writes it, without spaces around its type."""
        name, mark, _ = data[2 : MAX_NAME_BYTES + 4].partition(b'":')
        if not (data.startswith(b'{"') and mark and data.endswith(b"}")):
            raise WireError("a record is an object with one key, its type")
        kind = self._accepts.get(name)
        if kind is None:
            raise WireError(f"records of type {name.decode(errors='replace')!r} may not come this way")
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
        """The same without files, at a third of the time; Python ignores SIGPIPE."""
        try:
            os.write(self.fd, packet)
        except (BlockingIOError, InterruptedError):
            return False
        except (BrokenPipeError, ConnectionResetError) as closed:
            raise ChannelClosedError("the other end is gone") from closed
        return True

    def _read(self) -> bytes | None:
        inbox = self._inbox = self._inbox or _Inbox()
        message = inbox.message
        message.control_length = _CONTROL
        size = _libc.recvmsg(self.fd, inbox.pointer, _MSG_CMSG_CLOEXEC)
        if size == 0:
            if self._is_open():  # nothing is read where the other end has gone, and where it has sent nothing
                raise self._refused("an empty packet")
            raise ChannelClosedError("the other end is gone")
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
        """Keeps the files of a record that begins; raises `WireError` for any that no `send` sends."""
        if self._takes_files and not self._parts:
            self._files.extend(files)
            return
        for file in files:
            os.close(file)
        raise self._refused("open files, which may not come this way")

    def _failed(self) -> bool:
        """False when the call only has to be made again later."""
        error = ctypes.get_errno()
        if error in (errno.EAGAIN, errno.EINTR):
            return False
        if error in (errno.EPIPE, errno.ECONNRESET):
            raise ChannelClosedError("the other end is gone")
        if error == errno.ETOOMANYREFS:
            raise TooManyFilesError("more files of this user are on their way between processes than may be")
        raise OSError(error, os.strerror(error))
