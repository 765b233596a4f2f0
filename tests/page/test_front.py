"""The page in a real browser, with made-up answers: every state, hostile text, drawing by mouse and keyboard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from edge_infer.contract.codec import replace
from tests.page import canned
from tests.page.canned import DRIFTS, TS, Canned, drift, overview, pipeline, scene
from tests.page.chrome import PHONE, WIDE, Browser, browser
from tests.page.drawing import drag, swipe, tap

VIEWS = ("aim", "draw", "see")
REJECTED = "/etc/edge-infer/config.yaml:12: pipelines.door-people.threshold: must be a number from 0 to 1"
REFUSED = "the daemon rejects this; the file is unchanged"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
HOSTILE_JSON = json.dumps(HOSTILE)[1:-1]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page() -> Iterator[Canned]:
    with canned.serving() as served:
        yield served


def source(state: str, **more: Any) -> dict[str, Any]:
    return overview(sources={"door": {"state": state, "fps": 0.0, **more}})


def model(state: str, **more: Any) -> dict[str, Any]:
    return overview(models={"people": {"state": state, "version": "1.2.0", "sha": "eac9143a", **more}})


STATES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "well": (overview(), ("all well",)),
    "lost": (source("lost", error="no such device: /dev/video0"), ("Source door", "no such device", "1 fault")),
    "frozen": (source("frozen"), ("the same frame again",)),
    "black": (source("black"), ("is black", "1 warning")),
    "ended": (source("ended"), ("has ended",)),
    "probation": (model("probation", candidate="77aa1200"), ("on probation",)),
    "rolled back": (model("rolled_back", reason="its outputs were the same"), ("rolled back", "outputs were the same")),
    "rejected": (model("rejected", reason="no such file"), ("was rejected", "no such file")),
    "refused file": (
        overview(config={"state": "rejected", "digest": canned.DIGEST, "ts": TS, "errors": [REJECTED]}),
        (REJECTED, "previous configuration stays active"),
    ),
    "broker refused": (
        overview(broker={"connected": False, "text": "the broker refused the password of edge"}),
        ("refused the password", "Correct username"),
    ),
    "broker away": (
        overview(broker={"connected": False, "text": "no connection to broker.lan:8883"}),
        ("no connection", "connects again by itself"),
    ),
    "clock": (overview(clock="unsynced"), ("Clock", "is not set")),
    "disk full": (
        overview(outbox={"pending": 9, "bytes": 900, "delivered": 1, "lost": {"full": 2}, "degraded": True}),
        ("cannot write to the disk", "lost 2 (full)"),
    ),
    "throttled": (
        overview(
            board={"throttled": True, "temperature": 84.0},
            governor={"limits": {"door-people": 2.0}, "reason": "temperature"},
        ),
        ("throttled by its firmware at 84", "door-people to 2 a second because of temperature"),
    ),
    "paused": (overview(inactive={"door-people": "paused by anna"}), ("does not run: paused by anna",)),
    "failed": (
        overview(pipelines={"door-people": pipeline(error="the model failed")}),
        ("Pipeline door-people", "the model failed"),
    ),
    "engine restarts": (overview(rooms={"engine": {"pid": None, "restarts": 2, "uptime": 0.0}}), ("started again",)),
}


def in_view(chrome: Browser, page: Canned, view: str, **how: Any) -> None:
    """Opens a view and waits until it is drawn."""
    chrome.open(page.url, view, **how)
    chrome.until(
        "return document.querySelector(location.hash === '#see' ? '#sources .card' : '#overlay polygon')", "view"
    )


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_named_with_its_remedy(chrome: Browser, page: Canned, name: str) -> None:
    page.answers["overview"], texts = STATES[name]
    for view, scheme in zip(VIEWS, ("light", "dark", "light"), strict=True):
        in_view(chrome, page, view, scheme=scheme)
        chrome.run("document.getElementById('problem-box').open = true")
        for text in texts:
            chrome.shows(text)
        assert not chrome.scrolls_sideways()
    assert chrome.faults() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_serious_for_axe(chrome: Browser, page: Canned, view: str, scheme: str) -> None:
    """In all states; a state looks the same on `aim` and `draw`, so some are enough there."""
    for state, _ in list(STATES.values())[:: 1 if view == "see" else 4]:
        page.answers["overview"] = state
        in_view(chrome, page, view, scheme=scheme)
        assert chrome.violations() == []


def test_axe_finds_a_fault(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "aim")
    chrome.run("document.getElementById('pause').replaceChildren()")
    assert any(found.startswith("button-name") for found in chrome.violations())


@pytest.mark.parametrize("view", VIEWS)
def test_it_fits_a_phone(chrome: Browser, page: Canned, view: str) -> None:
    page.answers["overview"] = STATES["refused file"][0]
    in_view(chrome, page, view, size=PHONE)
    if view == "draw":
        chrome.press("zone drive")
    assert not chrome.scrolls_sideways()
    assert chrome.violations() == []


def test_nothing_is_loaded_from_elsewhere(chrome: Browser, page: Canned) -> None:
    chrome.driver.get("about:blank")
    chrome.requests()
    for view in VIEWS:
        in_view(chrome, page, view)
    assert chrome.foreign() == []
    assert chrome.faults() == []


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in canned.STATIC.iterdir()) <= 100_000


def test_hostile_text_stays_text(chrome: Browser, page: Canned) -> None:
    page.answers |= {
        "overview": overview(
            sources={"door": {"state": "lost", "fps": 0.0, "error": HOSTILE}},
            models={"people": {"state": "rejected", "version": "1", "sha": "eac9143a", "reason": HOSTILE}},
            broker={"connected": False, "text": HOSTILE},
            config={"state": "rejected", "digest": canned.DIGEST, "ts": TS, "errors": [HOSTILE]},
            inactive={"door-people": HOSTILE},
            walls={"network": HOSTILE},
            runtime=HOSTILE,
        ),
        "look": canned.look(HOSTILE),
        "scene": scene(title=HOSTILE, why_no_places=HOSTILE, track=False),
        "events": {"events": [canned.event(1, HOSTILE)]},
        "why": {"lines": [HOSTILE], "notes": [HOSTILE]},
        "history": {"history": [canned.history(why=HOSTILE, by=HOSTILE)]},
        "drift": json.loads(json.dumps(drift(door_people=DRIFTS["both"])).replace("veil", HOSTILE_JSON)),
        "edit": {"status": 422, "kind": "rejected", "error": HOSTILE, "errors": [HOSTILE]},
        "rollback": {"status": 422, "kind": "rejected", "error": HOSTILE},
    }
    in_view(chrome, page, "aim")
    chrome.shows(HOSTILE, "#findings")
    chrome.run("location.hash = 'draw'")
    chrome.shows(HOSTILE, "#draw-why")
    chrome.press("Delete")
    chrome.press("Save")
    chrome.shows(HOSTILE, "#save-errors")
    chrome.run("location.hash = 'see'; document.getElementById('history-box').open = true")
    for place in ("#sources", "#models", "#device-cards", "#events", "#history", "#drift"):
        chrome.shows(HOSTILE, place)
    chrome.press("Why?")
    chrome.shows(HOSTILE, "#why")
    assert chrome.driver.title == "gate-3: edge-infer"
    assert chrome.run("return document.querySelectorAll('img, script:not([src])').length") == 0


def saved(chrome: Browser, page: Canned) -> list[dict[str, Any]]:
    """Saves, and returns the edits that the page has sent."""
    before = len(page.posted)
    chrome.press("Save")
    chrome.until("return document.getElementById('save-text').textContent.startsWith('Saved')", "saved drawing")
    (sent,) = page.posted[before:]
    assert sent[0] == "edit"
    assert (sent[1]["digest"], sent[1]["pipeline"]) == (canned.DIGEST, "door-people")
    edits: list[dict[str, Any]] = sent[1]["edits"]
    return edits


def test_a_zone_is_drawn_with_the_mouse(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.press("Add zone")
    corners = tap(chrome, (0.25, 0.2), (0.75, 0.2), (0.75, 0.6), (0.25, 0.2))[:3]
    (edit,) = saved(chrome, page)
    assert edit.keys() == {"what", "points"}, "the writer names it"
    assert edit["what"] == "zone"
    assert edit["points"] == [pytest.approx(corner, abs=0.001) for corner in corners]


def test_a_line_is_drawn_with_two_clicks(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.press("Add line")
    points = tap(chrome, (0.3, 0.3), (0.3, 0.9))
    chrome.shows("line line-1", "#shapes")
    (edit,) = saved(chrome, page)
    assert (edit["what"], edit.get("name")) == ("line", None)
    assert edit["points"] == [pytest.approx(point, abs=0.001) for point in points]


def test_a_mask_is_drawn_with_the_keyboard_alone(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.button("Add mask").send_keys(Keys.ENTER)
    chain = ActionChains(chrome.driver).send_keys(Keys.ENTER)
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
        chain.key_down(Keys.SHIFT).send_keys(key * 2).key_up(Keys.SHIFT).send_keys(Keys.ENTER)
    chain.perform()
    chrome.button("Finish").send_keys(Keys.ENTER)
    assert chrome.driver.switch_to.active_element.get_attribute("data-point") == "0"
    (edit,) = saved(chrome, page)
    assert edit == {"what": "mask", "name": 1, "points": [[0.5, 0.5], [0.6, 0.5], [0.6, 0.6]]}


def test_points_are_moved_added_and_removed(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.press("zone drive")
    drag(chrome, "[data-point='0']", 0.2, 0.4)
    drag(chrome, "[data-after='0']", 0.5, 0.3)

    chrome.keys("[data-point='3']", Keys.ARROW_UP * 2)
    chrome.keys("[data-point='4']", Keys.DELETE)
    (edit,) = saved(chrome, page)
    assert edit["name"] == "drive"
    wanted = [(0.2, 0.4), (0.5, 0.3), (0.9, 0.5), (0.9, 0.99)]
    assert edit["points"] == [pytest.approx(point, abs=0.002) for point in wanted]


def test_a_corner_keeps_the_focus_while_people_come_and_go(chrome: Browser, page: Canned) -> None:
    empty = canned.look()
    page.answers["look"] = {**empty, "findings": {}}
    in_view(chrome, page, "draw")
    chrome.press("zone drive")
    chrome.run("document.querySelector(\"[data-point='2']\").focus()")
    for found, objects in ((canned.look(), 1), ({**empty, "findings": {}}, 0)):
        page.answers["look"] = found
        chrome.until(f"return document.querySelectorAll('#overlay .object').length === {objects}", "the objects")
        assert chrome.driver.switch_to.active_element.get_attribute("data-point") == "2", objects


def test_a_point_is_moved_with_a_finger(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw", size=PHONE)
    chrome.press("line gate")
    swipe(chrome, "[data-point='0']", 0.25, 0.5)
    (edit,) = saved(chrome, page)
    assert edit["points"] == [pytest.approx((0.25, 0.5), abs=0.003), [0.5, 1]]


def test_new_shapes_have_the_names_that_the_writer_will_choose(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    for left in (0.2, 0.6):
        chrome.press("Add zone")
        tap(chrome, (left, 0.2), (left + 0.2, 0.2), (left + 0.2, 0.6), (left, 0.2))
    chrome.shows("zone zone-2", "#shapes")
    chrome.shows("rename it in the configuration", "#shapes")
    chrome.click("[aria-label='Delete zone zone-1']")
    chrome.shows("zone zone-1", "#shapes")
    assert "zone-2" not in chrome.text("#shapes")
    assert not chrome.run("return document.querySelector('#shapes input:not([type=number])')")


def test_shapes_are_deleted_and_restored(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete mask 1']")
    chrome.click("[aria-label='Delete line gate']")
    chrome.press("Undo")
    chrome.click("[aria-label='Delete zone drive']")
    assert saved(chrome, page) == [
        {"what": "zone", "name": "drive", "points": None}, {"what": "mask", "name": 0, "points": None},
    ]  # fmt: skip


def test_the_slider_tells_how_many_results_lie_above(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.shows("50 of 50 objects of the last 60 min lie at or above 0.6.")
    chrome.type("#threshold", "0.9")
    chrome.shows("20 of 50 objects of the last 60 min lie at or above 0.9.")
    assert saved(chrome, page) == [{"what": "threshold", "value": 0.9}]


def test_the_first_zone_of_a_pipeline_without_tracks_sets_track(chrome: Browser, page: Canned) -> None:
    page.answers["scene"] = scene(track=False, may_track=True, zones={}, lines={})
    in_view(chrome, page, "draw")
    chrome.shows("Saving a zone or line sets track: true")
    chrome.press("Add line")
    tap(chrome, (0.3, 0.3), (0.3, 0.9))
    track, line = saved(chrome, page)
    assert track == {"what": "track", "value": True}
    assert line["what"] == "line"


def test_the_second_of_two_people_gets_a_clear_conflict(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete mask 1']")
    theirs = scene()
    theirs["digest"] = "c" * 64
    theirs["pipelines"]["door-people"]["zones"]["yard"] = theirs["pipelines"]["door-people"]["zones"].pop("drive")
    page.answers["edit"] = lambda sent: (
        {"digest": "d" * 64, "done": ["x"]}
        if sent["digest"] == theirs["digest"]
        else {"status": 409, "kind": "conflict", "error": "the file was edited meanwhile"}
    )
    page.answers["scene"] = theirs
    chrome.press("Save")
    chrome.shows("The file was changed while you drew")
    chrome.shows("zone drive deleted, zone yard added")
    chrome.press("Save mine over it")
    chrome.shows("Saved and applied")
    (_, first), (_, second) = page.posted
    assert first["edits"] == second["edits"] == [{"what": "mask", "name": 0, "points": None}]
    assert second["digest"] == theirs["digest"]


def test_a_drawing_may_give_way_to_the_file(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete mask 1']")
    page.answers["edit"] = {"status": 409, "kind": "conflict", "error": "the file was edited meanwhile"}
    page.answers["scene"] = {**scene(mask=[], zones={}), "digest": "c" * 64}
    chrome.press("Save")
    chrome.shows("The file was changed while you drew")
    chrome.press("Take the file's")
    chrome.until("return !document.querySelector('#shapes [aria-label=\"Delete zone drive\"]')", "shapes of the file")
    assert len(page.posted) == 1


def test_what_is_drawn_while_it_is_saved_is_kept(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")

    drawn = threading.Event()

    def slowly(_sent: Any) -> dict[str, Any]:
        assert drawn.wait(10)
        page.answers["scene"] = {**scene(mask=[]), "digest": "d" * 64}
        return {"digest": "d" * 64, "done": []}

    page.answers["edit"] = slowly
    chrome.click("[aria-label='Delete mask 1']")
    chrome.press("Save")
    chrome.shows("Saving")
    chrome.click("[aria-label='Delete line gate']")
    drawn.set()
    chrome.shows("Not saved: 1 change.")
    page.answers["edit"] = canned.answers()["edit"]
    chrome.press("Save")
    chrome.shows("Saved and applied")
    assert page.posted[-1][1]["edits"] == [{"what": "line", "name": "gate", "points": None}]


def test_a_refused_drawing_stays_on_the_screen(chrome: Browser, page: Canned) -> None:
    page.answers["edit"] = {"status": 422, "kind": "rejected", "error": REFUSED, "errors": [REJECTED]}
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete zone drive']")
    chrome.press("Save")
    chrome.shows(REJECTED, "#save-errors")
    chrome.shows(REFUSED, "#save-errors")
    assert chrome.find("#save").is_enabled()


def test_somebody_who_may_not_edit_can_look(chrome: Browser, page: Canned) -> None:
    page.answers["overview"] = {**overview(), "may_edit": False, "why_not": "only root may edit the file"}
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete mask 1']")
    chrome.shows("only root may edit the file")
    assert not chrome.find("#save").is_enabled()


def test_a_source_that_is_lost_while_somebody_draws(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.press("Add line")
    tap(chrome, (0.3, 0.3))
    page.answers["look"] = {"status": 404, "kind": "request", "error": "source door is lost"}
    chrome.shows("source door is lost", "#picture-note")
    tap(chrome, (0.3, 0.9))
    assert [edit["what"] for edit in saved(chrome, page)] == ["line"]


def test_an_old_picture_of_a_lost_source_is_marked(chrome: Browser, page: Canned) -> None:
    page.answers["overview"] = STATES["lost"][0]
    in_view(chrome, page, "aim")
    chrome.shows("The source gives no frames. This picture is of 2026-11-25", "#picture-note")
    chrome.until("return !document.getElementById('light-box').textContent.includes('a second')", "no rate")
    page.answers["overview"] = overview()
    chrome.until("return document.getElementById('picture-note').textContent === ''", "end of the note")
    chrome.shows("pictures a second", "#light-box")


def test_a_stopped_picture_is_marked(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "aim")
    chrome.shows("pictures a second", "#light-box")
    chrome.press("Stop pictures")
    chrome.shows("Pictures are stopped. This picture is of", "#picture-note")
    assert "a second" not in chrome.text("#light-box")
    chrome.press("Show pictures")
    chrome.shows("pictures a second", "#light-box")
    assert chrome.text("#picture-note") == ""


def test_nothing_is_saved_over_a_file_with_an_error(chrome: Browser, page: Canned) -> None:
    page.answers["edit"] = {"status": 409, "kind": "conflict", "error": "the file was edited meanwhile"}
    in_view(chrome, page, "draw")
    chrome.click("[aria-label='Delete mask 1']")
    page.answers["overview"] = STATES["refused file"][0]
    chrome.press("Save")
    chrome.shows("Correct it first; your drawing stays here.", "#save-errors")
    chrome.shows(REJECTED, "#save-errors")
    assert chrome.find("#save").is_enabled()


def test_a_click_beside_the_edge_is_on_the_edge(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "draw")
    chrome.press("Add mask")
    tap(chrome, (0.999, 0.5), (0.5, 0.5), (0.5, 0.998), (0.999, 0.998))
    chrome.press("Finish")
    (mask,) = saved(chrome, page)
    assert [mask["points"][0][0], mask["points"][2][1], *mask["points"][3]] == [1, 1, 1, 1]


def test_the_model_s_input_is_shown_with_its_letterbox(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "aim")
    chrome.until("return !document.getElementById('layer-input').disabled", "switch to the input of the model")
    chrome.click("#layer-input")
    assert chrome.until("return canvas.width === 192 && canvas.height", "input of the model") == 192
    alpha = (
        "return [...document.getElementById('canvas').getContext('2d').getImageData(96, arguments[0], 1, 1).data][3]"
    )
    assert [chrome.run(alpha, y) for y in (5, 96, 186)] == [0, 255, 0]


def test_sharpness_and_light_are_numbers(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "aim")
    chrome.shows("31", "#light-box")
    page.answers["look"] = {**canned.look(), "sharpness": 0.48, "light": 0.05}
    chrome.shows("48", "#light-box")
    chrome.shows("dark", "#light-box")
    chrome.shows("person #3 0.87, in drive", "#findings")
    page.answers["look"] = {"status": 404, "kind": "request", "error": "source door is lost"}
    chrome.shows("There is no picture now.", "#findings")
    assert chrome.text("#light-box") == ""


def test_no_picture_is_asked_for_that_nobody_sees(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "see")
    asked: list[int] = []
    page.answers["look"] = lambda _: asked.append(1) or canned.look()
    chrome.open(page.url, "aim")
    chrome.until("return document.querySelector('#findings li')", "finding")
    chrome.press("Stop pictures")
    chrome.run("location.hash = 'see'")
    chrome.shows("Sources")
    count = len(asked)
    page.answers["overview"] = STATES["clock"][0]
    chrome.shows("1 warning")  # a round of questions later
    assert len(asked) <= count + 1


def test_a_rollback_asks_first(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "see")
    chrome.press("Roll back …")
    chrome.shows("It goes back from eac9143a to 77aa1200")
    assert chrome.driver.switch_to.active_element.text == "Cancel"
    chrome.press("Cancel")
    assert page.posted == []
    chrome.press("Roll back …")
    chrome.press("Roll back")
    chrome.shows("people goes back to 77aa1200")
    assert page.posted == [("rollback", {"model": "people"})]


def test_why_is_asked_for_the_moment_of_an_event(chrome: Browser, page: Canned) -> None:
    asked: list[dict[str, list[str]]] = []
    page.answers["why"] = lambda query: asked.append(query) or {"lines": ["person 0.87: told"], "notes": []}
    in_view(chrome, page, "see")
    chrome.until("return document.querySelector('#events button')", "event")
    chrome.click("#events button")
    chrome.shows("person 0.87: told", "#why")
    since, until = (float(asked[0][key][0]) for key in ("since", "until"))
    assert until - since == pytest.approx(60)
    assert since < page.answers["overview"]["now"] - 60 < until


BARS = """return [...document.querySelectorAll('#drift .bar')].map((bar) =>
    [bar.getAttribute('class').trim(), Number(bar.firstChild.getAttribute('width'))])"""
DRIFT_TEXTS: dict[str, tuple[str, ...]] = {
    "learning": ("learning", "learned\n42 %", "learned\n13 %"),
    "ok": ("as learned", "moved\n62 %", "Not told, because it changes too much anyway: sharpness."),
    "moved": ("camera moved since", "12 % right and 3 % up", "turn the camera back", "moved\n240 %"),
    "scores_lower": (
        "answers: scores lower since",
        "stability index 1.330, without drift about 0.004",
        "to 0.7\n5 %\n30 %",
    ),
    "both": ("camera veiled since", "clean the lens", "answers: scores lower since", "check it first"),
    "answers alone": ("as learned", "value\n20 %"),
}


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", DRIFTS)
def test_drift_is_shown(chrome: Browser, page: Canned, name: str, size: tuple[int, int]) -> None:
    page.answers["drift"] = drift(door_people=DRIFTS[name])
    for scheme in ("light", "dark"):
        in_view(chrome, page, "see", size=size, scheme=scheme)
        for text in ("door-people", "Expected time between two false alarms: 1 year.", *DRIFT_TEXTS[name]):
            chrome.shows(text, "#drift")
        assert not chrome.scrolls_sideways()
        assert chrome.faults() == []
        assert chrome.violations() == []


def test_nothing_of_drift_is_shown_where_no_pipeline_watches_for_it(chrome: Browser, page: Canned) -> None:
    page.answers["drift"] = {"status": 422, "error": "the engine is not running; try again in a moment"}
    in_view(chrome, page, "see")
    assert not chrome.find("#drift-panel").is_displayed()
    page.answers["drift"] = drift(door_people=DRIFTS["ok"])
    chrome.shows("as learned", "#drift")
    chrome.shows("all well")
    page.answers["drift"] = drift()
    chrome.until("return document.getElementById('drift-panel').hidden", "page without drift")


def test_drift_is_among_the_warnings_with_its_remedy(chrome: Browser, page: Canned) -> None:
    page.answers["drift"] = drift(door_people=DRIFTS["both"], yard_people=DRIFTS["learning"])
    in_view(chrome, page, "aim")
    chrome.shows("2 warnings")
    chrome.click("#problem-box summary")
    chrome.shows("Drift in door-people camera veiled since", "#problems")
    chrome.shows("clean the lens: a web, drops or dirt hide part of the picture", "#problems")
    page.answers["drift"] = drift(door_people=DRIFTS["ok"])
    chrome.shows("all well")


def test_bars_have_the_lengths_of_their_numbers(chrome: Browser, page: Canned) -> None:
    page.answers["drift"] = drift(door_people=DRIFTS["scores_lower"])
    in_view(chrome, page, "see")
    chrome.shows("stability index", "#drift")
    found = chrome.run(BARS)
    assert found[:4] == [["bar", pytest.approx(100 * share)] for share in (0.62, 0.41, 0.31, 0.05)]
    assert found[4:6] == [["bar over", 100], ["bar", pytest.approx(50)]]
    pairs = [
        (before, now) for before, now in zip(canned.USUAL_SCORES, canned.LOWER_SCORES, strict=True) if before or now
    ]
    wanted = [
        [kind, pytest.approx(250 * share)]
        for pair in pairs
        for kind, share in zip(("bar before", "bar"), pair, strict=True)
    ]
    assert found[8:18] == wanted


def test_histograms_unfold_at_a_drift_and_stay_as_a_person_leaves_them(chrome: Browser, page: Canned) -> None:
    page.answers["drift"] = drift(door_people=DRIFTS["ok"])
    in_view(chrome, page, "see")
    is_open = "return document.querySelector('#drift details')?.open"
    chrome.shows("Learned and now", "#drift")
    assert chrome.run(is_open) is False
    chrome.keys("#drift summary", Keys.ENTER)
    assert chrome.run(is_open) is True
    page.answers["drift"] = drift(door_people=DRIFTS["scores_lower"])
    chrome.shows("1.330", "#drift")
    chrome.keys("#drift summary", Keys.ENTER)
    page.answers["drift"] = drift(door_people=replace(DRIFTS["scores_lower"], false_alarm=3600.0))
    chrome.shows("60 min", "#drift")
    assert chrome.run(is_open) is False


def test_an_event_of_drift_has_its_kind(chrome: Browser, page: Canned) -> None:
    moved = canned.event(1, kind="drift_end")
    moved["event"] = {key: moved["event"][key] for key in ("v", "ts", "boot", "seq", "type")} | {"kind": "scores_lower"}
    page.answers["events"] = {"events": [moved]}
    in_view(chrome, page, "see")
    chrome.shows("drift end scores lower", "#events")


def test_a_command_that_explains_the_answer_can_be_copied(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "aim")
    chrome.shows("edge-infer explain --source door --pipeline door-people -o why.png", "#explain code")


def test_the_daemon_goes_and_comes_back(chrome: Browser, page: Canned) -> None:
    in_view(chrome, page, "see")
    page.answers["overview"] = {"status": 503, "kind": "away", "error": "the daemon does not answer"}
    chrome.shows("the daemon does not answer", "#gone")
    page.answers["overview"] = overview()
    chrome.until("return document.getElementById('gone').hidden", "page without the error")
    chrome.shows("all well")


def test_an_old_token_is_explained(chrome: Browser, page: Canned) -> None:
    page.answers["overview"] = {"status": 401, "kind": "token", "error": "no token"}
    chrome.open(page.url)
    chrome.shows("open the one that edge-infer page has printed")


def test_a_box_without_pictures_says_so(chrome: Browser, page: Canned) -> None:
    page.answers["scene"] = {**scene(), "sources": {"shaft": {"kind": "iio", "gives": "samples"}}, "pipelines": {}}
    chrome.open(page.url, "draw")
    chrome.shows("No source of this device gives pictures.")
    assert chrome.faults() == []
