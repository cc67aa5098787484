"""A network with intervals: jackknife+ and CV+ as the paper defines them, in a file that is checked like any other."""

import hashlib
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from left_out import LeftOutFits, fit, published
from service import artifact, straight
from service.archive import members
from spoiling import Change, refusal, rewrite
from training.intervals import NetworkWithIntervals, with_intervals
from training.network import ACTIVATIONS, Network, Scaling, build


def bounds(fits: LeftOutFits, x: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """What the network's own method says, as TorchScript, after the archive was taken apart and made anew."""
    content = artifact.serialize(fits.run.network)
    script = torch.jit.load(members.rebuilt(content)).eval()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        points, lower, upper = script.interval(torch.tensor(x, dtype=torch.float32), rank).double().chunk(3, dim=1)
        assert torch.equal(points.float(), script(torch.tensor(x, dtype=torch.float32)))
    return lower.numpy(), upper.numpy()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(8,), (5, 4, 3), ()])
def test_jackknife_plus_is_the_paper_s(activation: str, hidden: tuple[int, ...]) -> None:
    """For every rank, with every activation, and with one, several and no hidden layers; within float32."""
    fits = fit(hidden=hidden, activation=activation, epochs=10)
    x = np.linspace(0, 120, 40)[:, None]
    for rank in range(1, 12):
        np.testing.assert_allclose(bounds(fits, x, rank), fits.bounds(x, rank), rtol=1e-5, atol=2e-5)


WIDE = "a,b,c,d\n" + "\n".join(f"{row},{row * row % 7},{row % 3 + row / 9},{2 * row % 11}" for row in range(23))


@pytest.mark.parametrize("folds", [None, 2, 5])
def test_cv_plus_is_the_paper_s(folds: int | None, table: Callable[[str | bytes], Path]) -> None:
    """Two features and two targets, for every rank, in folds of unequal size; and jackknife+ beside it."""
    fits = fit(table(WIDE), ["c", "d"], folds=folds)
    x = np.random.default_rng(1).normal(10, 8, (50, 2))
    for rank in range(1, 24):
        np.testing.assert_allclose(bounds(fits, x, rank), fits.bounds(x, rank), rtol=1e-5, atol=1e-4)


def random_network(data: st.DataObject) -> tuple[NetworkWithIntervals, list[Network], torch.Tensor, torch.Tensor]:
    """Networks that nobody fitted, any residuals, ties among them, and any folds."""
    count, others = data.draw(st.integers(2, 30)), data.draw(st.integers(2, 6))
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    made = [build([3], "tanh", Scaling.by(2.0, 2), Scaling.by(5.0, 2)) for _ in range(others + 1)]
    folds = torch.tensor(data.draw(st.lists(st.integers(0, others - 1), min_size=count, max_size=count)))
    residuals = torch.randint(0, 3, (count, 2)) + torch.rand(count, 2) * data.draw(st.integers(0, 1))
    layers = [
        (torch.stack([n.get_parameter(f"{name}.weight").detach() for n in made[1:]]),
         torch.stack([n.get_parameter(f"{name}.bias").detach() for n in made[1:]]))
        for name in ("hidden_linear", "output_linear")
    ]  # fmt: skip
    return with_intervals(made[0], layers, residuals, folds), made[1:], folds, residuals


@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_bounds_are_order_statistics(data: st.DataObject) -> None:
    """At least `rank` of n lie at or below the lower one, no more than `rank - 1` strictly; so above; and they nest."""
    network, others, folds, residuals = random_network(data)
    x, slack = torch.randn(7, 2) * 3, 1e-4
    below = torch.stack([other(x) for other in others])[folds] - residuals.unsqueeze(1)
    above = torch.stack([other(x) for other in others])[folds] + residuals.unsqueeze(1)
    before = None
    with torch.no_grad():
        for rank in range(1, len(folds) + 1):
            _, lower, upper = network.interval(x, rank).chunk(3, dim=1)
            assert ((below <= lower + slack).sum(dim=0) >= rank).all()
            assert ((below < lower - slack).sum(dim=0) < rank).all()
            assert ((above >= upper - slack).sum(dim=0) >= rank).all()
            assert ((above > upper + slack).sum(dim=0) < rank).all()
            assert before is None or ((before[0] <= lower).all() and (upper <= before[1]).all())
            before = (lower, upper)


def test_the_point_network_is_as_it_would_be_without() -> None:
    """The same parameters by the same names, the same layers, and still a chain that runs without the interpreter."""
    network = fit().run.network
    assert [name for name, _ in network.named_parameters()] == [
        "hidden_linear.weight", "hidden_linear.bias", "output_linear.weight", "output_linear.bias"
    ]  # fmt: skip
    x = torch.randn(5, 1)
    assert list(network.activations(x)) == ["hidden_linear", "hidden_activation", "output_linear"]
    loaded = torch.jit.load(io.BytesIO(artifact.serialize(network)))  # type: ignore[no-untyped-call]
    frozen = artifact.freeze(loaded)
    chain = straight.compiled(frozen.graph)
    assert chain is not None
    assert torch.equal(chain(x), network(x))
    assert straight.compiled(frozen.left_out_predictions.graph)
    assert torch.equal(frozen.interval(x, 2), network.interval(x, 2))  # type: ignore[operator]


def test_the_manifest_says_what_the_interval_is_made_of(tmp_path: Path, table: Callable[[str | bytes], Path]) -> None:
    """Method, readings, folds, and golden bounds at a rank."""
    one = artifact.read(published(tmp_path, fit())).manifest.interval
    many = artifact.read(published(tmp_path, fit(table(WIDE), ["c", "d"], folds=5), "wide")).manifest.interval
    assert one is not None
    assert many is not None
    assert (one.method, one.readings, one.folds, one.golden.rank) == ("jackknife+", 11, 11, 2)
    assert (many.method, many.readings, many.folds, many.golden.rank) == ("cv+", 23, 5, 4)
    assert all(low[0] < high[0] for low, high in zip(one.golden.lower, one.golden.upper, strict=True))


SPOILED: dict[str, tuple[Change, str]] = {
    "another bound": (
        lambda m: m["interval"]["golden"]["upper"][3].__setitem__(0, 99.0),
        "network.pt: the interval of golden case 3 is not reproduced",
    ),
    "another rank": (lambda m: m["interval"]["golden"].update(rank=1), "the interval of golden case 0"),
    "more readings": (
        lambda m: m["interval"].update(readings=12, method="cv+"),
        "does not have the residuals of 12 readings",
    ),
    "too high a rank": (lambda m: m["interval"]["golden"].update(rank=12), "has a rank, or more folds, than it has"),
    "too many folds": (lambda m: m["interval"].update(folds=12), "has a rank, or more folds, than it has readings"),
    "few folds": (lambda m: m["interval"].update(folds=5), "jackknife+ has a fold for each reading"),
    "fewer bounds": (lambda m: m["interval"]["golden"]["lower"].pop(), "does not have the shape of golden.outputs"),
    "another method": (lambda m: m["interval"].update(method="bootstrap"), "manifest.json: interval.method: "),
    "an unknown key": (lambda m: m["interval"].update(colour="red"), "manifest.json: interval.colour: unknown key"),
    "rank 0": (lambda m: m["interval"]["golden"].update(rank=0), "manifest.json: interval.golden.rank: "),
    "a target's name": (
        lambda m: m["targets"][0].update(name="coverage"),
        "column 'coverage': has a name that an answer with an interval uses beside its targets",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_an_interval_that_is_not_true_is_refused(name: str, tmp_path: Path) -> None:
    """Before the version can go live; each untruth has a message of its own."""
    change, message = SPOILED[name]
    version = published(tmp_path, fit(epochs=3))
    rewrite(version, "manifest.json", change)
    assert message in refusal(version)


def claim(manifest: dict[str, Any]) -> None:
    """An interval without width."""
    outputs = manifest["golden"]["outputs"]
    golden = {"rank": 1, "lower": outputs, "upper": outputs}
    manifest["interval"] = {"method": "jackknife+", "readings": 11, "folds": 11, "golden": golden}


def test_a_manifest_that_claims_intervals_of_a_network_without_is_refused(version: Path) -> None:
    """It is the network that has them."""
    rewrite(version, "manifest.json", claim)
    assert refusal(version) == "network.pt: does not have the residuals of 11 readings"


HASH = (
    "import hashlib, sys, warnings; warnings.simplefilter('ignore'); sys.path.insert(0, 'tests')\n"
    "from left_out import fit; from service import artifact\n"
    "print(hashlib.sha256(artifact.serialize(fit(epochs=3, folds=int(sys.argv[1]) or None).run.network)).hexdigest())"
)


@pytest.mark.parametrize("folds", [0, 3])
def test_two_processes_write_the_same_bytes(folds: int, process: Callable[..., "subprocess.Popen[str]"]) -> None:
    """The same networks give the same file, with and without folds."""
    started = [process("-c", HASH, folds) for _ in range(2)]
    found = {one.communicate()[0].split()[-1] for one in started}
    assert len(found) == 1
    assert len(found.pop()) == 2 * hashlib.sha256().digest_size
