"""The figures on the pages about security and privacy are those of the code."""

from __future__ import annotations

import re

import pytest

from edge_infer.contract.codec import FREE_MEMORY, MAX_MEMORY_FACTOR
from edge_infer.contract.messages import MAX_MESSAGE_BYTES
from edge_infer.drawing import edit_limit
from edge_infer.engine.input import frame_receiver
from edge_infer.errors import LONGEST_SENTENCE
from edge_infer.ipc.channel import MAX_REPORT_BYTES
from edge_infer.plan.records import MAX_RATE
from edge_infer.platform import config_files, folder_tidy, logs
from edge_infer.publisher import resolver
from edge_infer.sandbox.identity import DYNAMIC
from edge_infer.sandbox.rules import rules
from edge_infer.supervisor.control import peer, requests, server
from edge_infer.supervisor.processes import child, helper_process, output, supervisor
from edge_infer.supervisor.reload import compilation, reload
from edge_infer.yamlfile import load
from tests.running import ROOT
from tests.sandbox.test_seccomp import MACHINES, PID, ROOMS


def sentences(page: str) -> str:
    return " ".join((ROOT / "docs" / page).read_text().split())


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            "security.md",
            f"accepts records of at most {MAX_REPORT_BYTES >> 20} MiB, {child.MAX_RECORDS_PER_SECOND} a second",
        ),
        ("security.md", f"a second and {child.MAX_BYTES_PER_SECOND >> 20} MiB a second"),
        ("security.md", f"reads the configuration may send {helper_process.LONGEST >> 20} MiB altogether"),
        ("security.md", {8: "eight"}[MAX_MEMORY_FACTOR] + f" times its bytes of memory, or {FREE_MEMORY >> 20} MiB"),
        ("security.md", {5: "five"}[supervisor.MAX_ACCUSATIONS] + " such reports and then one a minute"),
        (
            "security.md",
            f"engine and publisher, {({3: 'three'})[supervisor.MAX_ACCUSATIONS_OF_EACH_OTHER]} and then one an hour",
        ),
        ("security.md", f"quotes at most {output.MAX_EXCERPT} characters of a process, within these limits, and"),
        ("security.md", f"and {LONGEST_SENTENCE} of a model's fault"),
        ("security.md", f"removes at most {folder_tidy.MAX_STEPS:,} entries of a folder at a time"),
        ("security.md", {0.25: "for at most a quarter of a second"}[folder_tidy.MAX_SECONDS]),
        ("security.md", {1.0: "continues one second later"}[reload.TIDY_PAUSE]),
        ("security.md", "names at most " + {5: "five"}[folder_tidy.MAX_NAMES]),
        ("config-process.md", f"logs at most {compilation.MAX_LOGGED_PROBLEMS} problems and warnings each time"),
        ("security.md", f"may make {peer.MAX_AT_ONCE} changes in a row"),
        ("security.md", {1.0: "and then one a second"}[peer.MAX_PER_SECOND]),
        (
            "page.md",
            f"accepts {edit_limit.MAX_AT_ONCE} changes in a row"
            + {60.0: " and then one a minute"}[edit_limit.SECONDS_EACH],
        ),
        ("security.md", f"get {requests.GRABS_AT_ONCE} full-size pictures, and then one a second"),
        ("page.md", f"in {requests.LINES_AT_ONCE} lines in a row and then six a minute"),
        ("page.md", "At most " + {8: "eight"}[requests.MAX_VIEWERS] + " people can look at the same time"),
        ("security.md", {60.0: "logs refusals of running processes, at most one line a minute"}[server.LOG_EVERY]),
        ("security.md", f"range {DYNAMIC[0]} to {DYNAMIC[-1]} that systemd keeps"),
        ("privacy.md", f"lines of {logs.LONGEST_LINE:,} bytes: {output.MAX_BURST_BYTES >> 10} KiB at once"),
        ("privacy.md", f"then {output.MAX_BYTES_PER_MINUTE >> 10} KiB a minute"),
        ("privacy.md", f"({output.MAX_DEBUG_BYTES_PER_MINUTE >> 10} KiB at `--log-level debug`)"),
        ("privacy.md", f"its last {output.MAX_LAST_WORDS:,} bytes, on average once a minute"),
        ("privacy.md", f"A result has at most {MAX_MESSAGE_BYTES:,} bytes unless"),
        ("hidden-data.md", f"(by default {MAX_RATE >> 10} KiB a second)"),
        ("system-calls.md", {1.0: "can request a look-up at most once a second"}[resolver.EVERY]),
        ("known-gaps.md", f"After {server.MAX_UNCLOSED_FILES} such files, the daemon checks no drafts until then"),
        (
            "known-gaps.md",
            {1 << 30: "quarter of the service's memory, and 1 GiB"}[frame_receiver.MAX_MEMORY],
        ),
        ("configure.md", f"The limits are {config_files.MAX_PARTS} files, {load.LARGEST >> 20} MiB for each file"),
        ("configure.md", f"{config_files.MAX_BYTES >> 20} MiB for all files together"),
        ("configure.md", f"{config_files.MAX_ENTRIES:,} entries in the folder"),
    ],
)
def test_a_limit_is_the_one_that_holds(page: str, said: str) -> None:
    assert said in sentences(page)


def test_the_rates_a_minute_are_rates_a_minute() -> None:
    assert supervisor.ACCUSATIONS_PER_SECOND == 1 / 60
    assert output.LAST_PER_MINUTE == output.MAX_LAST_WORDS


def test_the_lists_of_calls_are_as_long_as_the_page_says() -> None:
    found = re.search(r"have a list of (\d+) to (\d+) calls each", sentences("system-calls.md"))
    assert found is not None
    lengths = []
    for machine in MACHINES:
        for room, fence, network in ROOMS:
            if room == "config" or fence.unix in ("sound", "programs"):
                continue
            listed = rules(room, fence, PID, network=network)
            lengths.append(len((set(listed.allowed) - set(listed.refused)) & machine.numbers.keys()))
    least, most = map(int, found.groups())
    assert least <= min(lengths) < least + 10
    assert most - 10 < max(lengths) <= most
