"""Chapter 6 of *Deep Learning with PyTorch*, repeated: its published losses beside those of this project's loop.

Owns the book's recipe: inputs times 0.1, targets as they are, its two validation readings. Publishes nothing.
"""

from dataclasses import dataclass
from typing import Final

import torch

from training import dataset, loop, readings
from training.fit import THERMOMETER, THERMOMETER_UNITS
from training.network import Network, Scaling, fresh

# Where (21.8, -4.0) and (68.4, 21.0) stand in the file.
VALIDATION_ROWS: Final = (7, 10)
DEFAULT_SEED: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the book's table; the ranges hold 90 of 100 fresh random starts."""

    name: str
    hidden: tuple[int, ...]
    learning_rate: float
    epochs: int
    published: str
    training_range: tuple[float, float]
    validation_range: tuple[float, float]


TABLE: Final = (
    Row("Linear(1,1)", (), 1e-2, 3000, "2.8569 / 3.9105", (2.857, 2.860), (3.87, 3.91)),
    Row("1-13-1 tanh", (13,), 1e-3, 5000, "not printed", (2.12, 2.36), (0.90, 2.82)),
    Row("1-8-1 tanh, named", (8,), 1e-3, 5000, "2.1141 / 2.0215", (2.09, 2.34), (1.10, 5.04)),
    Row("1-20-1 tanh", (20,), 1e-4, 5000, "17.9837 / 31.9612", (11.3, 26.4), (12.8, 54.8)),
)

PUBLISHED_LINEAR: Final = "weight 5.4319, bias -17.9693"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one row came to here: the two losses of the last epoch, and the network."""

    training: float
    validation: float
    network: Network


def compare(seed: int) -> None:
    """Train the book's four networks, and print its table with their losses in it."""
    outcomes = [_run(row, seed) for row in TABLE]
    print(f"mean squared error, training / validation; seed {seed}")
    line = "{:<18} {:<9} {:>6}  {:<17}  {:<17}  {:<29}  {}"
    print(line.format("network", "optimizer", "epochs", "published", "here", "fresh starts, 5 to 95 %", "in it"))
    for row, outcome in zip(TABLE, outcomes, strict=True):
        here = f"{outcome.training:.4f} / {outcome.validation:.4f}"
        ranges = "{:g} to {:g} / {:g} to {:g}".format(*row.training_range, *row.validation_range)
        answer = "yes" if lies_within(row, outcome) else "no"
        print(line.format(row.name, f"SGD {row.learning_rate:.0e}", row.epochs, row.published, here, ranges, answer))
    linear = outcomes[0].network.get_submodule("output_linear")
    weight, bias = (float(value.detach()) for value in linear.parameters())
    print(f"{TABLE[0].name}: published {PUBLISHED_LINEAR}; here weight {weight:.4f}, bias {bias:.4f}")


def lies_within(row: Row, outcome: Outcome) -> bool:
    """Whether both losses lie in their ranges."""
    pairs = ((outcome.training, row.training_range), (outcome.validation, row.validation_range))
    return all(low <= loss <= high for loss, (low, high) in pairs)


def _run(row: Row, seed: int) -> Outcome:
    data = dataset.choose(readings.read(THERMOMETER), (), THERMOMETER_UNITS)
    held_out = torch.tensor(VALIDATION_ROWS)
    training = torch.tensor([number for number in range(len(data.features)) if number not in VALIDATION_ROWS])
    network = fresh(seed, row.hidden, "tanh", Scaling.by(10.0), Scaling.by(1.0))
    optimizer = loop.OPTIMIZERS["sgd"](network.parameters(), lr=row.learning_rate)
    loss = loop.mean_squared_error(network.target_scale)
    parts = dataset.split(data, dataset.Rows(training, held_out), "cpu")
    print(f"{row.name}, SGD {row.learning_rate:.0e}")
    curves = loop.train(network, optimizer, loss, parts, row.epochs)
    assert curves.validation is not None  # noqa: S101 - the book holds two readings out
    return Outcome(float(curves.training[-1]), float(curves.validation[-1]), network)
