"""report, and ``fit --report``: one page on a version that needs nothing else, and its pictures."""

import html
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from selenium.webdriver.common.by import By

import left_out
from browsing import browsing, needs_chromium
from service import artifact
from service.artifact import needed
from training.fit import THERMOMETER

Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str | bytes], Path]

PICTURES = {"fit.svg", "loss.svg", "residuals.svg"}
# A dollar sign starts a formula, and <script> a script.
ODD = '"<script>a</script>";"b$";"$c$";"d & \'e\'"\n1;2;3;4\n2;3;4;8\n3;5;5;6\n'


def drawn(directory: Path) -> dict[str, bytes]:
    """The files of a report, by name; each picture is well-formed XML, and needs no style sheet."""
    found = {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix in (".svg", ".html")}
    for name, content in found.items():
        if name.endswith(".svg"):
            assert ET.fromstring(content).tag.endswith("svg")
            assert b"style" not in content
    return found


def test_a_fit_puts_the_page_and_its_pictures_into_the_artifact(tmp_path: Path, command: Command) -> None:
    """The readings and the curve, losses, residuals and neurons; the manifest vouches for them."""
    assert command("fit", "--epochs", 1, "--artifacts", tmp_path, "--report")[0] == 0
    version = tmp_path / "thermometer" / "1"
    assert set(drawn(version)) == {*PICTURES, "neurons.svg", "report.html"}
    assert set(artifact.read(version).manifest.files) == {path.name for path in version.iterdir()} - {"manifest.json"}


def test_a_report_of_any_version_is_the_one_that_the_fit_made(tmp_path: Path, command: Command) -> None:
    """It is made of what the artifact holds, byte for byte the same; a label names a version too."""
    common = ["--artifacts", tmp_path / "artifacts"]
    for report in ([], ["--report"]):
        assert command("fit", "--epochs", 3, *common, *report)[0] == 0
    command("label", "thermometer", "best", 2, *common)
    status, out, _ = command("report", "thermometer", "best", *common, "--out", tmp_path / "page")
    assert (status, out) == (0, f"wrote {tmp_path / 'page' / 'report.html'}\n")
    assert drawn(tmp_path / "page") == drawn(tmp_path / "artifacts/thermometer/2")
    assert command("report", "thermometer", 1, *common, "--out", tmp_path / "plain")[0] == 0
    plain = drawn(tmp_path / "plain")
    assert {name: plain[name] for name in PICTURES} == {name: drawn(tmp_path / "page")[name] for name in PICTURES}


@pytest.mark.parametrize(
    "recipe", [["--hidden", "3,2", "--epochs", 4, "--activation", "softplus"], ["--recipe", "automatic"]]
)
def test_its_command_makes_the_same_network_again(
    recipe: list[object], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file that has the digest on the page."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instrument.csv").write_bytes(THERMOMETER.read_bytes())
    flags = ["--target", "fahrenheit", "--unit", "celsius=deg 'C", "--seed", 7, *recipe]
    assert command("fit", "--data", "instrument.csv", *flags, "--report")[0] == 0
    page = Path("artifacts/instrument/1/report.html").read_text()
    found = re.search(r"<pre><code>python -m training (.*?)</code></pre>", page, re.DOTALL)
    assert found
    assert command(*shlex.split(html.unescape(found[1])))[0] == 0
    first, again = (artifact.read(Path("artifacts/instrument", number)).manifest for number in "12")
    assert again.files["network.pt"] == first.files["network.pt"]
    assert first.training.data.sha256 in page
    assert again.training == first.training


@pytest.mark.parametrize("flags", [["--target", "$c$", "--target", "b$"], ["--hidden", 0, "--target", "b$"]])
def test_several_features_are_drawn_as_prediction_against_reading(
    flags: list[object], tmp_path: Path, command: Command, table: Write
) -> None:
    """There is no curve over two features, and so no picture of neurons; odd names and no validation are no trouble."""
    common = ["--data", table(ODD), "--validation-fraction", 0, "--epochs", 2, "--report", "--artifacts", tmp_path]
    assert command("fit", *common, *flags)[0] == 0
    assert set(drawn(tmp_path / "readings" / "1")) == {*PICTURES, "report.html"}


def test_the_linear_model_has_no_neurons_to_draw(tmp_path: Path, command: Command) -> None:
    """Nor has the page."""
    assert command("fit", "--hidden", 0, "--epochs", 2, "--report", "--artifacts", tmp_path)[0] == 0
    files = drawn(tmp_path / "thermometer" / "1")
    assert set(files) == {*PICTURES, "report.html"}
    assert b"neurons" not in files["report.html"]


def test_a_version_with_intervals_has_their_bands(tmp_path: Path, command: Command) -> None:
    """At 80 and at 90 percent, where its readings are enough for them."""
    left_out.published(tmp_path, left_out.fit())
    assert command("report", "thermometer", 1, "--artifacts", tmp_path, "--out", tmp_path / "page")[0] == 0
    picture = drawn(tmp_path / "page")["fit.svg"]
    assert b"interval, 80 %" in picture
    assert b"interval, 90 %" in picture


@needs_chromium
def test_the_page_is_whole_in_a_browser(tmp_path: Path, command: Command, table: Write) -> None:
    """Its own policy lets it load nothing and run nothing; names are text; nothing is wider than the page."""
    flags = ["--target", "b$", "--unit", "b$=<i>mm</i>", "--epochs", 2, "--report", "--artifacts", tmp_path]
    assert command("fit", "--data", table(ODD), *flags)[0] == 0
    with browsing(tmp_path / "profile") as browser:
        browser.chrome.get((tmp_path / "readings/1/report.html").as_uri())
        browser.until_text("tbody", "<script>a</script>")
        assert "<i>mm</i>" in browser.find("tbody").text
        assert len(browser.chrome.find_elements(By.CSS_SELECTOR, "figure svg")) == len(PICTURES)
        assert browser.chrome.find_elements(By.CSS_SELECTOR, "script, img, link, i") == []
        assert browser.complaints() == []
        line = "return getComputedStyle(document.querySelector('figure svg path[stroke-linecap=square]')).stroke"
        assert browser.chrome.execute_script(line).startswith("rgb(")
        assert browser.find("figure").value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
        width = browser.chrome.execute_script("return document.documentElement.scrollWidth")
        assert width <= browser.chrome.execute_script("return document.documentElement.clientWidth")


def test_without_what_draws_the_extra_is_named_first(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command stops at once, and nothing is published or written."""
    monkeypatch.setattr("training.svg.util.find_spec", lambda name: None)
    for flags, what in ((["fit", "--report"], "--report"), (["report", "thermometer", 1], "report")):
        status, out, error = command(*flags, "--artifacts", tmp_path)
        assert (status, out) == (2, "")
        assert error == f"error: {needed(what, 'plots')}\n"
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_draws_is_imported_without_need(tmp_path: Path, process: Process) -> None:
    """A plain fit works where the extra is not installed."""
    code = "import sys; sys.modules['matplotlib'] = None; from training.__main__ import main; sys.exit(main())"
    started = process("-c", code, "fit", "--epochs", 1, "--artifacts", tmp_path)
    _, error = started.communicate(timeout=60)
    assert started.returncode == 0, error


def test_what_cannot_be_written_is_status_2(published: Path, command: Command, tmp_path: Path) -> None:
    """A file where the folder must be, and a version that is not there, are named."""
    (tmp_path / "file").write_text("")
    common = ["--artifacts", published.parents[1]]
    status, _, error = command("report", "thermometer", 1, *common, "--out", tmp_path / "file")
    assert (status, error) == (2, f"error: {tmp_path / 'file'}: File exists\n")
    status, _, error = command("report", "thermometer", 9, *common, "--out", tmp_path / "page")
    assert status == 2
    assert "has no version 9; its versions and labels: 1" in error
    assert not (tmp_path / "page").exists()
