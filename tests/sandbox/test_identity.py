"""Which user root becomes, and what is left of root then: tried in processes of root that really do it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.sandbox.identity import DEVICE_GROUPS, DYNAMIC, Identity, chosen_identity, is_mapped
from tests.program import open_to_all
from tests.running import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
CHOOSE = """
import sys
from pathlib import Path
from edge_infer.sandbox.identity import chosen_identity
found = chosen_identity(Path(sys.argv[1]) if sys.argv[1:] else None)
print(found.uid, found.gid, *found.groups, flush=True)
"""
BECOME = """
import json, logging, os, sys
from edge_infer.errors import StartError
from edge_infer.sandbox import privileges
from edge_infer.sandbox.change_user import give_up_root
logging.basicConfig()
try:
    give_up_root(None, keep=int(os.environ.get("KEEP", "0")))
except StartError as error:
    sys.exit(str(error))
print(json.dumps([os.getresuid(), os.getresgid(), sorted(os.getgroups()), privileges.capabilities()]))
"""
NO_LANDLOCK = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=ENOSYS")
PRIVATE = 0 if open_to_all(sys.executable) else 4


def python(code: str, *words: str, before: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of root; ``before`` is a command that becomes it."""
    return subprocess.run(
        [*before, sys.executable, "-c", code, *words], cwd=ROOT, env={**os.environ, **more},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def mounted(script: str, code: str, folder: Path) -> list[int]:
    """What ``code`` prints, in a mount namespace that a shell script has changed."""
    words = ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "HERE": str(folder)}, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def device_groups() -> set[int]:
    lines = [line.split(":") for line in Path("/etc/group").read_text().splitlines()]
    return {int(line[2]) for line in lines if line[0] in DEVICE_GROUPS}


def test_it_is_the_owner_of_the_state_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 61500, 61501)
    found = chosen_identity(tmp_path)
    assert found is not None
    assert (found.uid, found.gid) == (61500, 61501)
    assert set(found.groups) == device_groups()


def test_the_group_of_root_is_left_even_where_the_folder_has_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 61500, 0)
    found = chosen_identity(tmp_path)
    assert found is not None
    assert (found.uid, found.gid) == (61500, 61500)


def test_the_number_of_an_owner_without_account_is_no_group_of_others(tmp_path: Path) -> None:
    users = {each.pw_uid for each in pwd.getpwall()}
    group = next(each.gr_gid for each in grp.getgrall() if each.gr_gid not in users and each.gr_name != "edge-infer")
    os.chown(tmp_path, group, group)
    found = chosen_identity(tmp_path)
    assert found is not None
    assert (found.uid, found.gid) == (group, 65534)


def test_it_is_the_account_where_the_folder_is_roots_or_missing(tmp_path: Path) -> None:
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    (tmp_path / "passwd").write_text(f"{passwd}edge-infer:x:877:878::/nonexistent:/bin/false\n")
    (tmp_path / "group").write_text(f"{group}edge-infer:x:878:\ni2c:x:879:edge-infer\nsudoers:x:880:other\n")
    script = 'mount --bind "$HERE/passwd" /etc/passwd; mount --bind "$HERE/group" /etc/group'
    assert mounted(script, CHOOSE, tmp_path)[:2] == [877, 878]
    assert {*mounted(script, CHOOSE, tmp_path)[2:]} == device_groups() | {878, 879}


def test_it_is_an_unused_user_else_and_two_at_once_are_two(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CHOOSE + "sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        one = int(first.stdout.readline().split()[0])
        two = int(python(CHOOSE, str(tmp_path)).stdout.split()[0])
        first.communicate()
    assert one in DYNAMIC
    assert two in DYNAMIC
    assert one != two


def test_nothing_can_be_written_into_what_keeps_the_number() -> None:
    """Code of a model may run in this process later, and the file belongs to root and stays."""
    look = """
import os
for name in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{name}").startswith("/run/systemd/dynamic-uid/"):
            print("written", os.write(int(name), b"x"))
    except OSError as error:
        print(error.strerror)
"""
    assert "Bad file descriptor" in python(CHOOSE + look).stdout.splitlines()


def test_a_user_of_a_process_is_not_unused(tmp_path: Path) -> None:
    taken = int(python(CHOOSE, str(tmp_path)).stdout.split()[0])
    words = ["setpriv", f"--reuid={taken}", "--clear-groups", "sleep", "60"]
    with subprocess.Popen(words) as other:
        status = Path(f"/proc/{other.pid}/status")
        while f"Uid:\t{taken}" not in status.read_text():
            assert other.poll() is None
        assert int(python(CHOOSE, str(tmp_path)).stdout.split()[0]) not in (taken, 0)
        other.kill()


def test_a_user_of_a_service_that_is_stopped_is_not_unused(tmp_path: Path) -> None:
    script = "mount -t tmpfs none /var/lib; mkdir -p /var/lib/private/other; chown 61184 /var/lib/private/other"
    choose = CHOOSE.replace("Path(sys.argv[1]) if sys.argv[1:] else None", "Path('/var/lib')")
    assert mounted(script, choose, tmp_path)[0] in DYNAMIC[1:]


def test_a_command_for_one_model_is_no_user_that_a_daemon_may_have_been(tmp_path: Path) -> None:
    """A stopped daemon's state directory may lie anywhere, and belong to any of the first numbers."""
    (tmp_path / "group").write_text(Path("/etc/group").read_text() + "edge-infer:x:878:\n")
    daemon, command = (
        mounted('mount --bind "$HERE/group" /etc/group', CHOOSE.replace("None", place), tmp_path)
        for place in ("Path('/')", "None")
    )
    assert daemon[1] == 878
    assert command[0] == command[1]
    assert DYNAMIC.index(daemon[0]) < len(DYNAMIC) // 2 < DYNAMIC.index(command[0])


def test_a_folder_gives_no_group_of_the_system(tmp_path: Path) -> None:
    shadow = grp.getgrnam("shadow").gr_gid
    os.chown(tmp_path, 61500, shadow)
    found = chosen_identity(tmp_path)
    assert found is not None
    assert (found.uid, found.gid) == (61500, 61500)
    assert shadow not in found.groups


@pytest.mark.parametrize(
    ("uids", "gids", "mapped"),
    [
        ("0 0 4294967295", "0 0 4294967295", True),
        ("0 1000 1", "0 1000 1", False),
        ("0 1000 1\n1 100000 65535", "0 1000 1\n1 100000 65535", True),
        ("0 1000 1\n1 100000 65535", "0 1000 1", False),
        ("0 1000 1\n1 100000 999", "0 1000 1\n1 100000 999", False),
    ],
)
def test_a_container_may_not_have_the_user(tmp_path: Path, uids: str, gids: str, mapped: bool) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "uid_map").write_text(f"{uids}\n")
    (tmp_path / "proc" / "self" / "gid_map").write_text(f"{gids}\n")
    assert is_mapped(Identity(61184, 61184), tmp_path) is mapped


def test_nothing_of_root_is_left() -> None:
    users, groups, others, capabilities = json.loads(python(BECOME).stdout)
    assert set(users) == {users[0]}
    assert users[0] in DYNAMIC
    assert 0 not in groups
    assert set(others) == device_groups()
    assert capabilities == PRIVATE


def test_a_parent_keeps_the_power_to_read_and_no_other() -> None:
    assert json.loads(python(BECOME, KEEP="4").stdout)[3] == 4


@pytest.mark.parametrize(
    ("before", "left"), [((), [4, True]), (("setpriv", "--bounding-set=-dac_read_search"), [0, False])]
)
def test_only_that_power_opens_a_command_to_itself(before: tuple[str, ...], left: list[object]) -> None:
    """Where root lacks it, nothing else would keep the other processes of the new user out."""
    code = f"{BECOME}\nprint(json.dumps([privileges.capabilities(), privileges.dumpable()]))"
    assert json.loads(python(code, before=before, KEEP="4").stdout.splitlines()[-1]) == left


def test_where_only_root_is_mapped_it_stays_without_capabilities() -> None:
    done = python(BECOME, before=("unshare", "--user", "--map-root-user"))
    assert json.loads(done.stdout)[0] == [0, 0, 0]
    assert json.loads(done.stdout)[3] == 0
    assert "there is no other user in this container" in done.stderr


def test_where_root_may_not_change_its_user_it_stays_without_capabilities() -> None:
    done = python(BECOME, before=("setpriv", "--bounding-set=-setuid,-setgid"))
    assert json.loads(done.stdout)[0] == [0, 0, 0]
    assert json.loads(done.stdout)[3] == 0
    assert "root cannot become another user here (Operation not permitted)" in done.stderr


def test_a_program_in_a_private_home_needs_landlock(tmp_path: Path) -> None:
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    path = f"{private}:{os.environ.get('PYTHONPATH', '')}".strip(":")
    assert json.loads(python(BECOME, PYTHONPATH=path).stdout)[3] == 4
    done = python(BECOME, before=NO_LANDLOCK, PYTHONPATH=path)
    assert done.returncode == 1
    assert "cannot read the program, which is in a folder that only root may enter" in done.stderr
    assert "install it where every user may read it" in done.stderr


@pytest.mark.parametrize(("before", "left"), [((), 4), (NO_LANDLOCK, 0)])
def test_the_power_to_read_goes_with_the_fence(before: tuple[str, ...], left: int) -> None:
    code = "from edge_infer.sandbox import lock, privileges\nlock('engine', keep=4)\nprint(privileges.capabilities())"
    assert python(code, before=before).stdout.split() == [str(left)]
