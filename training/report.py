"""The report of a version: one page that needs nothing else, and its pictures.

Made from what the artifact holds, so that `report` makes the same page of any version as `fit --report` did.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from pathlib import Path

from torch import Tensor, nn

from service import artifact
from training import neurons, pictures, svg, versions
from training.errors import from_os
from training.record import as_flag

PAGE = "report.html"
_FOLDER = Path(__file__).parent / "page"
_SHOWN_VALUES = 64
_FLAGS = (
    "recipe", "hidden", "activation", "optimizer", "learning_rate", "epochs", "validation_fraction", "device",
)  # fmt: skip
_CAPTIONS = {
    "fit.svg": "What it learned from, and what it answers",
    "loss.svg": "The losses while it learned",
    "residuals.svg": "Residuals, reading less prediction: against the prediction, and by their quantiles",
    "neurons.svg": "The hidden neurons: their outputs, what each adds, and these added up, largest first",
}


def write(artifacts: Path, model: str, reference: str, out: Path) -> Path:
    """Write the page of a version and its pictures into a directory, and return the page's path.

    Raises InvalidInputError for a version that is not there or that no service would load, and what the system refuses.
    """
    svg.require("report")
    read = versions.read(versions.find(artifacts, model, reference))
    report = artifact.Report.model_validate_json(read.report)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files(read.manifest, report, read.network).items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise from_os(error.filename or out, error) from error
    return out / PAGE


def files(manifest: artifact.Manifest, report: artifact.Report, network: nn.Module) -> dict[str, bytes]:
    """The page and its pictures, by file name."""
    version = pictures.Version(manifest, report, network)
    figures = {"fit.svg": pictures.fit(version), "loss.svg": pictures.losses(version)}
    figures["residuals.svg"] = pictures.residuals(version)
    if looked := neurons.look(version):
        figures["neurons.svg"] = neurons.draw(version, looked)
    drawn = {name: svg.svg(figure) for name, figure in figures.items()}
    return {**drawn, PAGE: _page(version, drawn)}


def _page(version: pictures.Version, drawn: dict[str, bytes]) -> bytes:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - an extra

    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
    style = (_FOLDER / "report.css").read_text()
    return (
        environment.get_template("report.html")
        .render(
            manifest=version.manifest,
            style=style,
            style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            pictures={_CAPTIONS[name]: _inline(content) for name, content in drawn.items()},
            parameters=[_parameter(name, value.detach()) for name, value in version.network.named_parameters()],
            command=_command(version.manifest),
        )
        .encode()
    )


def _inline(content: bytes) -> str:
    drawn = content.decode()
    return drawn[drawn.index("<svg") :]


def _parameter(name: str, value: Tensor) -> dict[str, object]:
    exact = value.double()
    statistics = {
        "min": exact.min(), "max": exact.max(), "mean": exact.mean(), "std": exact.std(correction=0),
        "norm": exact.norm(),
    }  # fmt: skip
    return {
        "name": name,
        "shape": " x ".join(map(str, value.shape)),
        "statistics": {of: f"{float(number):.4g}" for of, number in statistics.items()},
        "values": [f"{number:.4g}" for number in exact.flatten().tolist()] if value.numel() <= _SHOWN_VALUES else [],
    }


def _command(manifest: artifact.Manifest) -> str:
    """The command that makes the network again, of what the recipe holds that is a flag of `fit`."""
    training = manifest.training
    words = ["--data", training.data.file, "--model", manifest.model]
    for target in manifest.targets:
        words += ["--target", target.name]
    for column in (*manifest.features, *manifest.targets):
        words += ["--unit", f"{column.name}={column.unit}"] if column.unit else []
    for name, value in ((name, training.recipe[name]) for name in _FLAGS if name in training.recipe):
        words += [f"--{name.replace('_', '-')}", as_flag(value)]
    return shlex.join(["python", "-m", "training", "fit", *words, "--seed", str(training.seed)])
