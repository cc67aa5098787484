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


@pytest.mark.parametrize("typed", ["5,5", "1,000", "1.000,5", "50,68,212", "50.0,212"])
def test_a_comma_between_two_digits_is_not_guessed_at(browser: Browser, service: Running, typed: str) -> None:
    """A comma that could be a decimal mark or could separate two values gets a question, and no prediction."""
    browser.chrome.get(service.url)
    browser.until_text("#models", "ready")
    browser.find("#features textarea").send_keys(typed, Keys.TAB, Keys.ENTER)
    browser.until_text("#problem", f"fahrenheit: {typed} may be one number or several")
    assert browser.chrome.find_elements(By.CSS_SELECTOR, "#predictions table") == []


@pytest.mark.parametrize("typed", ["50, 68", "50 68", "50; 68", "50;68", "50 ,68", "50,  68,"])
def test_what_separates_values_beyond_doubt_is_taken(browser: Browser, service: Running, typed: str) -> None:
    """Blanks, semicolons, and commas beside a blank separate values."""
    browser.chrome.get(service.url)
    browser.until_text("#models", "ready")
    browser.find("#features textarea").send_keys(typed, Keys.TAB, Keys.ENTER)
    browser.until_text("#predictions", "seen in training")
    assert len(browser.chrome.find_elements(By.CSS_SELECTOR, "#predictions tbody tr")) == 2


def test_an_error_is_where_a_person_looks(browser: Browser, service: Running) -> None:
    """On a small window the error is scrolled into view."""
    browser.chrome.set_window_size(360, 640)
    browser.chrome.get(service.url)
    browser.until_text("#models", "ready")
    browser.find("#features textarea").send_keys("hot", Keys.TAB, Keys.ENTER)
    browser.until_text("#problem", "hot is not a number")
    box = "document.getElementById('problem').getBoundingClientRect()"
    line = f"return [{box}.top, {box}.bottom, innerHeight]"
    top, bottom, height = browser.chrome.execute_script(line)
    assert 0 <= top < bottom <= height


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
