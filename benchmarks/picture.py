"""The results as a picture: every ratio to bare as a bar with its spread, and the goals as marks."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import BARE, OURS, Row, goal_of

_OURS, _OTHERS, _GOAL = "#0b6e4f", "#9aa5b1", "#c8102e"


def draw(file: Path, rows: Sequence[Row]) -> None:
    """One panel for each ratio to bare; the suffix of the file's name picks the format."""
    shown = [row for row in rows if "of bare" in row.what and row.server != BARE]
    panels = list(dict.fromkeys((row.workload, row.what) for row in shown))
    if not panels:
        return
    groups = [[row for row in shown if (row.workload, row.what) == panel] for panel in panels]
    bars = [len(group) for group in groups]
    figure = Figure(figsize=(8, 0.32 * sum(bars) + 0.75 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[count + 0.5 for count in bars])
    for axes, group in zip(all_axes[:, 0], groups, strict=True):
        _panel(axes, group)
    figure.savefig(file, dpi=120)


def _panel(axes: Axes, group: Sequence[Row]) -> None:
    names = [row.server for row in group]
    medians = [row.median for row in group]
    spread = [[row.median - row.minimum for row in group], [row.maximum - row.median for row in group]]
    colors = [_OURS if name.startswith(OURS) else _OTHERS for name in names]
    axes.barh(names, medians, xerr=spread, color=colors, height=0.7, error_kw={"lw": 1, "capsize": 2})
    axes.axvline(1, color="black", lw=0.8)
    for position, row in enumerate(group):
        if goal := goal_of(row):
            axes.plot([goal.limit] * 2, [position - 0.42, position + 0.42], color=_GOAL, lw=2)
        axes.annotate(f" {row.median:.2g}", (row.maximum, position), va="center", fontsize=8)
    better = "lower" if group[0].what.startswith("p") else "higher"
    axes.set_title(f"{group[0].workload}: {group[0].what} ({better} is better; red: the goal)", loc="left", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
