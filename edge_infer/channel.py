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
from typing import Any, Final

from edge_infer.codec import decode, dumps, encode, loads
from edge_infer.errors import WireError

PACKET: Final = 60_000
"""Bytes of one packet; with its bookkeeping it fits the kernel's default socket buffer three times."""
LONGEST: Final = 16 << 20
"""A record that is longer is a fault of the sender."""
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
_CONTROL: Final = _CONTROL_HEADER.size + 4 * MOST_FILES + 8
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


def pack(record: object) -> bytes:
    """The bytes of a record, as `Channel.send_packed` takes them."""
    return dumps({type(record).__name__: encode(record)})


class Channel:
    """Records of the types in ``accepts`` come out of `receive`; `send` takes any record.

    Not thread-safe: one thread receives, and one (perhaps another) sends. Owns the file descriptor.
    """

    def __init__(self, fd: int, accepts: tuple[type[Any], ...]) -> None:
        self.fd = fd
        self._accepts = {kind.__name__: kind for kind in accepts}
        self._parts: list[bytes] = []
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
        """The next record, or None when there is none now. Raises `ChannelClosedError`, `WireError`.

        Files that came with the record before it and that nobody took are closed: they cannot pile up. Of a record
        that was begun or ended by a process that died, nothing comes out.
        """
        if not self._parts:
            self._close_files()
        while (packet := self._read()) is not None:
            if packet[:1] in (_WHOLE, _FIRST):
                self._parts.clear()
            elif not self._parts:
                continue
            self._parts.append(packet[1:])
            if sum(map(len, self._parts)) > LONGEST:
                self._parts.clear()
                raise WireError(f"a record of more than {LONGEST} bytes")
            if packet[:1] in (_WHOLE, _LAST):
                data = b"".join(self._parts)
                self._parts.clear()
                return self._parse(data)
        return None

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

    def _parse(self, data: bytes) -> Any:
        value = loads(data)
        if not isinstance(value, dict) or len(value) != 1:
            raise WireError("a record is an object with one key, its type")
        ((name, body),) = value.items()
        kind = self._accepts.get(name)
        if kind is None:
            raise WireError(f"records of type {name!r} may not come this way")
        return decode(kind, body)

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
            raise ChannelClosedError("the other end is gone")
        if size < 0:
            self._failed()
            return None
        if message.control_length >= _CONTROL_HEADER.size:
            length, level, kind = _CONTROL_HEADER.unpack_from(inbox.control)
            if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
                count = (length - _CONTROL_HEADER.size) // 4
                self._files.extend(struct.unpack_from(f"@{count}i", inbox.control, _CONTROL_HEADER.size))
        return ctypes.string_at(inbox.packet, size)

    def _failed(self) -> bool:
        """False when the call only has to be made again later."""
        error = ctypes.get_errno()
        if error in (errno.EAGAIN, errno.EINTR):
            return False
        if error in (errno.EPIPE, errno.ECONNRESET):
            raise ChannelClosedError("the other end is gone")
        raise OSError(error, os.strerror(error))
