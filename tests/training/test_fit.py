"""fit: from readings to a published version, in one command."""

import json
import math
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from service import artifact
from training.fit import THERMOMETER

Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str | bytes], Path]

LINE = "x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(10))


def test_without_arguments_it_learns_the_thermometer(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All eleven readings, with intervals of jackknife+, into ./artifacts: off by less than 2 degrees."""
    monkeypatch.chdir(tmp_path)
    status, out, error = command("fit")
    assert status == 0
    assert "step/s" in error
    version = artifact.read(tmp_path / "artifacts" / "thermometer" / "1")
    manifest = version.manifest
    recipe = manifest.training.recipe
    assert {name: recipe[name] for name in ("recipe", "activation", "logarithm", "validation_fraction")} == {
        "recipe": "automatic",
        "activation": "tanh",
        "logarithm": "",
        "validation_fraction": 0.0,
    }
    assert manifest.interval
    assert (manifest.interval.method, manifest.interval.readings, manifest.interval.folds) == ("jackknife+", 11, 11)
    columns = [(column.name, column.unit) for column in (*manifest.features, *manifest.targets)]
    assert columns == [("fahrenheit", "degF"), ("celsius", "degC")]
    residuals = json.loads(version.report)["residuals"]["celsius"]
    assert math.sqrt(sum(value**2 for value in residuals) / 11) < 2
    assert "serve it: python -m service serve --artifacts artifacts" in out
    assert "curl localhost:8000/models/thermometer/predict" in out


@pytest.mark.parametrize("flags", [["--recipe", "textbook"], ["--epochs", "5000"]])
def test_the_textbooks_recipe_is_plain_gradient_descent(flags: list[str], tmp_path: Path, command: Command) -> None:
    """1-8-1 with tanh, 5000 epochs of SGD at 1e-3, a fifth to validate on: what torch makes of them, with intervals."""
    status, out, error = command("fit", *flags, "--device", "cpu", "--artifacts", tmp_path)
    assert status == 0
    assert "100%" in error
    said = [line.split(":")[0] for line in out.splitlines() if line.startswith("epoch")]
    assert said == ["epoch 1", *(f"epoch {number}000" for number in range(1, 6))]
    version = artifact.read(tmp_path / "thermometer" / "1")
    manifest = version.manifest
    assert manifest.training.recipe == {
        "hidden": (8,),
        "activation": "tanh",
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "epochs": 5000,
        "validation_fraction": 0.2,
        "device": "cpu",
    }
    assert manifest.interval
    assert (manifest.interval.method, manifest.interval.readings) == ("jackknife+", 11)
    report = json.loads(version.report)
    readings = [torch.tensor(report["readings"][name]).unsqueeze(1) for name in ("fahrenheit", "celsius")]
    trained_on = [row for row in range(11) if row not in report["validation_rows"]]
    expected = by_hand(*(column[trained_on] for column in readings))
    assert torch.allclose(version.network(readings[0]), expected(readings[0]), atol=1e-3)


def by_hand(x: torch.Tensor, y: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The textbook's network and loop in torch's own words, seed 0, on standardised readings."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    (x_mean, x_unit), (y_mean, y_unit) = ((column.mean(), column.std(correction=0)) for column in (x, y))
    for _ in range(5000):
        optimizer.zero_grad()
        loss = (network((x - x_mean) / x_unit) - (y - y_mean) / y_unit).square().mean()
        loss.backward()
        optimizer.step()
    return lambda seen: network((seen - x_mean) / x_unit) * y_unit + y_mean


def test_the_linear_model_learns_a_line(tmp_path: Path, command: Command, table: Write) -> None:
    """``--hidden 0`` on y = 2x + 1 answers 2x + 1, in raw units, also far outside of the readings."""
    flags = ["--hidden", 0, "--learning-rate", 0.1, "--epochs", 300, "--artifacts", tmp_path]
    status, out, _ = command("fit", "--data", table(LINE), *flags)
    assert status == 0
    assert "on 8 training rows" in out
    network = artifact.read(tmp_path / "readings" / "1").network
    x = torch.tensor([[-10.0], [0.5], [100.0]])
    assert torch.allclose(network(x), 2 * x + 1, atol=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "Adam", "adamw", "RMSprop"])
def test_every_optimizer_learns(optimizer: str, tmp_path: Path, command: Command, table: Write) -> None:
    """Each of the four brings the loss of a line down tenfold; the case of its name does not matter."""
    flags = ["--optimizer", optimizer, "--learning-rate", 0.02, "--epochs", 200, "--artifacts", tmp_path]
    assert command("fit", "--data", table(LINE), *flags)[0] == 0
    losses = json.loads(artifact.read(tmp_path / "readings" / "1").report)["losses"]
    assert losses["training"][-1] < losses["training"][0] / 10
    assert losses["validation"][-1] < losses["validation"][0] / 10


def test_eleven_features_and_two_targets_are_one_network(tmp_path: Path, command: Command, table: Write) -> None:
    """Targets keep the order of the flags, features that of the file, and each column its unit."""
    names = [f"f{number}" for number in range(11)]
    torch.manual_seed(0)
    rows = torch.randn(30, 13).tolist()
    text = "\n".join(";".join(map(str, row)) for row in [["second", *names, "first"], *rows])
    flags = ["--target", "first", "--target", "second", "--unit", "f3=m", "--unit", "first=kg", "--model", "wine-2"]
    command("fit", "--data", table(text), *flags, "--hidden", "4,3", "--epochs", 3, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "wine-2" / "1")
    manifest = version.manifest
    assert [column.name for column in manifest.features] == names
    assert [column.name for column in manifest.targets] == ["first", "second"]
    units = {column.name: column.unit for column in (*manifest.features, *manifest.targets) if column.unit}
    assert units == {"f3": "m", "first": "kg"}
    assert version.network(torch.zeros(5, 11)).shape == (5, 2)
    assert manifest.training.recipe["hidden"] == (4, 3)
    assert set(json.loads(version.report)["predictions"]) == {"first", "second"}


def test_readings_without_validation_have_one_curve(tmp_path: Path, command: Command) -> None:
    """``--validation-fraction 0`` trains on every row."""
    _, out, _ = command("fit", "--validation-fraction", 0, "--epochs", 2, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "thermometer" / "1")
    report = json.loads(version.report)
    assert version.manifest.training.losses.validation is None
    assert list(report["losses"]) == ["training"]
    assert report["validation_rows"] == []
    assert "validation" not in out


def test_the_report_adds_up(tmp_path: Path, command: Command) -> None:
    """Residual is reading less prediction, readings are the file's, and the losses are the ends of the curves."""
    command("fit", "--epochs", 4, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "thermometer" / "1")
    report = json.loads(version.report)
    readings = [line.split(",") for line in THERMOMETER.read_text().split()[1:]]
    assert report["readings"]["fahrenheit"] == [float(row[0]) for row in readings]
    assert report["rows"] == list(range(11))
    assert len(report["validation_rows"]) == 2
    with torch.no_grad():
        predicted = version.network(torch.tensor(report["readings"]["fahrenheit"]).unsqueeze(1)).squeeze(1)
    assert torch.allclose(torch.tensor(report["predictions"]["celsius"]), predicted, atol=1e-5)
    residuals = torch.tensor(report["readings"]["celsius"]) - predicted
    assert torch.allclose(torch.tensor(report["residuals"]["celsius"]), residuals, atol=1e-5)
    assert {name: len(curve) for name, curve in report["losses"].items()} == {"training": 4, "validation": 4}
    losses = version.manifest.training.losses
    assert (losses.training, losses.validation) == tuple(curve[-1] for curve in report["losses"].values())
    assert report["training"] == json.loads(version.manifest.training.model_dump_json())


def test_the_gradient_and_the_losses_are_those_of_the_last_epoch(tmp_path: Path, command: Command) -> None:
    """One step of SGD leads from the parameters before the last epoch to those after it, by the gradient kept."""
    for epochs in (3, 4):
        command("fit", "--epochs", epochs, "--learning-rate", 0.5, "--artifacts", tmp_path)
    before, after = (artifact.read(tmp_path / "thermometer" / number) for number in "12")
    start = dict(before.network.named_parameters())
    for name, value in after.network.named_parameters():
        assert torch.allclose(value, start[name] - 0.5 * after.gradients[name], atol=1e-6)


def test_ranges_and_golden_cases_are_of_the_rows_trained_on(tmp_path: Path, command: Command, table: Write) -> None:
    """The range leaves validation rows out; golden cases hold both of its ends and its middle."""
    command("fit", "--data", table(LINE), "--seed", 1, "--epochs", 1, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "readings" / "1")
    held_out = json.loads(version.report)["validation_rows"]
    trained_on = [float(x) for x in range(10) if x not in held_out]
    column = version.manifest.features[0]
    assert (column.minimum, column.maximum) == (trained_on[0], trained_on[-1])
    inputs = [row[0] for row in version.manifest.golden.inputs]
    assert inputs[:3] == [trained_on[0], trained_on[-1], (trained_on[0] + trained_on[-1]) / 2]
    assert inputs[3:] == trained_on


def test_a_long_table_is_reported_by_ten_thousand_of_its_rows(tmp_path: Path, command: Command, table: Write) -> None:
    """The report keeps evenly spaced rows, the first and the last among them; golden cases stay sixteen."""
    path = table("x,y\n" + "".join(f"{number % 997},{number}\n" for number in range(25_000)))
    command("fit", "--data", path, "--epochs", 1, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "readings" / "1")
    report = json.loads(version.report)
    assert len(report["rows"]) == len(set(report["rows"])) == len(report["residuals"]["y"]) == 10_000
    assert (report["rows"][0], report["rows"][-1]) == (0, 24_999)
    assert set(report["validation_rows"]) < set(report["rows"])
    assert len(version.manifest.golden.inputs) == 16
    assert version.manifest.training.data.rows == 25_000


def test_the_same_seed_gives_the_same_bits_in_fresh_processes(
    tmp_path: Path, command: Command, process: Process
) -> None:
    """Two processes write the same network file; another seed makes another network."""
    flags = ["fit", "--epochs", 20, "--artifacts", tmp_path, "--device", "cpu"]
    for seed in "12":
        started = process("-m", "training", *flags, "--seed", 5, environment={"PYTHONHASHSEED": seed})
        assert started.communicate(timeout=60)[1]
        assert started.returncode == 0
    command(*flags, "--seed", 6)
    first, second, third = (artifact.read(tmp_path / "thermometer" / number).manifest for number in "123")
    assert first.files["network.pt"] == second.files["network.pt"]
    assert first.golden == second.golden
    assert first.golden != third.golden


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path, command: Command) -> None:
    """Torch's random state and number of threads are the caller's."""
    torch.manual_seed(1)
    before = (torch.get_rng_state().tolist(), torch.get_num_threads())
    command("fit", "--epochs", 1, "--artifacts", tmp_path)
    assert (torch.get_rng_state().tolist(), torch.get_num_threads()) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_trained_on_cuda_is_read_on_the_cpu(tmp_path: Path, command: Command) -> None:
    """Losses agree with the CPU's, and the artifact needs no CUDA."""
    for device in ("cuda", "cpu"):
        assert command("fit", "--device", device, "--epochs", 200, "--artifacts", tmp_path)[0] == 0
    losses = [artifact.read(tmp_path / "thermometer" / number).manifest.training.losses for number in "12"]
    assert losses[0].training == pytest.approx(losses[1].training, rel=1e-3)


def test_a_checkout_that_is_not_installed_trains_too(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record then says so in place of a version of calibrant."""
    real = metadata.version

    def without_calibrant(name: str) -> str:
        if name == "calibrant":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without_calibrant)
    assert command("fit", "--epochs", 1, "--artifacts", tmp_path)[0] == 0
    environment = artifact.read(tmp_path / "thermometer" / "1").manifest.training.environment
    assert environment["calibrant"] == "not installed"
