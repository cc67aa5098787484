"""The page and the API's documentation in a real Chromium, without a word of complaint in its console."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from browsing import Browser, browsing, needs_chromium
from keys import API_KEY, api_keys
from running import Running, publish, serving

pytestmark = needs_chromium
# Chromium's own line for a document that is answered with a 401, as the page that asks for a key is.
REFUSED = "the server responded with a status of 401"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A new profile."""
    with browsing(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def guarded(thermometer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that wants a key."""
    with serving(thermometer, *api_keys(tmp_path_factory.mktemp("keys"))) as running:
        running.until_ready()
        yield running


def sign_in(browser: Browser, key: str) -> None:
    """Type the key, and Enter."""
    browser.find("#key").clear()
    browser.find("#key").send_keys(key, Keys.ENTER)


def predict_by_hand(browser: Browser) -> None:
    """Type two readings into the page, with the keyboard alone."""
    browser.until_text("#models", "ready")
    feature = browser.find("#features textarea")
    assert "fahrenheit (degF)" in browser.find("#features label").text
    feature.send_keys("50.0, 212", Keys.TAB, Keys.ENTER)
    browser.until_text("#predictions", "out of range")
    rows = [row.text for row in browser.chrome.find_elements(By.CSS_SELECTOR, "#predictions tbody tr")]
    assert len(rows) == 2
    assert rows[0].startswith("50 ")
    assert "seen in training" in rows[0]
    assert "out of range" in rows[1]
    assert "celsius (degC)" in browser.find("#predictions thead").text
    assert "hidden_linear.weight" in browser.find("#parameters").text


def show_docs(browser: Browser) -> None:
    """Every group of operations is there, and one of them can be tried out."""
    browser.until_text("#swagger-ui", "/v2/models/{model}/infer")
    browser.find("#operations-models-list_models_models_get button.opblock-summary-control").click()
    browser.find(".try-out__btn").click()
    browser.find(".execute").click()
    browser.until_text(".live-responses-table", "default_version")


def test_a_prediction_by_hand(browser: Browser, service: Running) -> None:
    """It appears with its units and its flag; models and parameters are beside it; what is wrong is said."""
    browser.chrome.get(service.url)
    predict_by_hand(browser)
    assert browser.complaints() == []
    browser.find("#features textarea").send_keys(" <b>x</b>", Keys.TAB, Keys.ENTER)
    browser.until_text("#problem", "fahrenheit: <b>x</b> is not a number")
    browser.find("nav a").click()
    browser.until_text("#swagger-ui", "/predict")


UNCLEAR = {
    "5,5": "5,5 is unclear: type 5.5 for one value, or 5 5 for two",
    "-5,25": "-5,25 is unclear: type -5.25 for one value, or -5 25 for two",
    "1,000": "1,000 is unclear: type 1000 or 1.000 for one value, or 1 000 for two",
    "50 5,5": "5,5 is unclear",
    **dict.fromkeys(
        ["1.000,5", "1,000.5", "1,000,000", "1.000.000", "1'000", "1\u2019000", "1_000", "1\u00a0000", "1\u202f000",
         "1 000", "x5,5", ",5", "5.5,6", "1,2,3", "0x10", "\u22125", "1e999", "5-", "1e", "05"],
        "is not a number: type a point before decimals, nothing between thousands, and a blank between two values",
    ),
    **dict.fromkeys(["5;;6", "5, ,6", "5,\n,6", ",", ";5", "5,,6"], "a value is missing beside a separator"),
    **dict.fromkeys(["NaN", "Infinity", "-", "e", "\u0665"], "is not a number"),
}  # fmt: skip
CLEAR = {
    "5.5": ["5.5"], "5 5": ["5", "5"], "5, 5": ["5", "5"], "5,\n5,": ["5", "5"], "5;5": ["5", "5"], "5\t5": ["5", "5"],
    "5 ; 6,\n\n7 8;": ["5", "6", "7", "8"], ".5 +5 -5.": ["0.5", "5", "-5"], "5e1, 0.5E-1": ["50", "0.05"], "0": ["0"],
}  # fmt: skip


def type_values(browser: Browser, text: str) -> None:
    """Put a text into the only feature's field, and ask for the prediction."""
    feature = browser.find("#features textarea")
    browser.chrome.execute_script("arguments[0].value = arguments[1]", feature, text)
    browser.find("#predict button").click()


def test_what_can_be_read_in_two_ways_is_refused(browser: Browser, service: Running) -> None:
    """A decimal comma or a separator of thousands gets a message that says what to type, and no prediction."""
    browser.chrome.get(service.url)
    browser.until_text("#models", "ready")
    for text, message in UNCLEAR.items():
        type_values(browser, "1")
        browser.until_gone("#problem")
        type_values(browser, text)
        browser.until_text("#problem", message)
    for text, values in CLEAR.items():
        type_values(browser, text)
        until_answered(browser, values)
        assert not browser.chrome.find_element(By.ID, "problem").is_displayed(), text


def until_answered(browser: Browser, readings: list[str]) -> None:
    """Wait until the predictions of exactly these readings are shown."""
    script = "return [...document.querySelectorAll('#predictions tbody tr')].map((row) => row.cells[0].textContent)"
    browser.wait.until(lambda chrome: chrome.execute_script(script) == readings)


def test_a_model_of_several_columns(browser: Browser, both: Running) -> None:
    """Each feature has an input of its own; a wrong table's problem is the service's own words."""
    browser.chrome.get(both.url)
    Select(browser.find("#version")).select_by_visible_text("wine 2")
    browser.wait.until(lambda chrome: len(chrome.find_elements(By.CSS_SELECTOR, "#features textarea")) == 2)
    acid, sugar = browser.chrome.find_elements(By.CSS_SELECTOR, "#features textarea")
    acid.send_keys("1\n2\n3")
    sugar.send_keys("1 2")
    browser.find("#predict button").click()
    browser.until_text("#problem", "differ in length")
    sugar.send_keys(" 3")
    browser.find("#predict button").click()
    browser.until_text("#predictions thead", "price")
    assert len(browser.chrome.find_elements(By.CSS_SELECTOR, "#predictions tbody tr")) == 3


def test_the_documentation(browser: Browser, service: Running) -> None:
    """Whole, with nothing from elsewhere."""
    browser.chrome.get(f"{service.url}/docs")
    show_docs(browser)
    assert browser.complaints() == []


def test_the_page_with_a_key(browser: Browser, guarded: Running) -> None:
    """It is asked for, a wrong one is told, and it is kept nowhere that outlives the page."""
    browser.chrome.get(guarded.url)
    sign_in(browser, "nobodys")
    browser.until_text("#problem", "knows no such key")
    sign_in(browser, API_KEY)
    predict_by_hand(browser)
    assert all(REFUSED in complaint for complaint in browser.complaints())
    assert browser.chrome.get_cookies() == []
    kept = "return JSON.stringify([localStorage, sessionStorage, location.href])"
    assert API_KEY not in browser.chrome.execute_script(kept)
    browser.chrome.refresh()
    browser.find("#key")


def test_what_is_no_page_with_a_key(browser: Browser, guarded: Running) -> None:
    """It is shown as it is."""
    for path, text in (("models", '"name":"thermometer"'), ("nope", "there is nothing at this path")):
        browser.chrome.get(f"{guarded.url}/{path}")
        sign_in(browser, API_KEY)
        browser.until_text("pre", text)


def test_the_documentation_with_a_key(browser: Browser, guarded: Running) -> None:
    """The same, and what is tried out there has the key."""
    browser.chrome.get(f"{guarded.url}/docs")
    sign_in(browser, API_KEY)
    show_docs(browser)
    assert all(REFUSED in complaint for complaint in browser.complaints())


def test_on_a_phone_in_the_dark(browser: Browser, service: Running) -> None:
    """Nothing is wider than the screen, and the page is dark where its reader's other pages are."""
    commands: list[tuple[str, dict[str, Any]]] = [
        ("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}),
        ("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    ]
    for command, parameters in commands:
        browser.chrome.execute_cdp_cmd(command, parameters)
    browser.chrome.get(service.url)
    predict_by_hand(browser)
    width = browser.chrome.execute_script("return document.documentElement.scrollWidth")
    assert width <= 360
    back = browser.chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(map(int, back.removeprefix("rgb(").removesuffix(")").split(","))) < 60


def test_a_phone_shows_errors_and_flags(browser: Browser, both: Running) -> None:
    """On a screen of 360 pixels, an error and "out of range" are where the reader looks, without scrolling."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.chrome.get(both.url)
    Select(browser.find("#version")).select_by_visible_text("wine 2")
    browser.wait.until(lambda chrome: len(chrome.find_elements(By.CSS_SELECTOR, "#features textarea")) == 2)
    for field, values in zip(
        browser.chrome.find_elements(By.CSS_SELECTOR, "#features textarea"), ("1e6", "1"), strict=True
    ):
        field.send_keys(values)
    browser.find("#predict button").click()
    browser.until_text("#predictions", "out of range")
    box = "const box = arguments[0].getBoundingClientRect(); return [box.left, box.right, box.top, box.bottom]"
    left, right, *_ = browser.chrome.execute_script(box, browser.find("#predictions .outside"))
    assert 0 <= left < right <= 360
    field.send_keys(",5")
    browser.find("#predict button").click()
    browser.until_text("#problem", "1,5 is unclear")
    assert browser.find("#problem").get_attribute("role") == "alert"
    left, right, top, bottom = browser.chrome.execute_script(box, browser.find("#problem"))
    assert 0 <= left < right <= 360
    assert 0 <= top < bottom <= 740


def test_what_a_manifest_says_is_text(browser: Browser, tmp_path: Path) -> None:
    """Also where it looks like HTML."""
    publish(tmp_path, "--unit", "fahrenheit=<b>F</b>", "--unit", "celsius=<script>C</script>")
    with serving(tmp_path) as running:
        running.until_ready()
        browser.chrome.get(running.url)
        browser.until_text("#features label", "fahrenheit (<b>F</b>)")
        browser.find("#features textarea").send_keys("50", Keys.TAB, Keys.ENTER)
        browser.until_text("#predictions thead", "celsius (<script>C</script>)")
        assert browser.complaints() == []


def test_nothing_to_ask(browser: Browser, tmp_path: Path) -> None:
    """Without a version that is ready the page says so, and why; a look later, it has one."""
    publish(tmp_path)
    report = tmp_path / "thermometer/1/report.json"
    whole = report.read_bytes()
    report.write_text("{}")
    with serving(tmp_path) as running:
        running.until(lambda client: client.get("/models").json()["models"][0]["versions"][0]["state"] == "failed")
        browser.chrome.get(running.url)
        browser.until_text("#models", "report.json")
        assert browser.find("#none").text == "No version is ready."
        report.write_bytes(whole)
        running.until_ready()
        browser.find("#refresh").click()
        predict_by_hand(browser)
