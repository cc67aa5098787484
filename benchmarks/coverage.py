"""Whether intervals hold what they promise: many simulated data sets, fitted as `fit` does, and new readings.

    python -m benchmarks.coverage [--sets 500] [--whole]

A curve of one feature, noise that is normal or heavy-tailed (Student's t with 3 degrees of freedom), and 11, 50 or 500
readings a set. Two hidden neurons are fitted to each without every reading, or without every tenth of them; then a new
reading in each of 100 random places is looked for in its interval. The ideal is the interval of one who knows the curve
and the noise. ``error`` is the standard error of the coverage over the sets. With ``--whole``, size, scale and
steps are chosen for each set as well, by the default recipe.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from benchmarks.quiet import quiet
from service import intervals
from service.manifest import Bounds, Interval
from training import automatic, dataset, folds, least_squares
from training.intervals import NetworkWithIntervals
from training.network import Scaling
from training.readings import Readings
from training.stack import Stack

Find: TypeAlias = Callable[[Tensor, Tensor, Tensor, Sequence[int]], list[tuple[Tensor, Tensor]]]
Draw: TypeAlias = Callable[[tuple[int, int], torch.Generator], Tensor]

_LEVELS = ("0.8", "0.9")
_STACK = Stack((1, 2, 1), "tanh")
_STEPS, _STARTS, _PLACES, _DEGREES, _NOISE = 60, 2, 100, 3, 0.2


def _normal(shape: tuple[int, int], random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def _heavy(shape: tuple[int, int], random: torch.Generator) -> Tensor:
    squares = torch.randn((*shape, _DEGREES), generator=random, dtype=torch.float64).square().mean(dim=-1)
    return _normal(shape, random) / squares.sqrt()


NOISES: Mapping[str, Draw] = {"normal": _normal, "heavy": _heavy}


def main() -> None:
    """Print a line for each noise, number of readings, and level."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--sets", type=int, default=500, help="%(default)s")
    parser.add_argument("--whole", action="store_true", help="choose for each set, as fit does")
    options = parser.parse_args()
    bounds = _chosen if options.whole else _fixed
    print("noise   readings  method      level  guaranteed  coverage   error  width, of the ideal one")
    for name, draw in NOISES.items():
        for readings in (11, 50, 500):
            _print_lines(name, draw, readings, options.sets, bounds)


def _print_lines(name: str, draw: Draw, readings: int, sets: int, bounds: Find) -> None:
    fold = folds.assign(readings, 0)
    count = int(fold.max()) + 1
    method: Literal["jackknife+", "cv+"] = "jackknife+" if count == readings else "cv+"
    nothing = Bounds(rank=1, lower=((0.0,),), upper=((0.0,),))
    of_version = Interval.model_construct(method=method, readings=readings, folds=count, golden=nothing)
    random = torch.Generator().manual_seed(readings)
    levels = [intervals.level(text, of_version) for text in _LEVELS]
    seen = [_look(draw, readings, [level.rank for level in levels], random, bounds) for _ in range(sets)]
    for position, level in enumerate(levels):
        covered = torch.tensor([each[position][0] for each in seen], dtype=torch.float64)
        width = sum(each[position][1] for each in seen) / sets / _ideal(draw, level.coverage)
        error = float(covered.std()) / math.sqrt(sets)
        parts = f"{name:<7} {readings:>8}  {method:<10} {level.coverage:>6} {level.guaranteed:>11.3f}"
        print(f"{parts} {float(covered.mean()):>9.3f} {error:>7.3f}  {width:>22.2f}", flush=True)


def _look(
    draw: Draw, readings: int, ranks: Sequence[int], random: torch.Generator, bounds: Find
) -> list[tuple[float, float]]:
    """For each rank the share of new readings within their bounds, and the median width, for one simulated set."""
    (x, y), (new_x, new_y) = (_simulated(draw, rows, random) for rows in (readings, _PLACES))
    with quiet():
        found = bounds(x, y, new_x, ranks)
    inside = [(lower <= new_y[:, 0]) & (new_y[:, 0] <= upper) for lower, upper in found]
    return [
        (float(within.double().mean()), float((upper - lower).median()))
        for within, (lower, upper) in zip(inside, found, strict=True)
    ]


def _fixed(x: Tensor, y: Tensor, new_x: Tensor, ranks: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Lower and upper bounds for each rank, by the paper's definition, of networks whose size is given."""
    features, targets = Scaling.standardising(x), Scaling.standardising(y)
    fold = folds.assign(len(x), 0)
    weights = folds.weights(fold)
    fitted = least_squares.fit(
        _STACK, features.of(x), targets.of(y), weights, steps=_STEPS, starts=_STARTS, seed=0, device="cpu"
    )
    rows = torch.cat([features.of(x), features.of(new_x)]).expand(len(weights), -1, 1)
    said = _STACK.outputs(fitted.parameters, rows)[:, :, 0] * targets.scale.double() + targets.offset.double()
    residuals = (y[:, 0] - said[fold, torch.arange(len(x))]).abs()[:, None]
    below, above = said[fold, len(x) :] - residuals, said[fold, len(x) :] + residuals
    return [(below.kthvalue(rank, dim=0).values, above.kthvalue(len(x) + 1 - rank, dim=0).values) for rank in ranks]


def _chosen(x: Tensor, y: Tensor, new_x: Tensor, ranks: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """The same by the network that the default recipe makes."""
    table = Readings("", "", ("x", "y"), torch.cat([x, y], dim=1).float().numpy())
    network = automatic.Recipe().run(dataset.choose(table, (), {}), 0, "cpu").network
    assert isinstance(network, NetworkWithIntervals)
    with torch.no_grad():
        answers = [network.interval(new_x.float(), rank).double() for rank in ranks]
    return [(answer[:, 1], answer[:, 2]) for answer in answers]


def _simulated(draw: Draw, rows: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    x = 4 * torch.rand((rows, 1), generator=random, dtype=torch.float64) - 2
    return x, torch.tanh(1.5 * x) + 0.3 * x + _NOISE * draw((rows, 1), random)


def _ideal(draw: Draw, coverage: float) -> float:
    noise = draw((1_000_000, 1), torch.Generator().manual_seed(1)).abs()
    return 2 * _NOISE * float(noise.flatten().kthvalue(int(coverage * len(noise))).values)


if __name__ == "__main__":
    main()
