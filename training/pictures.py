"""The pictures of a version: what it learned from, what it answers, how it came to that, and how far off it is.

Drawn from what the artifact holds, so that any version can be drawn at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from service import artifact
from training import bounds, svg
from training.record import spread_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVE_POINTS = 400
_DRAWN_ROWS = 1_000
_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Version:
    """A version's manifest and training record, parsed, and its network on the CPU."""

    manifest: artifact.Manifest
    report: artifact.Report
    network: nn.Module

    def columns(self, table: str, names: tuple[artifact.Column, ...]) -> Tensor:
        """Columns ``[rows, columns]`` of the record's `readings`, `predictions` or `residuals`."""
        held = getattr(self.report, table)
        return torch.tensor([held[column.name] for column in names]).T

    def over_range(self) -> Tensor:
        """The range of the record's first feature, and a little more on both sides: ``[points, 1]``."""
        feature = self.columns("readings", self.manifest.features[:1])
        low, high = float(feature.min()), float(feature.max())
        margin = _MARGIN * (high - low)
        return torch.linspace(low - margin, high + margin, _CURVE_POINTS).unsqueeze(1)

    def validation(self) -> Tensor:
        """Which of the record's rows were for validation: bool ``[rows]``."""
        return torch.isin(torch.tensor(self.report.rows), torch.tensor(self.report.validation_rows))


def label(column: artifact.Column) -> str:
    """A column's name and unit, for an axis."""
    return svg.text(f"{column.name} ({column.unit})" if column.unit else column.name)


def fit(version: Version) -> Figure:
    """The readings and the network's curve; with several features, prediction against reading."""
    features, targets = version.manifest.features, version.manifest.targets
    figure, panels = svg.panels(len(targets))
    for position, (axes, target) in enumerate(zip(panels, targets, strict=True)):
        if len(features) == 1:
            _draw_curve(axes, version, position)
            axes.set(xlabel=label(features[0]), ylabel=label(target))
        else:
            _draw_against_readings(axes, version, position)
            axes.set(xlabel=f"{label(target)}, reading", ylabel=f"{label(target)}, network")
        axes.legend()
    return figure


def _draw_curve(axes: Axes, version: Version, position: int) -> None:
    x = version.over_range()
    with torch.no_grad():
        axes.plot(x[:, 0], version.network(x)[:, position], color="0.4", label="network", zorder=1)
        for level, rank in bounds.ranks(version.manifest).items():
            lower, upper = (bound[:, position] for bound in bounds.bounds(version.network, x, rank))
            axes.fill_between(
                x[:, 0], lower, upper, color="C2", alpha=0.15, lw=0, label=f"interval, {level} %", zorder=0
            )
    readings = version.columns("readings", version.manifest.targets)[:, position]
    draw_rows(axes, version, version.columns("readings", version.manifest.features)[:, 0], readings)


def _draw_against_readings(axes: Axes, version: Version, position: int) -> None:
    readings, predictions = (
        version.columns(table, version.manifest.targets)[:, position] for table in ("readings", "predictions")
    )
    axes.axline((float(readings[0]),) * 2, slope=1, color="0.6", zorder=1)
    draw_rows(axes, version, readings, predictions)


def residuals(version: Version) -> Figure:
    """Residual against prediction, and the residuals' quantiles against those of a normal distribution."""
    targets = version.manifest.targets
    figure, panels = svg.panels(len(targets), 2)
    predictions, off = (version.columns(table, targets) for table in ("predictions", "residuals"))
    for position, target in enumerate(targets):
        against, quantiles = panels[2 * position : 2 * position + 2]
        against.axhline(0, color="0.6", zorder=1)
        draw_rows(against, version, predictions[:, position], off[:, position])
        against.set(xlabel=f"{label(target)}, network", ylabel="residual")
        against.legend()
        _draw_quantiles(quantiles, off[:, position].double())
    return figure


def _draw_quantiles(axes: Axes, residuals: Tensor) -> None:
    count = len(residuals)
    normal = torch.tensor([NormalDist().inv_cdf((rank + 0.5) / count) for rank in range(count)])
    kept = spread_rows(count, _DRAWN_ROWS)
    line = residuals.mean() + normal[[0, -1]] * residuals.std(correction=0)
    axes.plot(normal[[0, -1]], line, color="0.6", zorder=1, label="normal")
    axes.plot(normal[kept], residuals.sort().values[kept], "o", mfc="none", ms=4, color="C0", label="residuals")
    axes.set(xlabel="quantile of the normal distribution", ylabel="quantile of the residuals")
    axes.legend()


def draw_rows(axes: Axes, version: Version, x: Tensor, y: Tensor) -> None:
    """A mark for each row of the record, and another one for those of validation."""
    validation = version.validation()
    for name, rows, style in (("training", ~validation, "oC0"), ("validation", validation, "sC3")):
        if count := int(rows.sum()):
            kept = spread_rows(count, _DRAWN_ROWS)
            axes.plot(x[rows][kept], y[rows][kept], style, mfc="none", ms=4, label=f"{name} readings")


def losses(version: Version) -> Figure:
    """The loss curves."""
    figure, (axes,) = svg.panels(1)
    for name, curve in version.report.losses.items():
        kept = spread_rows(len(curve), _DRAWN_ROWS)
        # A loss may be exactly 0, and a curve of one epoch is a point.
        values = torch.tensor(curve)[kept].clamp(min=1e-12)
        axes.plot(kept + 1, values, label=name, marker="." if len(kept) == 1 else "")
    unit = "epoch" if "epochs" in version.manifest.training.recipe else "step"
    axes.set(xlabel=unit, ylabel="loss (mean squared error, scaled targets)", yscale="log")
    axes.legend()
    return figure
