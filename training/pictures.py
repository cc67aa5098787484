"""The pictures of ``fit --report``, as SVG bytes; the same run gives the same bytes.

Owns how a run looks. matplotlib is an extra, so it is imported only here, and only when a picture is asked for.
"""

from __future__ import annotations

import io
from importlib import util
from typing import TYPE_CHECKING

import torch

from training.errors import InvalidInputError
from training.record import spread_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from training.record import Run

_CURVE_POINTS = 400
_DRAWN_ROWS = 1_000
_MARGIN = 0.05


def require() -> None:
    """Raise InvalidInputError when matplotlib is not installed."""
    if util.find_spec("matplotlib") is None:
        raise InvalidInputError("--report needs matplotlib: pip install 'calibrant[plots]'")


def draw(run: Run) -> dict[str, bytes]:
    """The pictures by file name: fit and loss always, the hidden neurons where there are some and one feature."""
    one_feature = len(run.dataset.feature_names) == 1
    pictures = {"fit.svg": _fit_curve(run) if one_feature else _fit_scatter(run), "loss.svg": _loss(run)}
    if one_feature and len(list(run.network.children())) > 1:
        pictures["neurons.svg"] = _neurons(run)
    return {name: _svg(figure) for name, figure in pictures.items()}


def _fit_curve(run: Run) -> Figure:
    data, (x, curve) = run.dataset, _over_range(run)
    features, targets, outputs = _drawn(run)
    figure, panels = _panels(len(data.target_names))
    for position, (axes, name) in enumerate(zip(panels, data.target_names, strict=True)):
        axes.plot(x[:, 0], curve[:, position], color="0.6", zorder=1)
        axes.plot(features[:, 0], targets[:, position], "o", mfc="none", color="C0", label="readings")
        axes.plot(features[:, 0], outputs[:, position], "x", color="C3", label="network at the readings")
        axes.set(xlabel=_label(run, data.feature_names[0]), ylabel=_label(run, name))
        axes.legend()
    return figure


def _fit_scatter(run: Run) -> Figure:
    _, targets, outputs = _drawn(run)
    figure, panels = _panels(len(run.dataset.target_names))
    for position, (axes, name) in enumerate(zip(panels, run.dataset.target_names, strict=True)):
        axes.axline((float(targets[0, position]),) * 2, slope=1, color="0.6", zorder=1)
        axes.plot(targets[:, position], outputs[:, position], "x", color="C3")
        axes.set(xlabel=f"{_label(run, name)}, reading", ylabel=f"{_label(run, name)}, network")
    return figure


def _loss(run: Run) -> Figure:
    figure, (axes,) = _panels(1)
    for name, curve in (("training", run.curves.training), ("validation", run.curves.validation)):
        if curve is not None:
            values = curve.cpu()
            kept = spread_rows(len(values), _DRAWN_ROWS)
            # A loss may be exactly 0, and a curve of one epoch is a point.
            axes.plot(kept + 1, values[kept].clamp(min=1e-12), label=name, marker="." if len(kept) == 1 else "")
    axes.set(xlabel="epoch", ylabel="loss (mean squared error, scaled targets)", yscale="log")
    axes.legend()
    return figure


def _neurons(run: Run) -> Figure:
    x, _ = _over_range(run)
    with torch.no_grad():
        outputs = run.network.activations(x)
    hidden = {name: output for name, output in outputs.items() if name.startswith("hidden_activation")}
    figure, panels = _panels(len(hidden))
    for axes, (name, output) in zip(panels, hidden.items(), strict=True):
        axes.plot(x[:, 0], output)
        axes.set(xlabel=_label(run, run.dataset.feature_names[0]), ylabel=name)
    return figure


def _over_range(run: Run) -> tuple[Tensor, Tensor]:
    features = run.dataset.features[:, 0]
    low, high = float(features.min()), float(features.max())
    margin = _MARGIN * (high - low)
    x = torch.linspace(low - margin, high + margin, _CURVE_POINTS).unsqueeze(1)
    with torch.no_grad():
        return x, run.network(x)


def _drawn(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    kept = spread_rows(len(run.dataset.features), _DRAWN_ROWS)
    features = run.dataset.features[kept]
    with torch.no_grad():
        return features, run.dataset.targets[kept], run.network(features)


def _label(run: Run, name: str) -> str:
    text = f"{name} ({run.dataset.units[name]})" if name in run.dataset.units else name
    # A dollar sign would start a formula.
    return text.replace("$", r"\$")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(7, 4.5 * count), layout="constrained")
    panels = figure.subplots(count, squeeze=False)
    return figure, list(panels[:, 0])


def _svg(figure: Figure) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    buffer = io.BytesIO()
    # Without these two, identifiers are random and the time is written into the file.
    with mpl.rc_context({"svg.hashsalt": "calibrant"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
