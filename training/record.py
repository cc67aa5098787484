"""The record of a run: turns a fitted network into the files of an artifact.

Owns what is kept, and how numbers are written. Knows nothing of directories: see `training.publish`.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Literal, cast

import torch
from torch import Tensor

from service import artifact
from training.dataset import Dataset, Rows
from training.intervals import NetworkWithIntervals
from training.loop import Curves
from training.network import Network

RECORDED_ROWS = 10_000
# So that the report of a very wide table is not larger than the reader takes.
_RECORDED_VALUES = 4_000_000
_GOLDEN_CASES = 16
_GOLDEN_TOLERANCE = 1e-5
# The golden bounds leave this part of the readings out on either side: 80 %, which eleven can give too.
_GOLDEN_SHARE = 5

# Gives more files, by name, to a version of this manifest, record and network.
Draw = Callable[[artifact.Manifest, artifact.Report, Network], Mapping[str, bytes]]
Recipe = Mapping[str, str | int | float | tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, on the CPU: the network with its gradients at the end, and what it was made from."""

    dataset: Dataset
    rows: Rows
    network: Network
    curves: Curves
    recipe: Recipe
    seed: int


def files(run: Run, model: str, draw: Draw | None = None) -> dict[str, bytes]:
    """The contents of an artifact's files by name, manifest included, and what `draw` makes of them."""
    training = _training(run)
    report = _report(run, training)
    contents = {artifact.NETWORK: artifact.serialize(run.network), artifact.REPORT: report.model_dump_json().encode()}
    golden = _golden(run)
    manifest = artifact.Manifest(
        model=model,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        features=_columns(run, run.dataset.feature_names, run.dataset.features),
        targets=_columns(run, run.dataset.target_names, run.dataset.targets),
        parameters=tuple(
            artifact.Parameter(name=name, shape=tuple(value.shape)) for name, value in run.network.named_parameters()
        ),
        files=_described(contents),
        golden=golden,
        interval=_interval(run.network, golden) if isinstance(run.network, NetworkWithIntervals) else None,
        training=training,
    )
    if draw:
        contents |= draw(manifest, report, run.network)
        manifest = manifest.model_copy(update={"files": _described(contents)})
    return {**contents, artifact.MANIFEST: manifest.model_dump_json(indent=2).encode()}


def _described(contents: Mapping[str, bytes]) -> dict[str, artifact.File]:
    return {name: artifact.describe(content) for name, content in contents.items()}


def as_flag(value: str | float | tuple[int, ...]) -> str:
    """A value of the recipe as its flag takes it."""
    return (",".join(map(str, value)) or "0") if isinstance(value, tuple) else str(value)


def spread_rows(count: int, limit: int) -> Tensor:
    """At most `limit` of `count` row numbers, evenly spaced, the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, limit), dtype=torch.float64).round().long()


def _training(run: Run) -> artifact.Training:
    readings = run.dataset.readings
    validation = run.curves.validation
    return artifact.Training(
        recipe=dict(run.recipe),
        seed=run.seed,
        losses=artifact.Losses(
            training=_shortest(run.curves.training[-1]),
            validation=None if validation is None else _shortest(validation[-1]),
        ),
        data=artifact.Data(file=readings.file, sha256=readings.sha256, rows=len(readings.values)),
        environment={
            "calibrant": _own_version(),
            "machine": platform.machine(),
            "numpy": metadata.version("numpy"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    )


def _own_version() -> str:
    try:
        return metadata.version("calibrant")
    except metadata.PackageNotFoundError:
        return "not installed"


def _report(run: Run, training: artifact.Training) -> artifact.Report:
    dataset = run.dataset
    columns = len(dataset.feature_names) + 3 * len(dataset.target_names)
    kept = spread_rows(len(dataset.features), min(RECORDED_ROWS, _RECORDED_VALUES // columns))
    features, targets = dataset.features[kept], dataset.targets[kept]
    with torch.no_grad():
        predictions = run.network(features)
    return artifact.Report(
        losses=_losses(run.curves),
        gradients={name: _shortest(cast("Tensor", value.grad)) for name, value in run.network.named_parameters()},
        rows=tuple(kept.tolist()),
        validation_rows=tuple(kept[torch.isin(kept, run.rows.validation)].tolist()),
        readings=_by_name(dataset.feature_names, features) | _by_name(dataset.target_names, targets),
        predictions=_by_name(dataset.target_names, predictions),
        residuals=_by_name(dataset.target_names, targets - predictions),
        training=training,
    )


def _losses(curves: Curves) -> dict[Literal["training", "validation"], tuple[float, ...]]:
    if curves.validation is None:
        return {"training": _shortest(curves.training)}
    return {"training": _shortest(curves.training), "validation": _shortest(curves.validation)}


def _golden(run: Run) -> artifact.Golden:
    trained_on = run.dataset.features[run.rows.training]
    low, high = trained_on.amin(dim=0), trained_on.amax(dim=0)
    spanning = torch.stack([low, high, low + (high - low) / 2])
    some = trained_on[spread_rows(len(trained_on), _GOLDEN_CASES - len(spanning))]
    inputs = torch.cat([spanning, some])
    with torch.no_grad():
        outputs = run.network(inputs)
    targets = run.dataset.targets[run.rows.training]
    size = torch.maximum(outputs.abs().amax(dim=0), targets.amax(dim=0) - targets.amin(dim=0))
    return artifact.Golden(
        inputs=_shortest(inputs), outputs=_shortest(outputs), tolerance=_shortest(_GOLDEN_TOLERANCE * size)
    )


def _interval(network: NetworkWithIntervals, golden: artifact.Golden) -> artifact.Interval:
    readings, folds = len(network.residuals), network.folds()
    rank = max(1, readings // _GOLDEN_SHARE)
    with torch.no_grad():
        _, lower, upper = network.interval(torch.tensor(golden.inputs), rank).chunk(3, dim=1)
    return artifact.Interval(
        method="jackknife+" if folds == readings else "cv+",
        readings=readings,
        folds=folds,
        golden=artifact.Bounds(rank=rank, lower=_shortest(lower), upper=_shortest(upper)),
    )


def _columns(run: Run, names: tuple[str, ...], values: Tensor) -> tuple[artifact.Column, ...]:
    trained_on = values[run.rows.training]
    ranges = zip(names, _shortest(trained_on.amin(dim=0)), _shortest(trained_on.amax(dim=0)), strict=True)
    units = run.dataset.units
    return tuple(
        artifact.Column(name=name, unit=units.get(name), minimum=minimum, maximum=maximum)
        for name, minimum, maximum in ranges
    )


def _by_name(names: tuple[str, ...], values: Tensor) -> dict[str, tuple[float, ...]]:
    return {name: _shortest(column) for name, column in zip(names, values.T, strict=True)}


def _shortest(values: Tensor) -> Any:  # noqa: ANN401 - tuples as deep as the tensor has dimensions
    """Nested tuples of the shortest decimals that read back as the same float32: 35.7, not 35.70000076."""
    if values.dim() == 0:
        return float(str(values.numpy()[()]))
    if values.dim() == 1:
        return tuple(float(str(value)) for value in values.numpy())
    return tuple(_shortest(row) for row in values)
