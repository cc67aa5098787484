"""One fit from readings to a published version; it reads top to bottom.

Owns the order of things, so that whatever can be refused is refused before the training starts.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from service import artifact
from training import dataset, publish, readings, record, report, signing, svg, tensorboard, versions
from training.errors import InvalidInputError
from training.recipes import Recipe

THERMOMETER: Final = Path(__file__).parent / "data" / "thermometer.csv"
THERMOMETER_UNITS: Final[Mapping[str, str]] = {"fahrenheit": "degF", "celsius": "degC"}


@dataclass(frozen=True, slots=True)
class Job:
    """What `fit` is asked to do: the flags of the command, in the same words (see docs/training.md)."""

    data: Path | None
    targets: tuple[str, ...]
    units: Mapping[str, str]
    model: str | None
    recipe: Recipe
    seed: int
    device: str
    artifacts: Path
    key: Path | None
    report: bool
    tensorboard: Path | None


def fit(job: Job) -> Path:
    """Fit a network to readings, publish it, and return its directory.

    Raises InvalidInputError before the training, or after it for a full disk; DivergedError when the training fails.
    """
    path = job.data or THERMOMETER
    model = _model_name(job.model, path)
    device = _device(job.device)
    key = signing.private_key(job.key) if job.key else None
    if job.report:
        svg.require("--report")
    if job.tensorboard:
        tensorboard.require()
        publish.check_writable(job.tensorboard, model)
    publish.check_writable(job.artifacts, model)
    units = job.units if job.data else {**THERMOMETER_UNITS, **job.units}
    data = dataset.choose(readings.read(path), job.targets, units)
    run = job.recipe.run(data, job.seed, device)
    _print_errors(run)
    contents = record.files(run, model, report.files if job.report else None)
    if key:
        contents[artifact.SIGNATURE] = key.sign(contents[artifact.MANIFEST])
    directory = publish.publish(job.artifacts, model, contents)
    if job.tensorboard:
        tensorboard.write(job.tensorboard / model / directory.name, run)
    _print_how_to_serve(directory, run, _print_differing_columns(directory))
    return directory


def _model_name(given: str | None, path: Path) -> str:
    name = given if given is not None else path.stem.lower()
    if not artifact.is_name(name):
        rule = "lower-case letters, digits, _ and -, a letter first, at most 64"
        raise InvalidInputError(f"{name!r} cannot name a model ({rule}): give a name with --model")
    return name


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise InvalidInputError("--device cuda: there is no CUDA device")
    return asked


def _print_errors(run: record.Run) -> None:
    data = run.dataset
    with torch.no_grad():
        errors = run.network(data.features).double() - data.targets.double()
    for position, name in enumerate(data.target_names):
        unit = f" {data.units[name]}" if name in data.units else ""
        parts = [
            f"{_root_mean_square(errors[rows, position]):.4g}{unit} on {len(rows)} {kind} rows"
            for kind, rows in (("training", run.rows.training), ("validation", run.rows.validation))
            if len(rows)
        ]
        print(f"{name}: off by {', '.join(parts)} (root mean square)")


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _print_differing_columns(directory: Path) -> bool:
    """Say that the version answers only by its number, where its columns are not the model's; return whether so."""
    wanted, mine = versions.interface(directory.parent), versions.read(directory).manifest.interface
    if wanted is not None and mine.fits(wanted):
        return False
    model = directory.parent.name
    print(f"note: the columns of version {directory.name} ({mine})")
    others = f"the model ({wanted})" if wanted else "other versions, and the lowest one cannot be read"
    print(f"      differ from those of {others}:")
    print(f"      it is published, and answers only by its number. To make it the default of {model}:")
    where = f" --artifacts {shlex.quote(str(directory.parent.parent))}"
    print(f"      python -m training label {model} {artifact.DEFAULT_LABEL} {directory.name}{where}")
    return True


def _print_how_to_serve(directory: Path, run: record.Run, by_number: bool) -> None:  # noqa: FBT001 - of this module
    data = run.dataset
    middle = data.features[run.rows.training].double().mean(dim=0).tolist()
    body = json.dumps({name: [float(f"{value:.4g}")] for name, value in zip(data.feature_names, middle, strict=True)})
    artifacts, model = directory.parent.parent, directory.parent.name
    print(f"published {directory}")
    print(f"serve it: python -m service serve --artifacts {shlex.quote(str(artifacts))}")
    header = "-H 'content-type: application/json'"
    path = f"models/{model}/versions/{directory.name}" if by_number else f"models/{model}"
    print(f"ask it:   curl localhost:8000/{path}/predict {header} -d {shlex.quote(body)}")
