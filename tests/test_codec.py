"""The closed schema: what is written is read back, all else is refused, and JSON Schema says the same."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge_infer.contract import messages
from edge_infer.contract.codec import (
    ABSENT,
    Absent,
    JsonValue,
    PartlyCompared,
    Record,
    ShortText,
    StoredRecord,
    at_most,
    between,
    decode,
    decode_json,
    dumps,
    encode,
    field,
    loads,
    matching,
    schema,
    without_defaults,
)
from edge_infer.contract.messages import PAYLOADS, Event, Value
from edge_infer.errors import WireError
from edge_infer.plan.records import SignalPlan


class Inner(Record, frozen=True):
    """A record within a record."""

    word: Annotated[str, matching(r"[a-z]+", 5)]
    share: Annotated[float, between(0, 1)] = 0.5


class Outer(Record, frozen=True):
    """One of everything."""

    number: Annotated[int, between(1, 10)]
    flag: bool
    mode: Literal["a", "b", 1]
    pair: tuple[float, float]
    many: Annotated[tuple[Inner, ...], at_most(2)]
    named: Annotated[Mapping[Annotated[str, matching(r"[a-z]", 1)], int], at_most(2)]
    class_: ShortText | Absent = ABSENT
    maybe: int | None = None
    either: Inner | Literal["none"] | None = None
    anything: JsonValue = None


SMALL: dict[str, Any] = {
    "number": 1, "flag": True, "mode": "a", "pair": [0, 1.5], "many": [{"word": "x"}], "named": {"k": 3}
}  # fmt: skip


def test_there_and_back() -> None:
    record = Outer(2, False, 1, (0.0, 1.0), (Inner("a"), Inner("b", 1.0)), {"k": 1}, "c", None, Inner("e"), {"x": [1]})
    value = loads(dumps(record))
    assert decode(Outer, value) == record
    assert isinstance(value, dict)
    assert value["class"] == "c"
    assert value["maybe"] is None


def test_what_is_absent_has_no_key_and_defaults_fill_in() -> None:
    record = decode(Outer, SMALL)
    assert record.class_ is ABSENT
    assert not ABSENT
    assert record.pair == (0.0, 1.5)
    assert type(record.pair[0]) is float
    assert record.many == (Inner("x", 0.5),)
    found = encode(record)
    assert isinstance(found, dict)
    assert "class" not in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": 1}, "unknown field `extra`"),
        ({"number": None}, "number: expected `int`, got `null`"),
        ({"number": 11}, "number: expected `int` <= 10"),
        ({"number": 1.0}, "expected `int`, got `float`"),
        ({"number": True}, "expected `int`, got `bool`"),
        ({"number": "1"}, "expected `int`, got `str`"),
        ({"flag": 1}, "expected `bool`, got `int`"),
        ({"mode": True}, "mode: expected `int | str`, got `bool`"),
        ({"mode": "c"}, "invalid enum value 'c'"),
        ({"pair": [1]}, "expected `array` of length 2"),
        ({"pair": [1, "2"]}, r"pair\[1\]"),
        ({"pair": [1, math.nan]}, "Out of range"),
        ({"pair": [1, math.inf]}, "Out of range"),
        ({"pair": {"0": 1}}, "expected `array`, got `object`"),
        ({"many": [{"word": "x"}] * 3}, "many: expected `array` of length <= 2"),
        ({"many": [{"word": "X"}]}, r"many\[0\].word: expected `str` matching regex"),
        ({"many": [{"word": "x\n"}]}, "matching regex"),
        ({"many": [{"word": "abcdef"}]}, "expected `str` of length <= 5"),
        ({"many": [{"share": 0.5}]}, r"many\[0\]: object missing required field `word`"),
        ({"many": [{"word": "x", "share": 1.1}]}, "expected `float` <= 1.0"),
        ({"many": ["x"]}, "expected `object`, got `str`"),
        ({"named": {"kk": 1}}, "named key"),
        ({"named": {"a": 1, "b": 2, "c": 3}}, "named: expected `object` of length <= 2"),
        ({"named": []}, "expected `object`, got `array`"),
        ({"class": None}, "class: expected `str`, got `null`"),
        ({"class_": "x"}, "unknown field `class_`"),
        ({"class": "x" * 257}, "expected `str` of length <= 256"),
        ({"pair": [1, 10**400]}, r"pair\[1\]: number out of range"),
        ({"pair": [1, -(10**400)]}, "out of range"),
        ({"class": "x\ud800"}, "not JSON"),
        ({"either": "some"}, "either: invalid enum value 'some'"),
    ],
)
def test_strictness(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(Outer, {**SMALL, **change})
    if not any(word in reason for word in ("missing", "range", "not JSON")):  # of which JSON Schema has no word
        exceptions = change in ({"number": 1.0}, {"many": [{"word": "x\n"}]})  # 1.0 is an integer there, $ allows \n
        assert exceptions or not Draft202012Validator(schema(Outer)).is_valid({**SMALL, **change})


@pytest.mark.parametrize("text", [" - at `$", " - at `key` in `$", "`", "$`"])
@pytest.mark.parametrize("end", ["", "\n", "`\n"])
def test_a_long_name_in_an_error_takes_no_time(text: str, end: str) -> None:
    """In a process of its own, because an expression that goes back and forth over it would hold up the test."""
    program = f"""
from edge_infer.contract.codec import decode_json, dumps
from edge_infer.errors import WireError
from edge_infer.ipc.messages import EngineReport
try:
    decode_json(EngineReport, dumps({{{text!r} * (1_500_000 // {len(text)}) + {end!r}: 1}}))
except WireError as error:
    assert "unknown field" in str(error), str(error)[:300]
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (dict[int, int], {"a": 1}, "X key: expected `int`, got `str`"),
        (list[dict[int, int]], [{"a": 1}], "X[0] key: expected `int`, got `str`"),
        (int, "x", "X: expected `int`, got `str`"),
        (Inner, {"word": "x", " - at `$.y": 1}, "X.y: object contains unknown field `"),
    ],
)
def test_an_error_begins_with_its_place(kind: type, value: Any, said: str) -> None:
    with pytest.raises(WireError, match="^" + re.escape(said)):
        decode(kind, value, "X")


def test_digits_are_the_ten_of_json_schema() -> None:
    moment: dict[str, Any] = {
        "v": 1,
        "ts": "2026-11-25T08:45:12.345Z",
        "boot": "9f2c1a",
        "model": "m",
        "sha": "eac9143a",
        "counts": {},
    }
    assert decode(PAYLOADS["state"], moment) is not None
    with pytest.raises(WireError, match="matching regex"):
        decode(PAYLOADS["state"], moment | {"ts": "\N{ARABIC-INDIC DIGIT TWO}026-11-25T08:45:12.345Z"})


@pytest.mark.parametrize("key", ["number", "flag", "mode", "pair", "many", "named"])
def test_a_missing_key(key: str) -> None:
    rest = {name: value for name, value in SMALL.items() if name != key}
    with pytest.raises(WireError, match=f"missing required field `{key}`"):
        decode(Outer, rest)
    assert not Draft202012Validator(schema(Outer)).is_valid(rest)


@pytest.mark.parametrize("number", ["1e308", "-1.7976931348623157e308", "9007199254740993.0", "0.125", "-1e300"])
def test_numbers_of_any_size_have_their_decimals_checked(number: str) -> None:
    """Scaling the largest ones overflows, which must not end a process that decodes them."""
    assert decode_json(Value, b'{"name":"a","unit":"","value":%b}' % number.encode()).value == float(number)


@pytest.mark.parametrize("number", ["0.1234567", "-1.00000001"])
def test_further_decimals_are_refused(number: str) -> None:
    with pytest.raises(WireError, match="more than 6 decimals"):
        decode_json(Value, b'{"name":"a","unit":"","value":%b}' % number.encode())


def test_what_has_no_json_form() -> None:
    for value in (1j, object(), math):
        with pytest.raises(WireError, match="no JSON form"):
            encode(value)
    assert [dumps(number) for number in (math.nan, math.inf)] == [b"null", b"null"]  # which no number may be


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"{'a': 1}", b"nul"])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(WireError, match="not JSON"):
        loads(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab_1", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
NEAR = st.fixed_dictionaries(
    {
        "number": st.integers(0, 11) | JSON,
        "flag": st.booleans() | JSON,
        "mode": st.sampled_from(["a", "b", 1, "c", True]),
        "pair": st.lists(st.floats(0, 1) | st.integers(0, 1), min_size=1, max_size=3) | JSON,
        "many": st.lists(
            st.fixed_dictionaries({"word": st.text("aB", max_size=6)}, optional={"share": st.floats(-1, 2)})
        ),
        "named": st.dictionaries(st.text("ab", max_size=2), st.integers() | st.none(), max_size=3),
    },
    optional={
        "class": st.text("x", max_size=3) | st.none(),
        "maybe": JSON,
        "either": JSON,
        "anything": JSON,
        "extra": JSON,
    },
)
VALIDATOR = Draft202012Validator(schema(Outer))


def strict(value: Any) -> bool:
    """Whether a value has no whole number that is written as a float, which JSON Schema takes for an integer."""
    if isinstance(value, float):
        return not value.is_integer()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(strict, parts))


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(NEAR)
def test_json_schema_accepts_what_decode_accepts(value: dict[str, Any]) -> None:
    try:
        decode(Outer, value)
        accepted = True
    except WireError:
        accepted = False
    if accepted or strict(value):
        assert VALIDATOR.is_valid(value) == accepted


def test_schemas_of_all_payloads() -> None:
    for name, kind in PAYLOADS.items():
        found = schema(kind, name)
        Draft202012Validator.check_schema(found)
        assert found["title"] == name
        assert found["description"]
        assert found["additionalProperties"] is False


RESULT: dict[str, Any] = {
    "v": 1,
    "ts": "2026-11-25T08:45:12.345Z",
    "boot": "9f2c1a",
    "seq": 4711,
    "model": "face-detect@1.0.0",
    "sha": "eac9143a",
    "task": "detection",
    "ms": 12.3,
    "objects": [{"label": "face", "score": 0.914, "box": [0.412, 0.201, 0.533, 0.404]}],
}


@pytest.mark.parametrize(
    "change",
    [
        *({"v": 2}, {"ts": "2026-11-25"}, {"seq": 0}, {"task": "painting"}, {"frame": "…"}, {"replay": False}),
        *({"objects": [{"label": "a", "score": 2, "box": [0, 0, 1, 1]}]}, {"sha": "EAC9143A"}),
    ],
)
def test_a_result_says_what_its_schema_says(change: dict[str, Any]) -> None:
    validator = Draft202012Validator(schema(PAYLOADS["result"]))
    assert validator.is_valid(RESULT)
    assert encode(decode(PAYLOADS["result"], RESULT)) == RESULT
    assert not validator.is_valid({**RESULT, **change})
    with pytest.raises(WireError):
        decode(PAYLOADS["result"], {**RESULT, **change})


MEASURED_BY_THE_PUBLISHER = {("BoardHealth", "temperature")}


def test_no_number_of_a_message_has_room_for_a_picture() -> None:
    """Each float of a record that the engine sends is checked for its decimals."""
    found = set()
    for record in vars(messages).values():
        if isinstance(record, type) and issubclass(record, Record) and record.__module__ == messages.__name__:
            check = vars(record).get("__post_init__")
            code = check.__code__ if check else (lambda: None).__code__
            inner = [each for each in code.co_consts if hasattr(each, "co_names")]
            checked = {*code.co_names, *(name for each in inner for name in each.co_names)}
            floats = {key for key, kind in get_type_hints(record).items() if "float" in str(kind)}
            found |= {(record.__name__, key) for key in floats - checked}
    assert found == MEASURED_BY_THE_PUBLISHER
    event = Event(1, "2026-01-01T00:00:00.000Z", "aaaaaa", 1, "appear", score=0.912, box=(0.1, 0.2, 0.3, 0.4))
    whole = encode(event)
    assert isinstance(whole, dict)
    assert decode(Event, whole) == event
    for more in ({"score": 0.9123}, {"box": [0.1, 0.2, 0.3, 0.40001]}):
        with pytest.raises(WireError, match="decimals"):
            decode(Event, {**whole, **more})


def test_plans_that_are_equal_are_not_unequal() -> None:
    """msgspec compares identities in ``__ne__`` of a record that has its own ``__eq__``."""
    one, other = (SignalPlan("raw", values=values) for values in (1, 2))
    assert one == other
    assert (one != other) is False
    assert one != SignalPlan("raw", stride=1.0)


class Noted(PartlyCompared, frozen=True, eq=False):
    """A record whose equality does not cover all of it."""

    not_compared: ClassVar[frozenset[str]] = frozenset({"beside"})
    number: int = 0
    beside: int = 0


class Note(StoredRecord, frozen=True):
    """Data on the disk."""

    name: str
    class_: int = 1
    inner: tuple[Noted, ...] = ()
    filter: Noted = field(default_factory=lambda: Noted(2))
    by_name: Mapping[str, Noted] = field(default_factory=dict)
    absent: int | Absent = ABSENT


@pytest.mark.parametrize(
    ("note", "written"),
    [
        (Note("a"), {"name": "a"}),
        (Note("a", 2, absent=3), {"name": "a", "class": 2, "absent": 3}),
        (Note("a", 1, (Noted(), Noted(1)), Noted(2)), {"name": "a", "inner": [{}, {"number": 1}]}),
        (Note("a", filter=Noted(2, 5)), {"name": "a", "filter": {"number": 2, "beside": 5}}),
        (Note("a", by_name={"b": Noted()}), {"name": "a", "by_name": {"b": {}}}),
    ],
)
def test_defaults_can_be_left_out(note: Note, written: JsonValue) -> None:
    assert without_defaults(note) == written
    found = decode(Note, written)
    assert (found, found.filter.beside) == (note, note.filter.beside)


def test_only_data_on_the_disk_may_have_unknown_keys() -> None:
    assert decode(Note, {"name": "a", "newer": 1}) == Note("a")
    with pytest.raises(WireError, match="unknown field `newer`"):
        decode(Note, {"name": "a", "inner": [{"newer": 1}]})
