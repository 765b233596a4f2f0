"""Each room, locked for real in a process of its own, tries what it must not and what it has to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.sandbox import Fence
from edge_infer.sandbox.system_paths import network
from tests.sandbox.locked import ATTEMPT, ROOT, run

ROOMS = ("engine", "probe", "reader", "publisher", "config")
FORBIDDEN_TO_ALL = {
    "ptrace": "kernel.call(number['ptrace'], 16, 1, 0, 0)",
    "process_vm_readv": "kernel.call(number['process_vm_readv'], 1, 0, 1, 0, 1, 0)",
    "process_vm_writev": "kernel.call(number['process_vm_writev'], 1, 0, 1, 0, 1, 0)",
    "pidfd_getfd": "kernel.call(number['pidfd_getfd'], parent, 0, 0)",
    "io_uring_setup": "kernel.call(number['io_uring_setup'], 1, 0)",
}
ANYWHERE = Fence(anywhere=True)
CALLS = ATTEMPT + "import os\nfrom edge_infer.sandbox import kernel\nnumber = kernel.machine().numbers\n"


@pytest.mark.parametrize("room", ROOMS)
def test_every_wall_of_every_room_holds_here(room: str) -> None:
    walls = run(room, "print(*(f'{wall}: {text}' for wall, text in walls.items()), sep='\\n')").splitlines()
    lacking = [wall for wall in walls if not wall.endswith(": enforced")]
    assert lacking == []
    assert f"{'no_camera' if room == 'publisher' else 'no_network'}: enforced" in walls


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("call", FORBIDDEN_TO_ALL)
def test_no_room_may_look_into_other_processes(room: str, call: str) -> None:
    before = "import os\nparent = os.pidfd_open(os.getppid())"
    assert run(room, f"{CALLS}attempt(lambda: {FORBIDDEN_TO_ALL[call]})", before=before) == "EPERM"


FAMILIES = ("AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6", "AF_PACKET", "AF_VSOCK")


@pytest.mark.parametrize(
    ("room", "network", "fence", "allowed"),
    [
        ("engine", False, Fence(), ()),
        ("probe", False, ANYWHERE, ()),
        ("reader", False, Fence(), ()),
        ("reader", False, Fence(unix="sound"), ("AF_UNIX",)),
        ("reader", False, Fence(anywhere=True, unix="programs"), ("AF_UNIX", "AF_NETLINK")),
        ("reader", True, Fence(), ("AF_INET", "AF_INET6")),
        ("reader", True, Fence(unix="names"), ("AF_UNIX", "AF_INET", "AF_INET6")),
        ("reader", True, Fence(anywhere=True, unix="programs"), ("AF_UNIX", "AF_NETLINK", "AF_INET", "AF_INET6")),
        ("config", False, ANYWHERE, ("pair",)),
        ("publisher", False, Fence(), ("AF_INET", "AF_INET6")),
        ("publisher", False, Fence(unix="names"), ("AF_UNIX", "AF_INET", "AF_INET6")),
    ],
)
def test_sockets_are_for_those_who_need_them(room: str, network: bool, fence: Fence, allowed: tuple[str, ...]) -> None:
    code = ATTEMPT + (
        "import socket\n"
        f"for family in {FAMILIES}:\n"
        "    for kind in ('SOCK_STREAM', 'SOCK_DGRAM', 'SOCK_SEQPACKET'):\n"
        "        print(family, kind, end=' ')\n"
        "        attempt(lambda: socket.socket(getattr(socket, family), getattr(socket, kind)).close())\n"
        "for kind in ('SOCK_STREAM', 'SOCK_DGRAM', 'SOCK_SEQPACKET'):\n"
        "    print('pair', kind, end=' ')\n"
        "    attempt(lambda: socket.socketpair(socket.AF_UNIX, getattr(socket, kind)))\n"
        "print('walls', 'no_unix_sockets', walls['no_unix_sockets'])"
    )
    lines = run(room, code, network=network, before="import socket", fence=fence).splitlines()
    answers = {(family, kind): text for family, kind, text in (line.split(" ", 2) for line in lines)}
    for family in FAMILIES:
        kind = "SOCK_DGRAM" if family == "AF_NETLINK" else "SOCK_STREAM"
        if family == "AF_INET6" and family in allowed and answers[family, kind] == "EAFNOSUPPORT":
            continue  # a kernel without IPv6
        assert answers[family, kind] == ("allowed" if family in allowed else "EPERM"), family
        if family not in allowed:
            assert {text for (name, _), text in answers.items() if name == family} == {"EPERM"}
    pairs = {text for (name, _), text in answers.items() if name == "pair"}
    if "pair" in allowed:  # to its children
        assert answers.pop(("pair", "SOCK_STREAM")) == "allowed"
        pairs = {text for (name, _), text in answers.items() if name == "pair"}
    assert pairs == ({"allowed"} if "AF_UNIX" in allowed else {"EPERM"})
    assert answers["walls", "no_unix_sockets"].startswith("not enforced: " if "AF_UNIX" in allowed else "enforced")


def test_every_socket_can_be_made_in_a_process_that_is_not_locked() -> None:
    code = "import socket\nfor family in (1, 2, 16, 17):\n    socket.socket(family, socket.SOCK_DGRAM).close()\n"
    assert run("", f"{code}socket.socketpair()\nprint('made')") == "made"


def test_hosts_are_found_without_unix_sockets_and_netlink() -> None:
    """Addresses, and names that are in a file; for the rest of them see `names`."""
    code = (
        "import socket\n"
        "for name in ('127.0.0.1', '::1', 'localhost'):\n"
        "    for flags in (0, socket.AI_ADDRCONFIG):\n"
        "        print(socket.getaddrinfo(name, 1883, type=socket.SOCK_STREAM, flags=flags)[0][4][0])\n"
    )
    found = run("publisher", code, fence=Fence(reads=network())).split()
    assert found[:4] == ["127.0.0.1", "127.0.0.1", "::1", "::1"]
    assert set(found[4:]) <= {"127.0.0.1", "::1"}


def test_the_engine_cannot_use_a_socket_that_it_had_before_to_reach_out() -> None:
    before = "import socket\nmade = socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    code = ATTEMPT + "attempt(lambda: made.connect(('127.0.0.1', 9)))\nattempt(lambda: made.bind(('127.0.0.1', 0)))"
    assert run("engine", code, before=before).split() == ["EPERM", "EPERM"]


def test_inherited_channels_go_on_working_with_files() -> None:
    before = (
        "import os, socket\n"
        "here, there = (end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))\n"
        "from edge_infer.ipc.channel import Channel\n"
        "from edge_infer.ipc.messages import AttachReader\n"
        "one = Channel(here, (AttachReader,))\n"
        "read, write = os.pipe()\n"
        "os.write(write, b'frame')\n"
        "assert one.send(AttachReader('door'), (read,))\n"
    )
    code = (
        "other = Channel(there, (AttachReader,), files=True)\n"
        "print(other.wait(5).source, os.read(other.take_file(), 9).decode())\n"
    )
    assert run("engine", code, before=before) == "door frame"


def test_the_filter_holds_for_threads_that_ran_before_it() -> None:
    before = (
        "import queue, socket, threading\n"
        "work, done = queue.Queue(), queue.Queue()\n"
        "def loop():\n"
        "    while (task := work.get()) is not None:\n"
        "        try:\n"
        "            task().close()\n"
        "            done.put('allowed')\n"
        "        except OSError as error:\n"
        "            done.put(str(error.errno))\n"
        "threads = [threading.Thread(target=loop) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "for _ in threads: work.put(socket.socket)\n"
        "print(*(done.get(timeout=10) for _ in threads))\n"
    )
    code = (
        "for _ in threads: work.put(socket.socket)\n"
        "print(*(done.get(timeout=10) for _ in threads))\n"
        "for _ in threads: work.put(None)\n"
    )
    assert run("engine", code, before=before).splitlines() == ["allowed allowed allowed", "1 1 1"]


def test_children_stay_locked_in() -> None:
    code = (
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-c', 'import socket; socket.socket(socket.AF_INET)'],"
        " capture_output=True, text=True).stderr.strip().splitlines()[-1])\n"
    )
    assert run("reader", code, fence=Fence(anywhere=True, unix="programs")).startswith("PermissionError")


def test_the_publisher_cannot_ask_a_camera_but_other_ioctls_work() -> None:
    code = CALLS + (
        "import fcntl, array\n"
        "read, write = os.pipe()\n"
        "os.write(write, b'abc')\n"
        "waiting = array.array('i', [0])\n"
        "fcntl.ioctl(read, 0x541B, waiting)\n"  # FIONREAD
        "print(waiting[0])\n"
        "for request in (0x80685600, 0xC0585609, 0x40045612):\n"  # QUERYCAP, QUERYBUF, STREAMON
        "    attempt(lambda: kernel.call(number['ioctl'], read, request, 0))\n"
    )
    assert run("publisher", code).split() == ["3", "EPERM", "EPERM", "EPERM"]
    assert run("reader", CALLS + "attempt(lambda: kernel.call(number['ioctl'], 0, 0x80685600, 0))") != "EPERM"


def test_root_keeps_no_capability() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to drop")
    code = "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')))"
    assert {int(value, 16) for value in run("engine", code).split()} == {0}


def test_a_process_of_root_reads_nothing_in_the_private_folder_of_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to drop")
    private = tmp_path / "state"
    private.mkdir(mode=0o700)
    (private / "model.tflite").write_text("model")
    os.chown(private, 65534, 65534)
    code = ATTEMPT + f"attempt(lambda: open({str(private / 'model.tflite')!r}))"
    assert run("", code) == "allowed"
    assert {run(room, code, fence=ANYWHERE) for room in ("probe", "engine")} == {"EACCES"}


def test_root_keeps_reading_where_the_program_lies_in_a_private_home(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to drop")
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    (private / "later.py").write_text("print('imported')\n")
    os.chown(private, 65534, 65534)
    code = (
        "print(walls['no_capabilities'])\nimport later\nimport subprocess, sys\nprint(open('/proc/self/status').read())"
    )
    told, imported, *status = run("engine", code, before=f"import sys\nsys.path.append({str(private)!r})").splitlines()
    assert told == "enforced but for CAP_DAC_READ_SEARCH"
    assert imported == "imported"
    sets = {line.split()[0]: int(line.split()[1], 16) for line in status if line.startswith("Cap")}
    assert sets == {"CapInh:": 0, "CapPrm:": 4, "CapEff:": 4, "CapBnd:": 4, "CapAmb:": 0}


@pytest.fixture(scope="module")
def ordinary() -> Iterator[tuple[list[str], Path]]:
    """The start of a command that runs Python as an ordinary user, and a folder where this user can import us."""
    # The Python of the tests may lie in root's private home; the lock needs nothing but the standard library.
    python = [shutil.which("python3", path="/usr/bin") or os.path.realpath(sys.executable)]
    if os.geteuid() == 0:
        python = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *python]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(ROOT / "edge_infer", Path(folder) / "edge_infer", ignore=shutil.ignore_patterns("__pycache__"))
        yield python, Path(folder)


def _attacked(room: str, ordinary: tuple[list[str], Path]) -> set[str]:
    """How the kernel answers to another process of the same user; ``room`` is empty for one that is not locked."""
    python, folder = ordinary
    lock = f"from edge_infer.sandbox import lock; lock({room!r})" if room else ""
    code = f"{lock}\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        [*python, "-c", code], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        attack = CALLS + (
            f"pid = {victim.pid}\n"
            "attempt(lambda: open(f'/proc/{pid}/mem', 'rb').close())\n"
            "attempt(lambda: os.listdir(f'/proc/{pid}/fd'))\n"
            "attempt(lambda: open(f'/proc/{pid}/environ', 'rb').read())\n"
            "attempt(lambda: kernel.call(number['pidfd_getfd'], os.pidfd_open(pid), 0, 0))\n"
        )
        done = subprocess.run(
            [*python, "-c", attack], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        victim.communicate("\n", timeout=30)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("room", ROOMS)
def test_others_of_the_same_user_cannot_look_into_a_room(room: str, ordinary: tuple[list[str], Path]) -> None:
    assert _attacked(room, ordinary) == {"EACCES", "EPERM"}


def test_who_tries_models_has_its_own_walls_below_the_one_that_reads_the_configuration(
    ordinary: tuple[list[str], Path],
) -> None:
    """Its parent's fence keeps it from naming its user in the namespace, which must not keep it from leaving."""
    python, folder = ordinary
    probe = "import json; from edge_infer.sandbox import lock; print(json.dumps(lock('probe')))"
    starts = f"import subprocess; subprocess.run({[python[-1], '-c', probe]})"
    reads = f"from edge_infer.sandbox import Fence, lock; lock('config', fence=Fence(anywhere=True)); {starts}"

    def walls(code: str) -> dict[str, str]:
        done = subprocess.run([*python, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        return found

    alone, below = walls(probe), walls(reads)
    # The parent of the first belongs to another user, so that Landlock's rule for signals cannot be tried on it.
    assert below == {**alone, "no_signals": "enforced"}
    assert {wall for wall, text in below.items() if not text.startswith("enforced")} <= {"network_namespace"}


def test_the_same_attack_succeeds_without_the_lock(ordinary: tuple[list[str], Path]) -> None:
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    if yama.exists() and yama.read_text().strip() != "0":
        pytest.skip("this kernel's Yama protects processes that are not locked as well")
    assert _attacked("", ordinary) == {"allowed"}


def test_a_crash_leaves_no_core() -> None:
    lock = "from edge_infer.sandbox import lock; lock('engine')"
    victim = subprocess.Popen([sys.executable, "-c", f"{lock}\nimport os; os.abort()"], cwd=ROOT)
    _, status = os.waitpid(victim.pid, 0)
    victim.returncode = -os.WTERMSIG(status)  # so that nobody waits for it again
    assert os.WIFSIGNALED(status)
    assert not os.WCOREDUMP(status)


def test_models_and_videos_run_in_the_locked_engine(assets: Path) -> None:
    code = (
        "import cv2, numpy as np\n"
        "from edge_infer.engine.interpreter import Interpreter\n"
        f"model = Interpreter({str(assets / 'models/mobilenet_v2_1.0_224_quant.tflite')!r}, threads=2)\n"
        "print(len(model.invoke()))\n"
        f"clip = cv2.VideoCapture({str(assets / 'video/carphone_pristine.mp4')!r})\n"
        "print(sum(1 for _ in iter(lambda: clip.read()[0], False)))\n"
        "print(np.linalg.svd(np.eye(200))[1].sum())\n"
    )
    assert run("engine", code, fence=Fence(reads=(str(assets),))).split() == ["1", "120", "200.0"]


@pytest.mark.parametrize("room", ["engine", "probe"])
def test_every_model_runs_and_its_libraries_miss_no_call(room: str, assets: Path) -> None:
    """The second filter logs what is refused; here it ends the process instead, and so would a missing call."""
    before = (
        "from edge_infer.sandbox import seccomp\n"
        "install = seccomp.install\n"
        "def fatal(permitted, *, thread=False, log=False):\n"
        "    if log:\n"
        "        seccomp._DENY = seccomp._REFUSE = seccomp._KILL\n"
        "    install(permitted, thread=thread)\n"
        "seccomp.install = fatal\n"
    )
    code = (
        "import contextlib, pathlib\n"
        "import cv2, numpy as np\n"
        "from edge_infer.engine.interpreter import Interpreter\n"
        "from edge_infer.errors import ModelError\n"
        f"for path in sorted(pathlib.Path({str(assets / 'models')!r}).glob('*.tflite')):\n"
        "    try:\n"
        "        with contextlib.closing(Interpreter(str(path), threads=2)) as model:\n"
        "            model.invoke()\n"
        "    except ModelError:\n"  # operators that this runtime does not know, or values that nobody has put in
        "        pass\n"
        "    print(path.name)\n"
        "cv2.setNumThreads(2)\n"
        "cv2.resize(np.zeros((720, 1280, 3), np.uint8), (224, 224), interpolation=cv2.INTER_AREA)\n"
        "np.linalg.svd(np.eye(200))\n"
    )
    ran = run(room, code, before=before, fence=Fence(reads=(str(assets),))).splitlines()
    assert ran == sorted(path.name for path in (assets / "models").glob("*.tflite"))
    assert len(ran) > 20


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_opens_files_by_their_handles(room: str, tmp_path: Path) -> None:
    """That leads past every folder, for who kept ``CAP_DAC_READ_SEARCH``."""
    handle = (
        "import ctypes\nbuffer, mount = ctypes.create_string_buffer(136), ctypes.c_int()\n"
        "ctypes.c_uint.from_buffer(buffer).value = 128\n"
        f"path = ctypes.create_string_buffer({os.fsencode(tmp_path)!r})\n"
        "where = map(ctypes.addressof, (path, buffer, mount))\n"
        "name = lambda: kernel.call(number['name_to_handle_at'], -100, *where, 0)\n"
        "file = os.open('/tmp', os.O_RDONLY)\n"
        "opened = lambda: kernel.call(number['open_by_handle_at'], file, ctypes.addressof(buffer), 0o200000)\n"
    )
    tries = "attempt(name)\nattempt(opened)\n"
    if os.geteuid() == 0:
        assert run("", CALLS + handle + tries).split() == ["allowed", "allowed"]
    assert run(room, CALLS + tries, before=CALLS + handle).split() == ["EPERM", "EPERM"]


@pytest.mark.parametrize("room", ["engine", "probe", "reader", "publisher", "config"])
def test_it_is_closed_to_its_user_before_it_drops_what_keeps_that_out(room: str) -> None:
    """A process of that user could otherwise take files and memory from it in between."""
    before = (
        "from edge_infer.sandbox import privileges\n"
        "drop, seen = privileges.drop_capabilities, []\n"
        "def dropped(keep=0):\n"
        "    seen.append(privileges.dumpable())\n    drop(keep)\n    seen.append(privileges.dumpable())\n"
        "privileges.drop_capabilities = dropped\n"
    )
    assert run(room, "print(set(seen), privileges.dumpable())", before=before) == "{False} False"
