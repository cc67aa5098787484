"""sweep: many sizes, learning rates and seeds at once, and what comes of them."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median
from xml.etree import ElementTree as ET

import pytest
import torch

from service.artifact import needed
from training.grid import linearity

Command = Callable[..., tuple[int, str, str]]
Write = Callable[[str | bytes], Path]

FAST = ["--hidden", "0,3", "--learning-rate", "0.01,0.1", "--seeds", 3, "--epochs", 40]


def results(folder: Path) -> list[dict[str, str]]:
    """The lines of the CSV file."""
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("seed", [0, 2])
def test_each_network_is_the_one_that_fit_makes(seed: int, tmp_path: Path, command: Command) -> None:
    """Of the same size, learning rate and seed: the same losses, and so the same rows put aside."""
    assert command("sweep", *FAST, "--out", tmp_path / "sweep")[0] == 0
    found = {(row["hidden"], row["learning_rate"], row["seed"]): row for row in results(tmp_path / "sweep")}
    assert len(found) == 2 * 2 * 3
    for version, (hidden, rate) in enumerate([("0", "0.1"), ("3", "0.01")], start=1):
        flags = ["--hidden", hidden, "--learning-rate", rate, "--seed", seed, "--epochs", 40, "--artifacts", tmp_path]
        assert command("fit", *flags)[0] == 0
        losses = json.loads((tmp_path / f"thermometer/{version}/report.json").read_text())["losses"]
        row = found[hidden, rate, str(seed)]
        assert float(row["training_loss"]) == pytest.approx(losses["training"][-1], rel=1e-4)
        assert float(row["validation_loss"]) == pytest.approx(losses["validation"][-1], rel=1e-4)
        best = min(losses["validation"])
        assert float(row["best_validation_loss"]) == pytest.approx(best, rel=1e-4)
        assert float(row["overfit"]) == pytest.approx(losses["validation"][-1] / best, rel=1e-3)


def test_the_table_sums_the_seeds_up(tmp_path: Path, command: Command) -> None:
    """A line for each size and learning rate, with the median of the CSV's losses; the best of them is named."""
    status, out, progress = command("sweep", *FAST, "--out", tmp_path)
    assert status == 0
    assert progress.count("100%") == 2
    medians = {}
    for hidden, rate in (("0", "0.01"), ("0", "0.1"), ("3", "0.01"), ("3", "0.1")):
        rows = [row for row in results(tmp_path) if (row["hidden"], row["learning_rate"]) == (hidden, rate)]
        medians[hidden, rate] = median(float(row["validation_loss"]) for row in rows)
        assert re.search(rf"^ +{hidden} +{rate} +{medians[hidden, rate]:.3g} \(", out, re.MULTILINE)
    hidden, rate = min(medians, key=lambda pair: medians[pair])
    assert f"lowest: --hidden {hidden} --learning-rate {rate}\n" in out
    picture = (tmp_path / "sweep.svg").read_bytes()
    assert ET.fromstring(picture).tag.endswith("svg")
    assert b"learning rate 0.01" in picture


def test_a_linear_model_is_a_line_and_a_bend_is_not(tmp_path: Path, command: Command, table: Write) -> None:
    """Linearity is 1 without a hidden layer, and clearly less for neurons that have learned a parabola."""
    data = table("x,y\n" + "".join(f"{x},{(x - 10) ** 2}\n" for x in range(21)))
    flags = ["--hidden", "0,8", "--learning-rate", "0.1", "--seeds", 2, "--epochs", 2000, "--out", tmp_path]
    assert command("sweep", "--data", data, *flags)[0] == 0
    found = {(row["hidden"], row["seed"]): float(row["linearity"]) for row in results(tmp_path)}
    assert [found["0", seed] for seed in "01"] == pytest.approx([1, 1])
    assert max(found["8", seed] for seed in "01") < 0.5


def test_linearity_is_the_share_of_the_variance() -> None:
    """A fifth, for x and twice what is at right angles to it; a constant is linear, and features may be equal."""
    x = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    bent = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    outputs = torch.stack([3 + x, x + 2 * bent, torch.full_like(x, 7)])
    torch.testing.assert_close(linearity(torch.cat([x, x], dim=1), outputs).float(), torch.tensor([1, 0.2, 1]))


def test_what_diverges_is_said_and_spoils_nothing(tmp_path: Path, command: Command) -> None:
    """Its line of the CSV has no losses, the table counts it, and its neighbours are as without it."""
    flags = ["--hidden", "4", "--seeds", 2, "--epochs", 60]
    status, out, _ = command("sweep", *flags, "--learning-rate", "0.01,1e6", "--out", tmp_path / "both")
    assert status == 0
    assert re.search(r"^ +4 +1e\+06 +- .* 2/2$", out, re.MULTILINE)
    both = results(tmp_path / "both")
    assert [row["validation_loss"] for row in both if row["learning_rate"] == "1000000.0"] == ["", ""]
    assert command("sweep", *flags, "--learning-rate", "0.01", "--out", tmp_path / "one")[0] == 0
    for alone, beside in zip(results(tmp_path / "one"), both, strict=False):
        assert float(beside["validation_loss"]) == pytest.approx(float(alone["validation_loss"]), rel=1e-5)
    status, out, _ = command("sweep", *flags, "--learning-rate", "1e6", "--out", tmp_path / "none")
    assert status == 0
    assert "lowest" not in out


def test_several_features_and_targets_are_swept(tmp_path: Path, command: Command, table: Write) -> None:
    """As `fit` does; the folder is named after the file unless another is given."""
    data = table("a,b,c,d\n" + "".join(f"{i},{i * i % 7},{3 * i},{-i}\n" for i in range(12)))
    status, out, _ = command("sweep", "--data", data, "--target", "c", "--target", "d", *FAST, "--out", tmp_path / "s")
    assert status == 0
    assert len(results(tmp_path / "s")) == 12
    assert f"wrote {tmp_path}/s/sweep.csv and {tmp_path}/s/sweep.svg" in out


REFUSED = [
    (["--hidden", "1,,2"], "argument --hidden: '' is not a whole number from 0 to 1024"),
    (["--hidden", "1,2,1"], "argument --hidden: '1,2,1' has a value twice"),
    (["--learning-rate", "1e-4,...,1e-2"], "argument --learning-rate: '...' is not a number above 0"),
    (["--seeds", "0"], "argument --seeds: '0' is not a whole number from 1 to 1000"),
    (["--validation-fraction", "0.01"], "--validation-fraction 0.01 of 11 rows leaves none aside"),
    (["--target", "kelvin"], "has no column 'kelvin'"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED)
def test_what_cannot_be_swept_is_status_2(flags: list[str], message: str, tmp_path: Path, command: Command) -> None:
    """One line says what, and nothing is written."""
    status, out, error = command("sweep", *flags, "--out", tmp_path / "sweep")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert message in error
    assert not (tmp_path / "sweep").exists()


def test_without_what_draws_the_extra_is_named_first(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fitted."""
    monkeypatch.setattr("training.svg.util.find_spec", lambda name: None)
    status, out, error = command("sweep", "--out", tmp_path / "sweep")
    assert (status, out) == (2, "")
    assert error == f"error: {needed('sweep', 'plots')}\n"
