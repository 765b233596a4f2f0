"""The process that receives the results of a benchmark, in place of the publisher."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Acked
from edge_infer.platform.child_process import own_module


@contextmanager
def taker() -> Iterator[Channel]:
    """Yield the engine's end of a channel. The process at the other end receives all messages."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.fileno()
    process = subprocess.Popen(
        own_module("edge_infer.bench.receiver_main", str(number)), pass_fds=(number,), cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,  # root's terminal must not be open to the user that root became
    )  # fmt: skip
    theirs.close()
    channel = Channel(ours.detach(), (Acked,))
    try:
        yield channel
    finally:
        channel.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
