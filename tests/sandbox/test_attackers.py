"""An attacker inside each room, behind the walls that the product puts up for a real plan, tries to get out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edge_infer.plan.records import MqttPlan, Plan, SourcePlan
from edge_infer.sandbox.fence import Fence
from edge_infer.sandbox.needs import config_fence, engine_fence, publisher_fence, reader_fence
from tests.sandbox.locked import ROOT, run

ATTACK = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, tempfile, threading
from edge_infer.sandbox import kernel
number = kernel.machine().numbers
parent = os.pidfd_open(os.getppid())
found = {}
def attempt(name, what):
    try:
        what()
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
    else:
        found[name] = "allowed"
def make(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
def twice(path):
    file = os.open(path, os.O_PATH)
    open(f"/proc/self/fd/{file}").read()
def in_thread(what):
    failed = []
    def go():
        try:
            what()
        except OSError as error:
            failed.append(error)
    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
def in_child(path):
    if subprocess.run([sys.executable, "-c", f"open({path!r})"], stderr=subprocess.DEVNULL).returncode:
        raise PermissionError(errno.EACCES, "refused")
"""
READS = {
    "read": "lambda: open({0!r}).read()",
    "read by way of the root of the process": "lambda: open('/proc/self/root' + {0!r}).read()",
    "read after it was named": "lambda: twice({0!r})",
    "read in a new thread": "lambda: in_thread(lambda: open({0!r}).read())",
    "read in a new program": "lambda: in_child({0!r})",
}
OTHERS = {
    "device": "lambda: open(DEVICE, 'rb')",
    "memory of its parent": "lambda: open(f'/proc/{os.getppid()}/mem', 'rb')",
    "files of its parent": "lambda: os.readlink(f'/proc/{os.getppid()}/fd/0')",
    "environment of its parent": "lambda: open(f'/proc/{os.getppid()}/environ').read(1)",
    "signal": "lambda: os.kill(os.getppid(), 0)",
    "ptrace": "lambda: kernel.call(number['ptrace'], 16, os.getppid(), 0, 0)",
    "process_vm_readv": "lambda: kernel.call(number['process_vm_readv'], os.getppid(), 0, 1, 0, 1, 0)",
    "process_vm_writev": "lambda: kernel.call(number['process_vm_writev'], os.getppid(), 0, 1, 0, 1, 0)",
    "pidfd_getfd": "lambda: kernel.call(number['pidfd_getfd'], parent, 0, 0)",
    "io_uring": "lambda: kernel.call(number['io_uring_setup'], 1, 0)",
    "mount": "lambda: kernel._checked(kernel._libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
    "chroot": "lambda: os.chroot('/tmp')",
}
WRITES = {
    "make in /tmp": "lambda: make('/tmp/edge-infer-attack')",
    "make in /dev/shm": "lambda: make('/dev/shm/edge-infer-attack')",
    "make in the store": "lambda: make(STATE + '/blobs/new')",
    "remove a model": "lambda: os.unlink(STATE + '/blobs/model.tflite')",
    "change a model": "lambda: open(STATE + '/blobs/model.tflite', 'r+')",
    "truncate a model": "lambda: os.truncate(STATE + '/blobs/model.tflite', 0)",
    "move a model": "lambda: os.rename(STATE + '/blobs/model.tflite', STATE + '/publisher/model')",
    "link a secret": "lambda: os.link(SECRET, STATE + '/publisher/secret')",
    "write to a device": "lambda: open('/dev/zero', 'wb')",
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A box with a broker behind a password, a clip of its own and a camera on the network."""
    state = tmp_path / "state"
    for folder in ("publisher", "blobs"):
        (state / folder).mkdir(parents=True)
    for path in (
        "state/applied.json",
        "state/blobs/model.tflite",
        "secrets/mqtt.pass",
        "secrets/cam.pass",
        "config.yaml",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("content")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/clip.mp4").write_text("clip")
    camera = {"url": "rtsp://127.0.0.1:8554/cam", "password_file": str(tmp_path / "secrets/cam.pass")}
    sources = (
        SourcePlan("clip", "video", "", False, False, {"file": str(tmp_path / "clips/clip.mp4")}),
        SourcePlan("cam", "rtsp", "", True, True, camera),
    )
    mqtt = MqttPlan("127.0.0.1", 1883, None, "me", str(tmp_path / "secrets/mqtt.pass"), "a/b", 1, "c")
    return Plan("0" * 64, "box", str(state), mqtt, sources, ())


def attacked(room: str, fence: Fence, plan: Plan, attempts: dict[str, str], *, network: bool = False) -> dict[str, str]:
    """What became of each attempt: ``allowed`` or the name of the error."""
    code = _code(plan, attempts)
    found: dict[str, str] = json.loads(run(room, code, network=network, before=ATTACK, fence=fence))
    return found


def unlocked(plan: Plan, attempts: dict[str, str]) -> dict[str, str]:
    """The same in a process without walls."""
    script = f"{ATTACK}\n{_code(plan, attempts)}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _code(plan: Plan, attempts: dict[str, str]) -> str:
    folder = Path(plan.state_dir).parent
    device = next(f"/dev/{name}" for name in ("kmsg", "mem", "tty", "ptmx", "fuse") if Path(f"/dev/{name}").exists())
    names = f"STATE, SECRET, DEVICE = {plan.state_dir!r}, {str(folder / 'secrets/mqtt.pass')!r}, {device!r}\n"
    tries = "".join(f"attempt({name!r}, {what})\n" for name, what in attempts.items())
    return f"{names}{tries}print(json.dumps(found))"


def reads(**paths: str) -> dict[str, str]:
    """Every way to read each of these."""
    return {f"{way} {name}": what.format(path) for name, path in paths.items() for way, what in READS.items()}


def own_reads(**paths: str) -> dict[str, str]:
    """Every way to read each of these that a process has which starts no programs."""
    return {name: what for name, what in reads(**paths).items() if "new program" not in name}


def refused(found: dict[str, str]) -> bool:
    """Whether nothing was allowed, and nothing failed for want of the thing."""
    wrong = {name: text for name, text in found.items() if text not in ("EPERM", "EACCES", "EXDEV")}
    assert wrong == {}
    return True


def test_the_engine_reaches_its_clips_and_nothing_else(plan: Plan) -> None:
    folder = Path(plan.state_dir).parent
    closed = reads(
        secret=str(folder / "secrets/mqtt.pass"),
        config=str(folder / "config.yaml"),
        plan=f"{plan.state_dir}/applied.json",
        passwords="/etc/shadow" if os.geteuid() == 0 else "/etc/passwd",
        hosts="/etc/hosts",
    )
    sockets = {
        f"socket {family}": f"lambda: socket.socket({family}, 2)" for family in (1, 2, 10, 16, 17)
    } | {"socketpair": "socket.socketpair"}  # fmt: skip
    assert refused(attacked("engine", engine_fence(plan), plan, closed | OTHERS | WRITES | sockets))
    store = reads(model=f"{plan.state_dir}/blobs/model.tflite") | {"list": "lambda: os.listdir(STATE + '/blobs')"}
    assert refused(attacked("engine", engine_fence(plan), plan, store))
    assert set(unlocked(plan, store).values()) == {"allowed"}
    open_ = own_reads(clip=str(folder / "clips/clip.mp4"))
    assert set(attacked("engine", engine_fence(plan), plan, open_).values()) == {"allowed"}


def test_the_engine_opens_the_memory_that_it_was_given(plan: Plan) -> None:
    """The runtime takes a path, and there is none on the disk that the engine may read."""
    given = """
from edge_infer.platform import memfd
file = memfd.copied(os.open("/etc/hosts", os.O_RDONLY), "model")[0]
"""
    code = """
attempt("read", lambda: open(memfd.place(file)).read())
attempt("write", lambda: os.write(os.open(memfd.place(file), os.O_RDWR), b"x"))
attempt("change what was given", lambda: os.pwrite(file, b"x", 0))
attempt("make it shorter", lambda: os.ftruncate(file, 0))
print(json.dumps(found))
"""
    found = json.loads(run("engine", code, before=ATTACK + given, fence=engine_fence(plan)))
    assert found == {"read": "allowed"} | dict.fromkeys(["write", "change what was given", "make it shorter"], "EPERM")


def test_the_engine_sees_no_network_even_where_it_could_make_a_socket(plan: Plan) -> None:
    """Behind a filter of the sockets of its own there are no interfaces but a loopback that is down."""
    code = "print(open('/proc/net/dev').read().count(':'), os.path.exists('/proc/net/route'))"
    assert run("engine", code, before="import os", fence=engine_fence(plan)).split()[0] == "1"


def test_the_publisher_reaches_its_folder_and_its_secret_and_no_model(plan: Plan) -> None:
    folder = Path(plan.state_dir).parent
    closed = reads(
        model=f"{plan.state_dir}/blobs/model.tflite",
        camera=str(folder / "secrets/cam.pass"),
        clip=str(folder / "clips/clip.mp4"),
        plan=f"{plan.state_dir}/applied.json",
    )
    assert refused(attacked("publisher", publisher_fence(plan), plan, closed | OTHERS | WRITES))
    open_ = own_reads(secret=str(folder / "secrets/mqtt.pass"), hosts="/etc/hosts")
    open_["write"] = "lambda: make(STATE + '/publisher/outbox')"
    open_["replace"] = "lambda: os.rename(STATE + '/publisher/outbox', STATE + '/publisher/other')"
    open_["socket"] = "lambda: socket.socket().close()"
    assert set(attacked("publisher", publisher_fence(plan), plan, open_).values()) == {"allowed"}


def test_the_publisher_opens_no_device(plan: Plan) -> None:
    """Whatever device files this system has: cameras and microphones are among such."""
    files = [path for path in Path("/dev").iterdir() if not path.is_symlink()]
    devices = [str(path) for path in files if path.is_char_device() or path.is_block_device()]
    harmless = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
    tries = {path: f"lambda: os.close(os.open({path!r}, os.O_RDONLY | os.O_NONBLOCK))" for path in devices}
    found = attacked("publisher", publisher_fence(plan), plan, tries)
    assert {path for path, text in found.items() if text not in ("EACCES", "EPERM")} <= harmless
    assert len(found) > len(harmless)


def test_a_link_in_the_publishers_folder_leads_nowhere(plan: Plan) -> None:
    tries = {
        "make": "lambda: os.symlink(STATE + '/blobs/model.tflite', STATE + '/publisher/another')",
        "follow": "lambda: open(STATE + '/publisher/link').read()",
    }
    Path(plan.state_dir, "publisher/link").symlink_to(Path(plan.state_dir, "blobs/model.tflite"))
    found = attacked("publisher", publisher_fence(plan), plan, tries)
    assert found == {"make": "EPERM", "follow": "EACCES"}


def test_a_reader_of_a_network_camera_reaches_its_port_and_its_secret_alone(plan: Plan) -> None:
    folder = Path(plan.state_dir).parent
    camera = plan.sources[1]
    closed = reads(secret=str(folder / "secrets/mqtt.pass"), model=f"{plan.state_dir}/blobs/model.tflite")
    connect = "lambda: socket.create_connection(('127.0.0.1', {0}), 1)"
    closed |= {f"port {port}": connect.format(port) for port in (22, 80, 1883, 8555)}
    closed["listen"] = "lambda: socket.socket().bind(('127.0.0.1', 8080))"
    assert refused(attacked("reader", reader_fence(camera), plan, closed | OTHERS | WRITES, network=True))
    open_ = own_reads(secret=str(folder / "secrets/cam.pass"))
    assert set(attacked("reader", reader_fence(camera), plan, open_, network=True).values()) == {"allowed"}
    its_own = attacked("reader", reader_fence(camera), plan, {"port": connect.format(8554)}, network=True)
    assert its_own == {"port": "ECONNREFUSED"}


def test_a_reader_of_a_device_reaches_that_device_alone(plan: Plan) -> None:
    camera = SourcePlan("cam", "v4l2", "", True, False, {"device": "/dev/full"})
    tries = {name: f"lambda: open('/dev/{name}', 'r+b', buffering=0)" for name in ("full", "zero", "urandom")}
    found = attacked("reader", reader_fence(camera), plan, tries | reads(clip="/etc/hosts"))
    assert found.pop("full") == "allowed"
    assert refused(found)


def test_the_abstract_sockets_of_others_are_for_readers_alone(plan: Plan) -> None:
    """Sound and camera services listen there; for the publisher it would be a way to whatever else does."""
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"\0edge-infer-{os.getpid()}"
        listener.bind(name)
        listener.listen()
        tries = {"connect": f"lambda: socket.socket(socket.AF_UNIX).connect({name!r})"}
        microphone = SourcePlan("mic", "audio", "", True, False, {"device": "default"})
        assert attacked("reader", reader_fence(microphone), plan, tries) == {"connect": "allowed"}
        for room, fence in (("publisher", publisher_fence(plan)), ("engine", engine_fence(plan))):
            assert attacked(room, fence, plan, tries) == {"connect": "EPERM"}


def test_the_publisher_asks_no_camera_and_no_microphone(plan: Plan) -> None:
    """Not even over a file that somebody has opened for it."""
    requests = {"camera": 0x80685600, "media": 0xC1007C00, "sound": 0x81204101, "control": 0x81785501}
    tries = {name: f"lambda: kernel.call(number['ioctl'], 0, {request}, 0)" for name, request in requests.items()}
    assert attacked("publisher", publisher_fence(plan), plan, tries) == dict.fromkeys(requests, "EPERM")
    others = attacked("reader", reader_fence(plan.sources[1]), plan, tries, network=True)
    assert "EPERM" not in others.values()


def test_a_program_of_the_operator_reads_what_it_wants_and_writes_to_devices_and_temporary_files(plan: Plan) -> None:
    command = SourcePlan("cam", "exec", "", True, False, {"command": ["rpicam-vid"]})
    tries = {
        "read": "lambda: open('/etc/hosts').read()",
        "write": "lambda: make(STATE + '/blobs/new')",
        "model": "lambda: open(STATE + '/blobs/model.tflite', 'r+')",
        "temporary": "lambda: tempfile.TemporaryFile(dir='/dev/shm').close()",
        "network": "lambda: socket.socket(2, 1)",
        "signal": "lambda: os.kill(os.getppid(), 0)",
    }
    outside = Path("/var/lib/edge-infer-attack")  # the folder of this test lies among temporary files
    found = attacked("reader", reader_fence(command), plan, {**tries, "keep": f"lambda: make({str(outside)!r})"})
    allowed = {name for name, text in found.items() if text == "allowed"}
    assert allowed - {"write", "model"} == {"read", "temporary"}
    assert found["keep"] == "EACCES"
    assert found["network"] == "EPERM"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders outside of those for temporary files")
@pytest.mark.parametrize("room", ["reader", "config"])
def test_the_control_socket_is_not_among_temporary_files(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """A program that took its place would answer ``edge-infer check`` and ``reload`` of root."""
    command = SourcePlan("cam", "exec", "", True, False, {"command": ["rpicam-vid"]})
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        sock = Path(folder) / "control.sock"
        own = Path(folder) / "tmp"
        own.mkdir()
        tries = {
            "remove it": f"lambda: os.unlink({str(sock)!r})",
            "take its place": f"lambda: socket.socket(socket.AF_UNIX).bind({str(sock)!r} + '2')",
            "temporary": f"lambda: tempfile.TemporaryFile(dir={str(own)!r}).close()",
        }
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{folder}:{own}")
        for temporary, expected in ((folder, "EACCES"), (own, "allowed"), ("/run", "EACCES")):
            sock.touch()
            monkeypatch.setenv("TMPDIR", str(temporary))
            fence = reader_fence(command) if room == "reader" else config_fence(plan.state_dir)
            found = attacked(room, fence, plan, tries)
            taken = "EPERM" if room == "config" else "EACCES"  # no socket at all
            assert found == {"remove it": "EACCES", "take its place": taken, "temporary": expected}, temporary


def test_a_probe_writes_to_the_store_alone(plan: Plan) -> None:
    fence = Fence(writes=(f"{plan.state_dir}/blobs",), anywhere=True)
    tries = {name: what for name, what in WRITES.items() if "store" not in name and "model" not in name}
    assert refused(attacked("probe", fence, plan, tries | OTHERS))
    assert attacked("probe", fence, plan, {"store": "lambda: make(STATE + '/blobs/new')"}) == {"store": "allowed"}
