"""The search finds the pattern in every guise, and finds it nowhere else."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random

import cv2
import numpy as np
import pytest

from edge_infer.audit.canary import BLOCKS, Canary, fresh
from edge_infer.audit.search import Search, leaks

CANARY = fresh(random.Random(7))  # in tens of thousands of flat stretches one pattern in ten is found by chance


@pytest.mark.parametrize("name", leaks(CANARY))
def test_each_guise_is_seen_in_the_midst_of_other_bytes(name: str) -> None:
    noise = random.Random(1).randbytes(3000)
    assert Search(CANARY).found(noise + leaks(CANARY)[name] + noise) or name.startswith(("base64", "hex", "numbers"))
    assert Search(CANARY).found(b'{"v":1,"leak":"' + leaks(CANARY)[name] + b'"}')


@pytest.mark.parametrize("name", leaks(CANARY))
def test_another_pattern_is_not_taken_for_it(name: str) -> None:
    assert Search(fresh(random.Random(8))).found(leaks(CANARY)[name]) == ""


@pytest.mark.parametrize("size", [(32, 24), (48, 48), (96, 96), (129, 77), (224, 224), (640, 480)])
@pytest.mark.parametrize("way", [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_seen_at_any_scale(size: tuple[int, int], way: int, channels: int) -> None:
    frame = np.frombuffer(CANARY.picture(640, 480, channels), np.uint8).reshape(480, 640, channels)
    assert Search(CANARY).found(cv2.resize(frame, size, interpolation=way).tobytes())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_other_ways_to_pack_are_undone(pack: object) -> None:
    assert callable(pack)
    assert "compressed" in Search(CANARY).found(b"x" * 9 + pack(CANARY.picture(64, 64)))


def test_random_bytes_texts_and_flat_pictures_are_no_hit() -> None:
    chance = random.Random(2)
    search = Search(CANARY)
    for _ in range(4):
        assert search.found(chance.randbytes(20_000)) == ""
        flat = b"".join(bytes((chance.randrange(256),)) * chance.randrange(3, 40) for _ in range(500))
        assert search.found(flat) == ""
    assert search.found(b'{"v":1,"ts":"2026-11-25T08:45:12.345Z","boot":"9f2c1a","seq":4711,"objects":[]}' * 500) == ""


def test_the_pattern_survives_a_command_line() -> None:
    assert Canary.from_text(CANARY.text()) == CANARY
    assert len(CANARY.picture(10 * BLOCKS, 10 * BLOCKS, 3)) == 3 * 100 * BLOCKS**2
