"""evaluate: how good a published version is on new readings."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from left_out import fit, published

Command = Callable[..., tuple[int, str, str]]
Write = Callable[[str | bytes], Path]

LINE = "x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(10))
# 2x + 1 answers 3, 5 and 101: off by 1, -3 and 2.
NEW = "when;y;x\nmonday;2;1\ntuesday;8;2\nlate;99;50\n"


@pytest.fixture
def line(tmp_path: Path, command: Command, table: Write) -> Path:
    """A folder with 2x + 1, learned from x in 0 to 9."""
    flags = ["--model", "line", "--hidden", 0, "--learning-rate", 0.1, "--epochs", 300, "--validation-fraction", 0]
    assert command("fit", "--data", table(LINE), *flags, "--unit", "y=mm", "--artifacts", tmp_path / "a")[0] == 0
    return tmp_path / "a"


def test_the_measures_are_those_of_the_errors(line: Path, command: Command, table: Write) -> None:
    """Root mean square, mean absolute, mean and largest error in the target's unit, and the share out of range."""
    status, out, error = command("evaluate", "--data", table(NEW), "--model", "line", "--artifacts", line)
    assert (status, error) == (0, "")
    first, head, row, outside = out.splitlines()
    assert first.startswith("line version 1 on 3 readings of readings.csv (sha256 ")
    assert head.split()[:5] == ["target", "rmse", "mae", "bias", "largest"]
    assert row.startswith("y (mm) ")
    assert [float(value) for value in row.split()[2:6]] == pytest.approx([(14 / 3) ** 0.5, 2, 0, -3], abs=2e-3)
    assert outside == "out_of_range 0.3333"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (["rmse=2.2", "mae=2.1", "bias=0.1", "largest=3.1", "out_of_range=0.34"], ""),
        (["rmse=2.1"], "rmse of y is 2.16, above 2.1"),
        (["largest=2.9"], "largest of y is 3, above 2.9"),
        (
            ["rmse=2.1", "bias=0.1", "out_of_range=0"],
            "rmse of y is 2.16, above 2.1; out_of_range is 0.3333, above 0",
        ),
    ],
)
def test_a_measure_above_its_limit_is_status_3(
    limits: list[str], message: str, line: Path, command: Command, table: Write
) -> None:
    """The measures are printed first; errors count by their size; each limit that is broken is named."""
    flags = [part for limit in limits for part in ("--fail-above", limit)]
    status, out, error = command("evaluate", "--data", table(NEW), "--model", "line", "--artifacts", line, *flags)
    assert status == (3 if message else 0)
    assert "rmse" in out
    assert error == (f"error: {message}\n" if message else "")


def test_the_version_is_the_one_that_the_service_answers_with(line: Path, command: Command, table: Write) -> None:
    """The highest, unless a champion is named; a number and a label are a version each."""
    data = table(LINE)
    common = ["--model", "line", "--artifacts", line]
    assert command("fit", "--data", data, "--epochs", 1, *common)[0] == 0

    def version(*flags: object) -> str:
        return command("evaluate", "--data", data, *common, *flags)[1].split()[2]

    assert [version(), version("--version", 1)] == ["2", "1"]
    assert command("label", "line", "champion", 1, "--artifacts", line)[0] == 0
    assert [version(), version("--version", 2), version("--version", "champion")] == ["1", "2", "1"]


REFUSED = {
    "no column": ("x\n1\n", [], "readings.csv, line 1: has no column 'y'; its columns are x"),
    "a column twice": ("x,y,x\n1,2,3\n", [], "readings.csv, line 1, column 'x': two columns have this name"),
    "no row": ("x,y\n", [], "readings.csv: has no rows of readings"),
    "text": ("x,y,z\n1,2,a\n1,b,c\n", [], "readings.csv, line 3, column 'y': 'b' is not a number"),
    "no such version": (LINE, ["--version", "7"], "line: has no version 7; its versions and labels: 1"),
    "no such label": (LINE, ["--version", "best"], "line: has no version best; its versions and labels: 1"),
    "no such measure": (
        LINE,
        ["--fail-above", "r2=1"],
        "--fail-above r2: is not measured; there is rmse, mae, bias, largest, out",
    ),
    "no such level": (LINE, ["--fail-below", "coverage_0.95=0.9"], "coverage_0.95: is not measured; there is "),
    "no limit": (LINE, ["--fail-above", "rmse"], "argument --fail-above: 'rmse' is not MEASURE=NUMBER"),
    "no model": (LINE, ["--model", "nope"], "nope: No such file or directory"),
    "no name": (LINE, ["--model", "../x"], "'../x': must be lower-case letters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_evaluated_is_status_2(name: str, line: Path, command: Command, table: Write) -> None:
    """One line says what, and where."""
    content, flags, message = REFUSED[name]
    common = ["--data", table(content), "--model", "line", "--artifacts", line]
    status, out, error = command("evaluate", *common, *flags)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert message in error


def test_a_version_that_would_not_be_served_is_not_evaluated(line: Path, command: Command, table: Write) -> None:
    """It is read as the service reads it."""
    with (line / "line/1/network.pt").open("ab") as file:
        file.write(b" ")
    status, _, error = command("evaluate", "--data", table(LINE), "--model", "line", "--artifacts", line)
    assert status == 2
    assert re.search(r"line/1: network\.pt: has \d+ bytes, the manifest says", error)


def test_many_readings_are_measured_in_blocks(line: Path, command: Command, table: Write) -> None:
    """What is measured of 200,000 readings is as of one, when all are the same."""
    data = table("x,y\n" + "1,2\n" * 200_000)
    status, out, _ = command("evaluate", "--data", data, "--model", "line", "--artifacts", line)
    assert status == 0
    assert [float(value) for value in out.splitlines()[2].split()[2:6]] == pytest.approx([1, 1, 1, 1], abs=2e-3)


def test_coverage_is_the_share_within_the_interval(command: Command, table: Write, tmp_path: Path) -> None:
    """At 80 and at 90 percent, of a version that has intervals; a limit says how low it may be."""
    fits = fit()
    published(tmp_path, fits)
    common = ["--model", "thermometer", "--artifacts", tmp_path]
    x = np.array([[30.0], [40.0], [50.0], [60.0]])
    _, narrow = fits.bounds(x, 2)
    _, wide = fits.bounds(x, 1)
    assert (wide > narrow + 0.01).any()
    beyond = np.where(wide > narrow + 0.01, (wide + narrow) / 2, wide + 1)[:, 0]
    share = float((wide > narrow + 0.01).mean())
    rows = [f"{x[0]},{y}" for x, y in zip(x, beyond, strict=True)]
    data = table("\n".join(["fahrenheit,celsius", *rows]))
    status, out, _ = command("evaluate", "--data", data, *common)
    assert status == 0
    assert out.splitlines()[1].split()[-2:] == ["coverage_0.8", "coverage_0.9"]
    assert [float(value) for value in out.splitlines()[2].split()[-2:]] == [0, share]
    limits = ["--fail-below", "coverage_0.8=0.5", "--fail-below", f"coverage_0.9={share}"]
    status, _, error = command("evaluate", "--data", data, *common, *limits)
    assert (status, error) == (3, "error: coverage_0.8 of celsius is 0, below 0.5\n")


def test_a_level_that_the_readings_cannot_give_is_not_measured(command: Command, table: Write, tmp_path: Path) -> None:
    """Five readings give 80 percent, and not 90."""
    data = table("fahrenheit,celsius\n20,-7\n40,4\n60,16\n80,27\n100,38\n")
    published(tmp_path, fit(data))
    flags = ["evaluate", "--data", data, "--model", "thermometer", "--artifacts", tmp_path]
    assert command(*flags)[1].splitlines()[1].split()[-1] == "coverage_0.8"
    status, _, error = command(*flags, "--fail-below", "coverage_0.9=0.8")
    assert (status, error) == (2, "error: --fail-below coverage_0.9: is not measured; there is coverage_0.8\n")
