"""Many networks fitted at once: the same numbers as one at a time, and Jacobians that are derivatives."""

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from training import gradient_descent, loop, network
from training.sample import Sample
from training.stack import Stack

ROWS = 11


def readings() -> tuple[Tensor, Tensor]:
    """Eleven readings of a noisy curve, as the layers see them."""
    x = torch.linspace(-1.5, 1.5, ROWS).unsqueeze(1)
    noise = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(0))
    return x, x.sin() + 0.1 * noise


def networks(count: int, hidden: tuple[int, ...] = (8,)) -> list[network.Network]:
    """Networks that scale nothing, each from a seed of its own."""
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(network.build(hidden, "tanh", network.Scaling.by(1.0), network.Scaling.by(1.0)))
    return made


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.001)])
def test_members_equal_the_same_networks_fitted_one_by_one(optimizer: str, rate: float) -> None:
    """After 5,000 steps no parameter is off by more than 1e-5, whatever each one's seed, learning rate and rows."""
    x, y = readings()
    rates = [rate, rate / 2]
    weights = torch.ones(2, ROWS)
    weights[1, 4] = 0
    stack, starts = Stack((1, 8, 1), "tanh"), networks(2)
    trained = gradient_descent.train(
        stack,
        stack.of(starts),
        Sample(x[None], y[None], weights),
        optimizer=optimizer,
        learning_rates=torch.tensor(rates),
        epochs=5000,
    )
    for member, (single, own_rate) in enumerate(zip(starts, rates, strict=True)):
        kept = weights[member] > 0
        split = loop.Split(x[kept], y[kept], x[~kept], y[~kept])
        loss = loop.mean_squared_error(single.target_scale)
        curves = loop.train(single, loop.OPTIMIZERS[optimizer](single.parameters(), lr=own_rate), loss, split, 5000)
        torch.testing.assert_close(trained.parameters[member], stack.of([single])[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(trained.training[:, member], curves.training, rtol=0, atol=1e-5)
        if curves.validation is not None:
            torch.testing.assert_close(trained.left_out[:, member], curves.validation, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", network.ACTIVATIONS)
def test_the_jacobian_is_that_of_torch(activation: str) -> None:
    """With two hidden layers and two targets, by each parameter, as torch.func finds it; and the outputs beside it."""
    stack = Stack((2, 3, 4, 2), activation)
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(3, stack.size, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 5, 2, generator=generator, dtype=torch.float64)

    def one(row: Tensor, features: Tensor) -> Tensor:
        return stack.outputs(row.unsqueeze(0), features.unsqueeze(0)).squeeze(0)

    outputs, jacobian = stack.jacobian(parameters, x)
    torch.testing.assert_close(jacobian, vmap(jacrev(one))(parameters, x))
    torch.testing.assert_close(outputs, stack.outputs(parameters, x))


def test_a_stack_computes_what_its_networks_do() -> None:
    """Also with two hidden layers; and a row written into another network makes it the same."""
    stack, members = Stack((1, 5, 3, 1), "tanh"), networks(2, (5, 3))
    x, _ = readings()
    parameters = stack.of(members)
    outputs = stack.outputs(parameters, x.expand(2, -1, -1))
    torch.testing.assert_close(outputs[1], members[1](x))
    stack.write(parameters[1], members[0])
    torch.testing.assert_close(members[0](x), members[1](x), rtol=0, atol=0)
    torch.testing.assert_close(stack.flatten(stack.layers(parameters)), parameters, rtol=0, atol=0)
