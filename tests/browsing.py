"""A real Chromium, as a person uses it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1000,1400",
]  # fmt: skip
SECONDS = 30


class Browser:
    """A window, and what a person does in it."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome
        self.wait = WebDriverWait(chrome, SECONDS)

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector that can be seen, as soon as there is one."""

        def shown(chrome: Chrome) -> WebElement | Literal[False]:
            found = chrome.find_elements(By.CSS_SELECTOR, selector)
            return next((element for element in found if element.is_displayed()), False)

        return self.wait.until(shown)

    def until_text(self, selector: str, text: str) -> None:
        """Wait until it can be read there."""
        self.wait.until(lambda chrome: text in chrome.find_element(By.CSS_SELECTOR, selector).text)

    def until_gone(self, selector: str) -> None:
        """Wait until it cannot be seen."""
        self.wait.until(lambda chrome: not chrome.find_element(By.CSS_SELECTOR, selector).is_displayed())

    def complaints(self) -> list[str]:
        """What was written to the console since the last time."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A window with a new profile in this folder, until the block ends."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(DRIVER))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
