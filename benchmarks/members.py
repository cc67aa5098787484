"""W11: how many networks are fitted at once in the time of one, by the textbook's recipe for the thermometer."""

import time
from collections.abc import Callable

import torch

from benchmarks.quiet import quiet
from benchmarks.results import MEMBERS, OURS, Record, Sample
from training import dataset, gradient_descent, loop, network, readings
from training.fit import THERMOMETER
from training.network import Scaling
from training.sample import Sample as Readings
from training.stack import Stack

_MEMBERS, _HIDDEN, _EPOCHS = 500, 8, 1_000


def measure(rounds: int, record: Record) -> None:
    """Both in turn: the plain loop for one network, and all of them as one stack, so many epochs each."""
    data = dataset.choose(readings.read(THERMOMETER), (), {})
    scalings = Scaling.standardising(data.features), Scaling.standardising(data.targets)
    stack = Stack((1, _HIDDEN, 1), "tanh")
    members = [network.build((_HIDDEN,), "tanh", *scalings) for _ in range(_MEMBERS)]
    x, y = scalings[0].of(data.features).float()[None], scalings[1].of(data.targets).float()[None]
    sample = Readings(x, y, torch.ones(_MEMBERS, len(data.features)))
    start, rates = stack.of(members), torch.full((_MEMBERS,), 1e-3)

    def one() -> None:
        single = network.build((_HIDDEN,), "tanh", *scalings)
        split = loop.Split(data.features, data.targets, data.features[:0], data.targets[:0])
        steps = torch.optim.SGD(single.parameters(), lr=1e-3)
        loop.train(single, steps, loop.mean_squared_error(single.target_scale), split, _EPOCHS)

    def all_at_once() -> None:
        gradient_descent.train(stack, start, sample, optimizer="sgd", learning_rates=rates, epochs=_EPOCHS)

    for _ in range(rounds):
        alone, together = _seconds(one), _seconds(all_at_once)
        record(Sample("W11", MEMBERS, OURS, _MEMBERS * alone / together, together / _EPOCHS * 1e6, "us an epoch"))


def _seconds(work: Callable[[], None]) -> float:
    with quiet():
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun
