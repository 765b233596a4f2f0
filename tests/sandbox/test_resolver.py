"""The process that resolves the broker's name: it does that, for this name alone, and ends with the publisher."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_infer.publisher.resolver import MAX_ADDRESSES, Resolver, ResolverEndedError
from tests.broker import Broker, eventually
from tests.running import Daemon, alive, config
from tests.sandbox.locked import ROOT, run

NAME_SERVER = """
import socket, struct, threading
def serve():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        data, asker = server.recvfrom(512)
        end = data.index(b"\\0", 12) + 5
        kind = struct.unpack(">H", data[end - 4:end - 2])[0]
        record = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 7])
        known = data[12:].startswith(b"\\x06broker\\x04test\\0")
        answer = record if known and kind == 1 else b""
        head = data[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, bool(answer), 0, 0)
        server.sendto(head + data[12:end] + answer, asker)
threading.Thread(target=serve, daemon=True).start()
"""
LOOK_UP = """
import json, os, sys
from edge_infer.publisher.resolver import start
from edge_infer.sandbox import Fence, lock
resolver = start(("broker.test", "absent.test"))
walls = lock("publisher", fence=Fence(ports=(1883,)))
found = {}
for name in ("broker.test", "absent.test", "127.0.0.1"):
    try:
        found[name] = list(resolver(name))
    except OSError as error:
        found[name] = type(error).__name__
import socket
try:
    found["publisher itself"] = socket.getaddrinfo("broker.test", 1)
except OSError as error:
    found["publisher itself"] = type(error).__name__
print(json.dumps(found))
"""


def test_it_asks_the_name_server_and_the_publisher_does_not(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a process name servers of its own")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    script = "ip link set lo up && " + " && ".join(
        f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf")
    )
    server = [sys.executable, "-c", f"{NAME_SERVER}\nimport time; print('ready', flush=True); time.sleep(60)"]
    words = f'{script} && exec "$@"'
    code = (
        f"import subprocess\nserver = subprocess.Popen({server!r}, stdout=subprocess.PIPE)\nserver.stdout.readline()\n"
        f"try:\n    subprocess.run([{sys.executable!r}, '-c', {LOOK_UP!r}], check=True)\nfinally:\n    server.kill()\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", words, "sh", sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "broker.test": ["192.0.2.7"],
        "absent.test": "gaierror",
        "127.0.0.1": ["127.0.0.1"],
        "publisher itself": "gaierror",
    }


def answered(answer: bytes) -> Sequence[str]:
    """What the publisher takes from an answer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(answer)
    with ours, theirs:
        return Resolver(("broker.test",), ours)("broker.test")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"{}", b"[]", b"\xff", b"1", b'{"number": 1}', b'{"number": 1, "addresses": 5}', b"[" * 4000,
        b'{"number": 1, "addresses": ["http://192.0.2.7"]}', b'{"number": 1, "addresses": [{"a": 1}]}',
        b'{"number": 1, "errno": "x", "text": "y"}', b'{"number": [], "errno": 1, "text": "y"}',
    ],
)  # fmt: skip
def test_an_answer_that_it_does_not_send_ends_the_publisher(answer: bytes) -> None:
    with pytest.raises(ResolverEndedError):
        answered(answer)


def test_addresses_are_all_that_an_answer_carries() -> None:
    many = ", ".join(f'"192.0.2.{number}"' for number in range(50))
    assert len(answered(f'{{"number": 1, "addresses": [{many}]}}'.encode())) == MAX_ADDRESSES
    with pytest.raises(socket.gaierror) as caught:
        answered(b'{"number": 1, "gaierror": -2, "text": "' + b"x" * 900 + b'"}')
    assert len(str(caught.value.strerror)) == 200


def test_it_answers_one_question_a_second() -> None:
    """A publisher that asks without end is no flood for the name servers."""
    code = """
import time
from edge_infer.publisher.resolver import EVERY, start
resolver = start(("localhost",))
resolver("localhost")
begun = time.monotonic()
for _ in range(2):
    resolver("localhost")
print(time.monotonic() - begun >= 2 * EVERY - 0.1)
"""
    assert run("", code) == "True"


def test_an_answer_to_a_question_that_was_given_up_is_left_out() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        resolver = Resolver(("broker.test",), ours)
        theirs.send(b'{"number": 0, "addresses": ["192.0.2.1"]}')
        theirs.send(b'{"number": 1, "addresses": ["192.0.2.2"]}')
        assert list(resolver("broker.test")) == ["192.0.2.2"]


def _resolver_of(publisher: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{publisher}/task/{publisher}/children").read_text().split()]


def test_a_broker_with_a_name_is_reached_through_it_and_both_end_together(tmp_path: Path) -> None:
    """The name of this machine is in /etc/hosts, or known to no name server: then the attempt fails in a sentence."""
    name = f"{socket.gethostname()}."
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving(60.0)
        publisher = daemon.pids()["publisher"]
        assert _resolver_of(publisher) == []  # an address needs none
        text = daemon.config.read_text()
        assert "127.0.0.1" in text
        daemon.config.write_text(text.replace("127.0.0.1", name))
        eventually(lambda: _named(daemon, publisher), "another publisher with a resolver", 60.0)
        publisher = daemon.pids()["publisher"]
        [resolver] = _resolver_of(publisher)
        eventually(lambda: "Seccomp:\t2\n" in Path(f"/proc/{resolver}/status").read_text(), "its filter", 30.0)
        os.kill(resolver, 9)  # the publisher starts again, with another one
        eventually(lambda: _named(daemon, publisher), "a publisher after that", 90.0)
        os.kill(daemon.pids()["publisher"], 9)
        eventually(lambda: not Path(f"/proc/{resolver}").exists(), "the end of the resolver", 30.0)


def _named(daemon: Daemon, before: int) -> bool:
    publisher = daemon.pids().get("publisher")
    return publisher not in (None, before) and bool(publisher) and len(_resolver_of(publisher or 0)) == 1


OUTLIVES = """
import os, threading, time
from edge_infer.publisher import resolver
from edge_infer.sandbox import kernel
def refuse(host):
    try:
        kernel.prctl(1, 0)  # PR_SET_PDEATHSIG
    except OSError:
        pass
    os.write(1, b"alive\\n")
    time.sleep(60)
%s
look_up = resolver.start(("broker.test",))
with open(f"/proc/self/task/{os.getpid()}/children") as children:
    print(children.read(), flush=True)
threading.Thread(target=look_up, args=("broker.test",), daemon=True).start()
time.sleep(60)
"""


@pytest.mark.parametrize("compromised", [False, True])
def test_it_outlives_no_publisher(*, compromised: bool) -> None:
    code = OUTLIVES % ("resolver.addresses_of = refuse" if compromised else "")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        resolver = int(publisher.stdout.readline())
        try:
            assert not compromised or publisher.stdout.readline() == "alive\n"
            publisher.kill()
            eventually(lambda: not alive(resolver), "the end of the resolver", 30.0)
        finally:
            if alive(resolver):
                os.kill(resolver, 9)


@pytest.mark.parametrize("call", ["fork", "execve"])
def test_the_publisher_cannot_start_another_one(call: str) -> None:
    attempt = {"fork": "os.fork()", "execve": "os.execv('/bin/true', ['true'])"}[call]
    code = f"import os\ntry:\n    {attempt}\nexcept OSError as error:\n    print(error.errno)"
    assert run("publisher", code) == "1"
