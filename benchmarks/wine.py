"""What an epoch of the textbook's recipe costs for the white wine, by the thermometer's, and what is to blame for it.

    python -m benchmarks.wine

Takes turns, so that a busy machine is as busy for all of them; the fastest turn counts.
"""

import time
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.quiet import quiet
from training import dataset, loop, network, readings
from training.fit import THERMOMETER

_WINE = Path(THERMOMETER).with_name("winequality-white.csv")
_TURNS, _EPOCHS = 15, 200
# Rows, features and hidden neurons: one after the other from the thermometer to the wine, and then a larger network.
_CASES = ((11, 1, 8), (11, 11, 8), (4898, 1, 8), (4898, 11, 8), (4898, 11, 64))


def main() -> None:
    """Print a line for each case."""
    wine = dataset.choose(readings.read(_WINE), (), {})
    shortest = dict.fromkeys(_CASES, float("inf"))
    for _ in tqdm(range(_TURNS), unit="turn"):
        for case in _CASES:
            shortest[case] = min(shortest[case], _seconds(wine, *case))
    print(f"{'rows':>5} {'features':>8} {'hidden':>6}  {'an epoch, by the first':>22}")
    for (rows, features, hidden), seconds in shortest.items():
        print(f"{rows:>5} {features:>8} {hidden:>6}  {seconds / shortest[_CASES[0]]:>22.1f}")


def _seconds(wine: dataset.Dataset, rows: int, features: int, hidden: int) -> float:
    """How long a turn takes; all cases have the wine's values, which do not matter here."""
    x, y = wine.features[:rows, :features], wine.targets[:rows]
    model = network.build((hidden,), "tanh", network.Scaling.by(1.0, features), network.Scaling.by(1.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    held_out = rows // 5
    split = loop.Split(x[held_out:], y[held_out:], x[:held_out], y[:held_out])
    begun = time.perf_counter()
    with quiet():
        loop.train(model, optimizer, loop.mean_squared_error(torch.ones(1)), split, _EPOCHS)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
