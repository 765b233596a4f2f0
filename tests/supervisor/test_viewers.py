"""Who may have pictures of those who may ask: a daemon of root, and users with other groups."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_infer.supervisor.control.page_requests import PAGE_MAY
from edge_infer.supervisor.control.peer import PAGE_USER
from edge_infer.supervisor.control.requests import GROUP
from edge_infer.supervisor.control.server import ask
from tests.broker import Broker
from tests.running import Daemon, config

ASKS, LOOKS, OTHER, DAEMON, PAGE, USER = 61001, 61002, 61003, 61004, 61005, 65534
ASK = """
import json, socket, sys
way = socket.socket(socket.AF_UNIX)
way.settimeout(20)
way.connect(sys.argv[1])
way.sendall(json.dumps({"do": sys.argv[2], "source": "cam", **json.loads(sys.argv[3])}).encode() + b"\\n")
told = b""
while part := way.recv(65536):
    told += part
line, _, picture = told.partition(b"\\n")
print(json.dumps([json.loads(line), len(picture)]))
"""


class Box:
    """A daemon whose socket is for the group `ASKS`, in a system with groups of its own."""

    def __init__(self, daemon: Daemon, groups: Path) -> None:
        self.daemon = daemon
        self._groups = groups

    def set_groups(self, *lines: str) -> None:
        self._groups.write_text("".join(f"{line}\n" for line in ("root:x:0:", *lines)))

    def ask(
        self, do: Any, *groups: int, user: int = USER, group: int = OTHER, **more: Any
    ) -> tuple[dict[str, Any], int]:
        """The answer to a user with these groups, and how many bytes of a picture came."""
        socket = str(self.daemon.folder / "state/control.sock")
        command = ["/usr/bin/python3", "-c", ASK, socket, "", json.dumps({**more, "do": do})]
        done = subprocess.run(
            command, cwd="/", capture_output=True, text=True, timeout=60, check=False,
            user=user, group=group, extra_groups=groups,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer, size = json.loads(done.stdout)
        return answer, size

    def given(self) -> int:
        """How many pictures the log speaks of."""
        return self.daemon.log.read_text().count("picture of source cam to ")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    if os.geteuid() != 0:
        pytest.skip("only root can become users with other groups")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        groups = folder / "group"
        groups.write_text("")
        users = folder / "passwd"
        users.write_text(
            f"{Path('/etc/passwd').read_text()}\n{PAGE_USER}:x:{PAGE}:{OTHER}::/nonexistent:/usr/sbin/nologin\n"
        )
        (folder / "state").mkdir(mode=0o755)
        os.chown(folder / "state", DAEMON, ASKS)  # whom root becomes
        enter = f'mount --bind {groups} /etc/group && mount --bind {users} /etc/passwd && exec "$@"'
        with Broker(folder) as broker:
            text = config(broker.port, "{kind: synthetic, size: 64x48}")
            with Daemon(folder, text, before=("unshare", "--mount", "sh", "-c", enter, "sh")) as daemon:
                daemon.wait_serving(60.0)
                yield Box(daemon, groups)


def test_who_may_ask_may_not_therefore_see(box: Box) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    status, _ = box.ask("status", ASKS)
    assert status["models"]["faces"]["state"] == "active"
    before = box.given()
    answer, size = box.ask("grab", ASKS)
    assert f"only members of the group {GROUP} may request pictures: sudo usermod -aG {GROUP} nobody" in answer["error"]
    assert (size, box.given()) == (0, before)


@pytest.mark.parametrize(("groups", "group"), [((ASKS, LOOKS), OTHER), ((ASKS,), LOOKS)])
def test_a_member_of_the_group_gets_a_picture_and_the_log_names_it(
    box: Box, groups: tuple[int, ...], group: int
) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    before = box.given()
    answer, size = box.ask("grab", *groups, group=group)
    assert answer == {"ok": True, "bytes": size}
    assert size > 0
    assert box.given() == before + 1
    assert box.daemon.log.read_text().splitlines()[-1].endswith("sent a picture of source cam to nobody")


def test_a_file_of_the_client_is_never_written(box: Box) -> None:
    """The client could keep it, and the memory would count as the daemon's."""
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    file = os.memfd_create("own", os.MFD_CLOEXEC)
    answer = ask(box.daemon.folder / "state" / "control.sock", {"do": "grab", "source": "cam"}, files=(file,))
    assert answer["ok"]
    assert os.fstat(file).st_size == 0
    os.close(file)


def test_without_the_group_root_alone_gets_pictures(box: Box) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:")
    answer, size = box.ask("grab", ASKS, LOOKS)
    assert answer == {
        "error": (f"there is no group {GROUP}, so only root may request pictures; run the command with sudo")
    }
    assert size == 0
    before = box.given()
    answer, size = box.ask("grab", user=0, group=0)
    assert (answer, size > 0, box.given()) == ({"ok": True, "bytes": size}, True, before + 1)


def test_the_page_is_known_by_its_user_and_may_ask_for_little(box: Box) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    looked, size = box.ask("look", ASKS, user=PAGE, viewers=[0, USER])
    assert (looked["size"], size > 0) == ([64, 48], True)
    assert box.ask("overview", ASKS, user=PAGE, **{"for": USER})[0]["user"] == "nobody"
    for wanted in ("status", "reload", "grab", "log", "check", "metrics", "pause", "resume", "anything"):
        assert wanted not in PAGE_MAY
        answer, size = box.ask(wanted, ASKS, user=PAGE)
        assert (answer, size) == ({"error": f"the page may not ask for '{wanted}'"}, 0)
    for strange in (["look"], {"look": 1}, 5, None):
        assert "the page may not ask for" in box.ask(strange, ASKS, user=PAGE)[0]["error"]
    assert box.daemon.status()["broker"]["connected"]
    log = box.daemon.log.read_text()
    for name in ("root", "nobody"):
        assert f"showing pictures of source cam to {name}" in log
    assert box.ask("models", ASKS, user=PAGE, action="retry", name="faces")[0] == {
        "error": "the page may not ask for 'models'"
    }
    rolled, _ = box.ask("models", ASKS, user=PAGE, action="rollback", name="faces", **{"for": USER})
    assert "error" in rolled


def test_nobody_else_can_name_another_user(box: Box) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    assert box.ask("overview", ASKS, **{"for": 0})[0]["user"] == "nobody"
    answer, size = box.ask("look", ASKS, **{"for": 0})
    assert f"only members of the group {GROUP}" in answer["error"]
    assert size == 0


def test_more_than_two_looks_a_second_are_refused(box: Box) -> None:
    box.set_groups(f"edge-infer:x:{ASKS}:", f"{GROUP}:x:{LOOKS}:")
    answers: list[dict[str, Any]] = []
    people = [threading.Thread(target=lambda: answers.append(box.ask("look", ASKS, LOOKS)[0])) for _ in range(12)]
    for each in people:
        each.start()
    for each in people:
        each.join()
    assert any("at most 2 pictures a second" in answer.get("busy", "") for answer in answers), answers
