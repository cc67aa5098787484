"""How well `fit` does without a flag: curves whose truth is known, and the thermometer by both recipes.

    python -m benchmarks.curves [--seeds 10] [--only ntc,sine]

Each curve gets 200 readings at random places, with noise. The figure is the root mean square of fitted less true curve
at the readings, by the noise's standard deviation: a half is the goal for 9 seeds of 10. For the thermometer it is the
error of each reading by a network that left it out.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quiet import quiet
from training import automatic, dataset, readings, textbook
from training.fit import THERMOMETER
from training.intervals import NetworkWithIntervals
from training.record import Run

Values: TypeAlias = NDArray[np.float64]

_ROWS = 200
_GOAL = 0.5


def ntc(random: np.random.Generator) -> tuple[Values, Values, float]:
    """Degrees from the ohms of a 10 k thermistor, by Steinhart and Hart (1968), -40 to 125 degC; 0.1 K of noise."""
    a, b, c = 1.129148e-3, 2.34125e-4, 8.76741e-8
    celsius = random.uniform(-40, 125, _ROWS)
    x = (a - 1 / (celsius + 273.15)) / (2 * c)
    y = np.sqrt((b / (3 * c)) ** 3 + x**2)
    return np.exp(np.cbrt(y - x) - np.cbrt(y + x)), celsius, 0.1


def type_k(random: np.random.Generator) -> tuple[Values, Values, float]:
    """Degrees from the millivolts of a type K thermocouple, by the polynomial of ITS-90; 1 K of noise."""
    coefficients = [
        -0.176004136860e-1, 0.389212049750e-1, 0.185587700320e-4, -0.994575928740e-7, 0.318409457190e-9,
        -0.560728448890e-12, 0.560750590590e-15, -0.320207200030e-18, 0.971511471520e-22, -0.121047212750e-25,
    ]  # fmt: skip
    celsius = random.uniform(0, 1372, _ROWS)
    exponential = 0.118597600000 * np.exp(-0.118343200000e-3 * (celsius - 126.9686) ** 2)
    return np.polynomial.Polynomial(coefficients)(celsius) + exponential, celsius, 1.0


def ph(random: np.random.Generator) -> tuple[Values, Values, float]:
    """The pH from the millivolts of a glass electrode at 25 degC, 59.16 mV for each; 0.05 of noise."""
    value = random.uniform(0, 14, _ROWS)
    return -59.16 * (value - 7), value, 0.05


def sine(random: np.random.Generator) -> tuple[Values, Values, float]:
    """A whole turn, with a tenth of its height as noise."""
    x = random.uniform(0, 2 * np.pi, _ROWS)
    return x, np.sin(x), 0.1


def step(random: np.random.Generator) -> tuple[Values, Values, float]:
    """From 0 to 1 at a place between two readings, with a tenth as noise."""
    x = random.uniform(-1, 1, _ROWS)
    return x, (x > 0.13).astype(float), 0.1


CURVES: Mapping[str, Callable[[np.random.Generator], tuple[Values, Values, float]]] = {
    "ntc": ntc, "type_k": type_k, "ph": ph, "sine": sine, "step": step,
}  # fmt: skip


def main() -> None:
    """Print a line for each curve, and the thermometer's two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="%(default)s")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*CURVES], help="%(default)s")
    options = parser.parse_args()
    print(f"{'curve':<8} {'within half':>11}  root mean square by the noise, each seed")
    for name in options.only:
        shares = [_share(name, seed) for seed in range(options.seeds)]
        within = sum(share <= _GOAL for share in shares)
        listed = " ".join(f"{share:.2f}" for share in shares)
        print(f"{name:<8} {f'{within} of {len(shares)}':>11}  {listed}", flush=True)
    print("thermometer, each reading by a network that left it out, root mean square in degC:")
    for name, recipe in (("automatic", automatic.Recipe()), ("textbook", textbook.Recipe())):
        run = _run(THERMOMETER, recipe)
        assert isinstance(run.network, NetworkWithIntervals)
        error = float(run.network.residuals.square().mean().sqrt())
        print(f"  {name}: {error:.3f}, with {run.recipe['hidden']} hidden neurons", flush=True)


def _share(name: str, seed: int) -> float:
    random = np.random.default_rng(seed)
    x, truth, noise = CURVES[name](random)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        np.savetxt(path, np.c_[x, truth + random.normal(0, noise, _ROWS)], "%.17g", ",", header="x,y", comments="")
        run = _run(path, automatic.Recipe())
    with torch.no_grad():
        fitted = run.network(torch.tensor(x[:, None], dtype=torch.float32)).double().numpy()[:, 0]
    return float(np.sqrt(np.mean((fitted - truth) ** 2))) / noise


def _run(path: Path, recipe: automatic.Recipe | textbook.Recipe) -> Run:
    data = dataset.choose(readings.read(path), (), {})
    with quiet():
        return recipe.run(data, 0, "cpu")


if __name__ == "__main__":
    main()
