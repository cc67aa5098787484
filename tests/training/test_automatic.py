"""fit's own recipe: a good fit of any small table without a number to tune, and never a NaN."""

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service import artifact
from training import folds, least_squares
from training.levenberg_marquardt import Fitted
from training.stack import Stack

Array = NDArray[np.float64]
Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str | bytes], Path]


def text(**columns: Sequence[float] | Array) -> str:
    """A CSV of these columns."""
    rows = zip(*(map(float, column) for column in columns.values()), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(repr, row)) for row in rows)]) + "\n"


def noise(rows: int, seed: int = 0) -> Array:
    """As many draws of the standard normal distribution."""
    return np.random.default_rng(seed).normal(size=rows)


def sine(rows: int = 40) -> tuple[Array, Array]:
    """One period, with noise of a twentieth."""
    x = np.linspace(0, 6, rows)
    return x, np.sin(x) + 0.05 * noise(rows)


def ohms(celsius: Array) -> Array:
    """An NTC thermistor: 10 kOhm at 25 degC, three decades from -40 to 125."""
    return 1e4 * np.exp(3950 * (1 / (celsius + 273.15) - 1 / 298.15))


X = np.linspace(0, 6, 60)
CELSIUS = np.linspace(-40, 125, 60)
CURVES = {
    "sine": (X, np.sin(X), 0.2),
    "thermistor": (ohms(CELSIUS), CELSIUS, 2.0),
    "step": (np.linspace(-1, 1, 80), np.where(np.linspace(-1, 1, 80) > 0, 1.0, 0.0), 0.05),
}


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_is_found_behind_its_noise(curve: str, tmp_path: Path, command: Command, table: Write) -> None:
    """With no flag but the data, the fit is nearer to the true curve than half the noise's standard deviation."""
    x, true, deviation = CURVES[curve]
    path = table(text(x=x, y=true + deviation * noise(len(x))))
    status, out, error = command("fit", "--data", path, "--artifacts", tmp_path)
    assert status == 0, error
    assert f"on {len(x)} training rows" in out
    version = artifact.read(tmp_path / "readings" / "1")
    with torch.no_grad():
        fitted = version.network(torch.tensor(x, dtype=torch.float32).unsqueeze(1)).double().squeeze(1).numpy()
    assert math.sqrt(np.square(fitted - true).mean()) < deviation / 2
    assert version.manifest.training.recipe["logarithm"] == ("x" if curve == "thermistor" else "")


def test_its_losses_are_of_each_step_and_of_rows_left_out(tmp_path: Path, command: Command, table: Write) -> None:
    """Without a row set aside there is a validation loss: the mean square of the residuals that bound the answers."""
    x, y = sine()
    _, out, _ = command("fit", "--data", table(text(x=x, y=y)), "--hidden", 2, "--artifacts", tmp_path)
    assert "validation" not in out
    version = artifact.read(tmp_path / "readings" / "1")
    report = json.loads(version.report)
    assert report["validation_rows"] == []
    curves = report["losses"]
    assert len(curves["training"]) == len(curves["validation"])
    residuals = dict(version.network.named_buffers())["residuals"].double()
    variance = float(np.float32(y).var())
    assert curves["validation"][-1] == pytest.approx(residuals.square().mean().item() / variance, rel=1e-3)
    errors = torch.tensor(report["residuals"]["y"]).double()
    assert curves["training"][-1] == pytest.approx(errors.square().mean().item() / variance, rel=1e-3)


def test_the_gradient_is_that_of_the_training_loss(tmp_path: Path, command: Command) -> None:
    """What the artifact keeps is what differentiating the published network gives."""
    command("fit", "--hidden", 2, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "thermometer" / "1")
    readings = {
        name: torch.tensor(column).unsqueeze(1) for name, column in json.loads(version.report)["readings"].items()
    }
    unit = readings["celsius"].std(correction=0)
    ((version.network(readings["fahrenheit"]) - readings["celsius"]) / unit).square().mean().backward()
    for name, value in version.network.named_parameters():
        assert value.grad is not None
        assert torch.allclose(value.grad, version.gradients[name], atol=1e-5), name


def test_only_the_features_that_span_decades_are_logarithmic(tmp_path: Path, command: Command, table: Write) -> None:
    """A resistance is, a temperature beside it is not; the service's activations show the layer."""
    level = noise(60, 1)
    path = table(text(ohm=ohms(CELSIUS), level=level, y=CELSIUS + 10 * level))
    command("fit", "--data", path, "--hidden", 4, "--artifacts", tmp_path)
    version = artifact.read(tmp_path / "readings" / "1")
    assert version.manifest.training.recipe["logarithm"] == "ohm"
    raw = torch.tensor([[1e4, 0.5]])
    seen = version.network.activations(raw)["feature_logarithm"]
    assert seen[0, 1].item() == pytest.approx((0.5 - level.mean()) / level.std(), abs=1e-5)
    assert version.network(raw).item() == pytest.approx(30, abs=1)
    assert version.network.interval(raw, 1)[0, 1] < 30 < version.network.interval(raw, 1)[0, 2]


def test_the_same_seed_gives_the_same_network_in_fresh_processes(
    tmp_path: Path, process: Process, table: Write
) -> None:
    """Byte for byte, whatever order a set has there."""
    x, y = sine()
    path = table(text(x=x, y=y))
    flags = ["--data", path, "--hidden", 3, "--device", "cpu", "--artifacts", tmp_path]
    for hash_seed in "12":
        started = process("-m", "training", "fit", *flags, environment={"PYTHONHASHSEED": hash_seed})
        assert started.communicate(timeout=60)[1] is not None
        assert started.returncode == 0
    first, second = (artifact.read(tmp_path / "readings" / number).manifest for number in "12")
    assert first.files["network.pt"] == second.files["network.pt"]


def test_auto_is_the_default(tmp_path: Path, command: Command) -> None:
    """``--recipe automatic --hidden auto`` is what is meant by no flag at all."""
    command("fit", "--artifacts", tmp_path)
    command("fit", "--recipe", "automatic", "--hidden", "auto", "--artifacts", tmp_path)
    first, second = (artifact.read(tmp_path / "thermometer" / number).manifest for number in "12")
    assert first.files["network.pt"] == second.files["network.pt"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe", "automatic", "--epochs", 5], "--epochs belongs to --recipe textbook"),
        (["--recipe", "automatic", "--learning-rate", 1], "--learning-rate belongs to --recipe textbook"),
        (["--recipe", "automatic", "--optimizer", "adam"], "--optimizer belongs to --recipe textbook"),
        (["--recipe", "textbook", "--hidden", "auto"], "--hidden auto: the textbook's recipe has to be told how many"),
        (["--optimizer", "adam", "--hidden", "auto"], "--hidden auto: the textbook's recipe has to be told how many"),
        (["--recipe", "cookbook"], "argument --recipe: invalid choice: 'cookbook'"),
    ],
)
def test_flags_of_two_recipes_are_one_line_and_status_2(
    flags: list[object], message: str, tmp_path: Path, command: Command
) -> None:
    """The line names the flag that does not belong there."""
    status, out, error = command("fit", *flags, "--artifacts", tmp_path / "artifacts")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"error: {message}")
    assert not (tmp_path / "artifacts").exists()


def test_validation_rows_have_no_part_in_the_network(tmp_path: Path, command: Command, table: Write) -> None:
    """Another target in one of them changes no parameter; in a row trained on, it does."""
    x, y = sine()

    def parameters(changed: int | None, number: int) -> tuple[dict[str, torch.Tensor], list[int]]:
        targets = y.copy()
        if changed is not None:
            targets[changed] += 1
        flags = ["--hidden", 2, "--validation-fraction", 0.2, "--artifacts", tmp_path]
        command("fit", "--data", table(text(x=x, y=targets)), *flags)
        version = artifact.read(tmp_path / "readings" / str(number))
        return dict(version.network.named_parameters()), json.loads(version.report)["validation_rows"]

    before, held_out = parameters(None, 1)
    assert len(held_out) == 8
    same, _ = parameters(held_out[0], 2)
    assert all(torch.equal(before[name], same[name]) for name in before)
    other, _ = parameters(next(row for row in range(40) if row not in held_out), 3)
    assert not all(torch.equal(before[name], other[name]) for name in before)


@pytest.mark.parametrize("member", [0, 7])
def test_a_network_does_not_know_the_row_it_leaves_out(member: int) -> None:
    """A target that is off by a hundred deviations moves its own network's answer by nothing; others' by much."""
    x, y = (torch.tensor(values).unsqueeze(1) for values in sine(20))
    changed = y.clone()
    changed[member] += 100
    stack = Stack((1, 3, 1), "tanh")
    before, after = (_left_out(stack, x, targets).parameters for targets in (y, changed))
    here = x.expand(20, -1, -1)
    moved = (stack.outputs(after, here) - stack.outputs(before, here))[:, member].abs()
    assert moved[member] <= 1e-6
    assert moved.max() > 1


def _left_out(stack: Stack, features: torch.Tensor, targets: torch.Tensor) -> Fitted:
    weights = folds.weights(torch.arange(len(features)))
    return least_squares.fit(stack, features, targets, weights, steps=40, starts=2, seed=0, device="cpu")


def _outlier() -> str:
    x, y = sine()
    y[20] = 1e6
    return text(x=x, y=y)


def _two_targets() -> str:
    x, y = sine()
    return text(x=x, y=y, z=np.cos(x))


def _sometimes_constant() -> str:
    x, y = sine()
    return text(x=x, once=np.arange(40) == 7, y=y)


def _many_features() -> str:
    return text(**{f"f{number}": noise(12, number) for number in range(20)}, y=noise(12, 20))


FITTED = {
    "two rows": ("x,y\n0,1\n1,3\n", []),
    "three rows": ("x,y\n0,1\n1,3\n2,2\n", []),
    "each row many times": ("x,y\n" + "0,1\n1,3\n2,2\n" * 10, ["--hidden", 2]),
    "one x with many y": (text(x=[0.0] * 20 + [1.0], y=noise(21)), ["--hidden", 2]),
    "an outlier": (_outlier(), ["--hidden", 4]),
    "a feature that is constant without one row": (_sometimes_constant(), ["--hidden", 4]),
    "values far from zero": (text(x=1e6 + np.arange(30), y=1e6 + np.arange(30) ** 2), ["--hidden", 2]),
    "columns of 1e14 and 1e-30": (text(x=1e14 * (1 + np.arange(30)), y=1e-30 * np.arange(30)), ["--hidden", 2]),
    "two targets": (_two_targets(), ["--target", "y", "--target", "z", "--hidden", 4]),
    "no hidden layer": (_outlier(), ["--hidden", 0]),
    "a column without noise": (text(x=np.arange(30), y=2 * np.arange(30)), ["--hidden", 8]),
    "more features than rows": (_many_features(), ["--hidden", 1]),
    "a feature of 43 decades": (text(x=10.0 ** np.arange(-44, 0), y=np.arange(44)), ["--hidden", 2]),
}


@pytest.mark.parametrize("case", FITTED)
def test_bad_readings_still_make_a_whole_version(case: str, tmp_path: Path, command: Command, table: Write) -> None:
    """It is read as the service would, and its answers and their widest bounds are finite."""
    content, flags = FITTED[case]
    status, _, error = command("fit", "--data", table(content), *flags, "--artifacts", tmp_path)
    assert status == 0, error
    _check_whole(tmp_path)


def _check_whole(artifacts: Path) -> None:
    version = artifact.read(artifacts / "readings" / "1")
    inputs = torch.tensor(version.manifest.golden.inputs)
    assert version.network.interval(inputs, 1).isfinite().all()
    assert all(value.isfinite().all() for value in version.network.state_dict().values())
    report = json.loads(version.report)
    assert all(math.isfinite(loss) for curve in report["losses"].values() for loss in curve)


def test_a_large_network_is_fitted_in_small_batches(tmp_path: Path, command: Command, table: Write) -> None:
    """Its matrix is too large for second-order steps; intervals come with it all the same."""
    flags = ["--hidden", "40,40", "--artifacts", tmp_path]
    assert command("fit", "--data", table("x,y\n0,1\n1,3\n2,2\n3,4\n"), *flags)[0] == 0
    _check_whole(tmp_path)


def test_many_rows_are_fitted_in_small_batches(tmp_path: Path, command: Command, table: Write) -> None:
    """As near to the curve as few rows, with CV+ of a thousand of them."""
    x = 6 * np.random.default_rng(1).random(6_100)
    path = table(text(x=x, y=np.sin(x) + 0.1 * noise(6_100)))
    status, out, _ = command("fit", "--data", path, "--hidden", 4, "--artifacts", tmp_path)
    assert status == 0
    assert "on 6100 training rows" in out
    _check_whole(tmp_path)
    version = artifact.read(tmp_path / "readings" / "1")
    assert version.manifest.interval
    assert (version.manifest.interval.method, version.manifest.interval.readings) == ("cv+", 1_000)
    grid = torch.linspace(0.1, 5.9, 50).unsqueeze(1)
    assert (version.network(grid) - grid.sin()).square().mean().sqrt() < 0.05


@pytest.mark.parametrize("scale", [1e30, 1e-32])
def test_a_scale_beyond_float32s_squares_is_refused(scale: float, command: Command, table: Write) -> None:
    """One line that names the column."""
    status, _, error = command("fit", "--data", table(text(x=np.arange(9), y=scale * np.arange(9))))
    assert (status, error.count("\n")) == (2, 1)
    assert "readings.csv, column 'y': varies by about" in error
