"""A loaded version: the same numbers in every way to run it, on every device."""

import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from left_out import fit, published, stacked, without_intervals
from running import publish
from service import artifact, straight
from service.intervals import ranked
from service.predictor import BLOCK_ROWS, Predictor, resolve_device
from training.intervals import NetworkWithIntervals, with_intervals

ACTIVATIONS = ["tanh", "hardtanh", "sigmoid", "softplus", "relu", "leakyrelu"]


def predictor(folder: Path, *flags: str, device: str = "cpu") -> Predictor:
    """A fresh version, loaded."""
    publish(folder, *flags)
    return Predictor(artifact.read(folder / "thermometer" / "1"), torch.device(device))


@pytest.mark.parametrize("hidden", ["0", "8", "5,3"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_chain_gives_the_bits_of_the_network(tmp_path: Path, hidden: str, activation: str) -> None:
    """Whatever layers it has: the operators are the same."""
    publish(tmp_path, "--hidden", hidden, "--activation", activation)
    network = artifact.read(tmp_path / "thermometer" / "1").network
    chain = straight.compiled(artifact.freeze(network).graph)
    assert chain is not None
    rows = torch.linspace(-500, 500, 1001).reshape(-1, 1)
    before = rows.clone()
    with torch.inference_mode():
        assert torch.equal(chain(rows), network(rows))
    assert torch.equal(rows, before)


class Residual(nn.Module):
    """A value used twice: no chain."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X + tanh(x)."""
        return x + torch.tanh(x)


class Scaled(nn.Module):
    """A factor that the chain's table has no form for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X - 2 * 3."""
        return torch.sub(x, torch.tensor(3.0), alpha=2)


class Reversed(nn.Module):
    """The value where a constant should be."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """1 / x."""
        return torch.div(torch.tensor(1.0), x)


@pytest.mark.parametrize("odd", [Residual(), Scaled(), Reversed(), nn.GELU(), nn.Flatten()])
def test_any_other_network_stays_with_torchscript(odd: nn.Module) -> None:
    """Nothing is guessed."""
    network = nn.Sequential(OrderedDict(layer=nn.Linear(1, 1), odd=odd)).eval()
    script = torch.jit.script(network)
    assert straight.compiled(artifact.freeze(script).graph) is None


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 100, 1000, 4096, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS])
def test_a_row_does_not_depend_on_its_batch(tmp_path: Path, count: int) -> None:
    """To 1e-6, from one row to several blocks, alone and together."""
    loaded = predictor(tmp_path)
    rows = np.random.default_rng(count).uniform(20, 90, (count, 1)).astype(np.float32)
    together = loaded.run(rows)
    assert together.predictions.shape == (count, 1)
    for at in range(0, count, max(1, count // 50)):
        alone = loaded.run(rows[at : at + 1])
        np.testing.assert_allclose(together.predictions[at], alone.predictions[0], rtol=1e-6, atol=1e-6)
        assert together.out_of_range[at] == alone.out_of_range[0]


ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@ON_GPU
def test_a_gpu_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    """To 1e-5, for every padded size and what lies between, and from several calls in a row."""
    on_cpu = predictor(tmp_path)
    on_gpu = Predictor(artifact.read(tmp_path / "thermometer" / "1"), resolve_device("cuda"))
    on_gpu.warm()
    for count in (0, 1, 2, 16, 17, 300, 2048, BLOCK_ROWS, 20_000):
        rows = np.random.default_rng(count).uniform(20, 90, (count, 1)).astype(np.float32)
        np.testing.assert_allclose(on_gpu.run(rows).predictions, on_cpu.run(rows).predictions, rtol=1e-5, atol=1e-5)


def loaded_on(folder: Path, device: str) -> Predictor:
    """The same thermometer, with intervals."""
    return Predictor(artifact.read(folder / "thermometer" / "1"), resolve_device(device))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
def test_bounds_do_not_depend_on_the_batch(tmp_path: Path, device: str) -> None:
    """Rows of several ranks, few and many, together and alone; as in memory."""
    fits = fit()
    published(tmp_path, fits)
    loaded = loaded_on(tmp_path, device)
    for count in (0, 1, 3, 300, 2000, 9000):
        rows = np.random.default_rng(count).uniform(20, 90, (count, 1)).astype(np.float32)
        ranks = np.random.default_rng(count).integers(1, 12, count)
        found = loaded.run_interval(np.column_stack([rows, ranks]).astype(np.float32))
        assert found.predictions.shape == (count, 3)
        np.testing.assert_array_equal(found.out_of_range, loaded.run(rows).out_of_range)
        for rank in range(1, 12):
            own = ranks == rank
            lower, upper = fits.bounds(rows[own].astype(np.float64), rank)
            np.testing.assert_allclose(found.predictions[own, 1:2], lower, rtol=1e-5, atol=5e-5)
            np.testing.assert_allclose(found.predictions[own, 2:], upper, rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("hidden", [(), (8,), (5, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_are_those_of_the_file(
    tmp_path: Path, hidden: tuple[int, ...], activation: str, folds: int | None
) -> None:
    """To the bit, whatever layers it has, whichever rank, and however many rows."""
    version = published(tmp_path, fit(hidden=hidden, activation=activation, epochs=1, folds=folds))
    network = artifact.read(version).network
    loaded = loaded_on(tmp_path, "cpu")
    for count in (1, 7, 600):
        rows = np.random.default_rng(count).uniform(-500, 500, (count, 1)).astype(np.float32)
        for rank in range(1, 12):
            found = loaded.run_interval(ranked(rows, rank)).predictions
            with torch.inference_mode():
                np.testing.assert_array_equal(found, network.interval(torch.from_numpy(rows), rank).numpy())


def test_a_bound_is_not_a_number_where_one_network_gives_none(tmp_path: Path) -> None:
    """It is not sorted away: who asks gets an error."""
    fits = fit(hidden=(2,), activation="relu", epochs=1)
    layers = stacked(fits.others)
    layers[0][0][4], layers[1][0][4] = torch.full((2, 1), 1e37), torch.tensor([[1.0, -1.0]])  # inf - inf, far away
    whole = with_intervals(without_intervals(fits.run).network, layers, torch.tensor(fits.residuals), fits.folds)
    published(tmp_path, replace(fits, run=replace(fits.run, network=whole)))
    loaded = loaded_on(tmp_path, "cpu")
    for count in (1, 600):
        rows = np.array([[50.0], [1e5]], dtype=np.float32).repeat(count, axis=0)
        for rank in range(1, 12):
            bounds = loaded.run_interval(ranked(rows, rank)).predictions[:, 1:]
            np.testing.assert_array_equal(np.isnan(bounds), np.column_stack([rows > 1e4, rows > 1e4]))


class Yesterday(NetworkWithIntervals):
    """With nothing but `interval` in its file, as files were at first."""

    def left_out_predictions(self, x: torch.Tensor) -> torch.Tensor:
        """Not exported."""
        return x

    @torch.jit.export
    def interval(self, x: torch.Tensor, rank: int) -> torch.Tensor:
        """The lower and the upper bound of the 11, for rank 1."""
        without = self.left_out((x - self.feature_offset) / self.feature_scale)
        lower, upper = torch.amin(without - self.residuals, 0), torch.amax(without + self.residuals, 0)
        return torch.cat([self.forward(x), torch.t(lower), torch.t(upper)], 1)


def test_a_file_with_nothing_but_the_interval_is_served(tmp_path: Path) -> None:
    """By TorchScript."""
    fits = fit()
    whole = fits.run.network
    assert isinstance(whole, NetworkWithIntervals)
    older = Yesterday(whole, whole.left_out, whole.residuals)
    published(tmp_path, replace(fits, run=replace(fits.run, network=older)))
    rows = np.linspace(20, 90, 600, dtype=np.float32).reshape(-1, 1)
    found = loaded_on(tmp_path, "cpu").run_interval(ranked(rows, 1)).predictions
    lower, upper = fits.bounds(rows.astype(np.float64), 1)
    np.testing.assert_allclose(found[:, 1:], np.column_stack([lower, upper]), rtol=1e-5, atol=5e-5)


MEMORY = """
import resource, sys, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
from service import artifact, interval_network
from training.intervals import with_intervals
from training.network import Scaling, build
torch.set_num_threads(1)
network = build([8], "tanh", Scaling.by(10.0), Scaling.by(3.0))
layers = [(torch.randn(300, 8, 1), torch.randn(300, 8)), (torch.randn(300, 1, 8), torch.randn(300, 1))]
whole = with_intervals(network, layers, torch.rand(300, 1), torch.arange(300))
values = sum(buffer.numel() for buffer in whole.buffers())
frozen = artifact.freeze(torch.jit.script(whole))
forward = lambda rows: frozen(torch.from_numpy(rows)).numpy()
run = interval_network.IntervalNetwork(interval_network.cpu(frozen, whole.residuals, forward), values, 1)
rows = np.ones((20_000, 2), dtype=np.float32)
with torch.inference_mode():
    run(rows[:500])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_many_rows_of_many_networks_take_little_memory() -> None:
    """20,000 rows of 300 networks, 200 MB of hidden values, in less than 32 MiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 32 * 1024
