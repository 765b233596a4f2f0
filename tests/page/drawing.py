"""Mouse and finger on the picture of the page."""

from __future__ import annotations

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput

from tests.page.chrome import Browser

RECTANGLE = """
document.getElementById("frame").scrollIntoView({block: "center"});
const {x, y, width, height} = document.querySelector(arguments[0]).getBoundingClientRect();
return [x, y, width, height];
"""


def tap(chrome: Browser, *places: tuple[float, float]) -> list[tuple[float, float]]:
    """Clicks on the pixels of the window next to places of the picture; returns where in the picture those are."""
    left, top, width, height = chrome.run(RECTANGLE, "#overlay")
    pixels = [(round(left + x * width), round(top + y * height)) for x, y in places]
    for pixel in pixels:
        _move(ActionChains(chrome.driver, duration=20), *pixel).click().perform()
    return [((x - left) / width, (y - top) / height) for x, y in pixels]


def swipe(chrome: Browser, selector: str, x: float, y: float) -> None:
    """Moves the middle of an element to a place of the picture with a finger."""
    left, top, width, height = chrome.run(RECTANGLE, "#overlay")
    at = chrome.run(RECTANGLE, selector)
    finger = ActionBuilder(chrome.driver, PointerInput(interaction.POINTER_TOUCH, "finger"), duration=50)
    finger.pointer_action.move_to_location(round(at[0] + at[2] / 2), round(at[1] + at[3] / 2)).pointer_down()
    finger.pointer_action.move_to_location(round(left + x * width), round(top + y * height)).pointer_up()
    finger.perform()


def drag(chrome: Browser, selector: str, x: float, y: float) -> None:
    """Drags the middle of an element to a place of the picture."""
    left, top, width, height = chrome.run(RECTANGLE, "#overlay")
    at = chrome.run(RECTANGLE, selector)
    chain = _move(ActionChains(chrome.driver, duration=50), at[0] + at[2] / 2, at[1] + at[3] / 2).click_and_hold()
    _move(chain, left + x * width, top + y * height).release().perform()


def _move(chain: ActionChains, x: float, y: float) -> ActionChains:
    """Moves to a point of the window, to the nearest pixel."""
    chain.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    chain.w3c_actions.key_action.pause()
    return chain
