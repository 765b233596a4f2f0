"""A real browser for tests of the page: Debian's Chromium, driven by selenium, which downloads nothing here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.broker import PATIENCE, eventually

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
AXE = Path(os.environ.get("AXE", Path(__file__).parents[2] / ".axe")) / "node_modules" / "axe-core" / "axe.min.js"
"""``scripts/test`` installs it where npm is there."""
WIDE = (1280, 900)
PHONE = (360, 740)
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--no-first-run", "--disk-cache-size=1",
    "--force-device-scale-factor=1", "--force-prefers-reduced-motion",
)  # fmt: skip


class Browser:
    """A window on the page. ``url`` is where it is served."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.url = ""

    def open(self, url: str, view: str = "", size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
        """Loads the page anew, in a window of this size, and waits until it shows the state of the daemon."""
        self.url = url
        self.driver.get("about:blank")
        self.faults()  # those of the page before
        self.media(size, scheme)
        self.driver.get(f"{url}/#{view}")
        self.until("return document.getElementById('summary').textContent", "summary of the state")

    def media(self, size: tuple[int, int], scheme: str) -> None:
        """Sets the size of the page, also below the least width of a window, and light or dark."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *values: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *values)

    def until(self, script: str, what: str, deadline: float = PATIENCE) -> Any:
        """What a script returns once that is true."""
        return eventually(lambda: self.run(script), lambda: f"{what} on the page:\n{self.text()}", deadline)

    def text(self, selector: str = "body") -> str:
        """What a person reads in an element."""
        return self.find(selector).text

    def shows(self, text: str, selector: str = "body", deadline: float = PATIENCE) -> None:
        """Waits until a person can read this text."""
        eventually(lambda: text in self.text(selector), lambda: f"{text!r} in:\n{self.text()}", deadline)

    def find(self, selector: str) -> WebElement:
        """The element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Clicks an element with the mouse."""
        self._click(self.find(selector))

    def press(self, text: str) -> None:
        """Clicks the button, or link, with this text."""
        self._click(self.button(text))

    def _click(self, element: WebElement) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def keys(self, selector: str, keys: str) -> None:
        """Moves the focus to an element and presses keys."""
        self.run("document.querySelector(arguments[0]).focus()", selector)
        ActionChains(self.driver).send_keys(keys).perform()

    def type(self, selector: str, text: str) -> None:
        """Replaces the text of a field with the keyboard."""
        self.find(selector).send_keys(Keys.CONTROL, "a", Keys.NULL, text or Keys.DELETE)

    def button(self, text: str) -> WebElement:
        """The button, or link, with this text."""
        path = f'//*[self::button or self::a][normalize-space()="{text}"]'
        found = [each for each in self.driver.find_elements(By.XPATH, path) if each.is_displayed()]
        assert found, f"no button {text!r} in:\n{self.text()}"
        return found[0]

    def requests(self) -> list[str]:
        """The addresses that the browser has asked for since the last call."""
        lines = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        sent = [line["params"] for line in lines if line["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]

    def foreign(self) -> list[str]:
        """Those of them that are not on the page's own server."""
        own = {urlsplit(self.url).netloc, ""}
        return [url for url in self.requests() if urlsplit(url).netloc not in own]

    def faults(self) -> list[str]:
        """What the console reports since the last call: scripts that failed, resources that the policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than its window."""
        wider: bool = self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wider

    def violations(self) -> list[str]:
        """What axe-core finds that is serious or critical, each with the first element."""
        if not AXE.exists():
            pytest.skip("axe-core is not here; scripts/test installs it where npm is")
        if not self.run("return typeof axe === 'object'"):
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found = self.driver.execute_async_script("axe.run(document).then(arguments[arguments.length - 1])")
        return [
            f"{each['id']}: {each['nodes'][0]['html']} {each['nodes'][0]['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    def picture(self, path: Path) -> None:
        """Saves what the window shows."""
        assert self.driver.save_screenshot(str(path))


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts the browser, without a profile that stays; skips where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_script_timeout(60)
        yield Browser(driver)
    finally:
        driver.quit()
