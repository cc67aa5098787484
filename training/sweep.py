"""A sweep over sizes, learning rates and seeds: a table and a picture for the eye, and CSV for a program.

Owns how a grid of networks is summed up over the seeds, not how they are fitted: see `training.grid`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from training import grid, svg
from training.errors import from_os
from training.grid import Grid, Member

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OVERFIT = 1.1
# Between them lie 90 %.
_LOW, _HIGH = 0.05, 0.95

RESULTS, PICTURE = "sweep.csv", "sweep.svg"
COLUMNS = (*(field.name for field in fields(Member)), "overfit")


def sweep(asked: Grid, out: Path) -> None:
    """Fit the grid's networks, print what came of it, and write results and picture into a directory.

    Raises InvalidInputError for readings that will not do, and what the system refuses.
    """
    svg.require("sweep")
    members = [member for size in grid.run(asked) for member in size]
    found = settings(members)
    print_table(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / RESULTS).write_text(as_csv(members))
        (out / PICTURE).write_bytes(picture(found))
    except OSError as error:
        raise from_os(error.filename or out, error) from error
    print(f"wrote {out / RESULTS} and {out / PICTURE}")


@dataclass(frozen=True, slots=True)
class Setting:
    """The networks of one size and learning rate, and those of them that did not diverge."""

    hidden: int
    learning_rate: float
    members: Sequence[Member]

    @property
    def fitted(self) -> list[Member]:
        """Those that did not diverge."""
        return [member for member in self.members if member.validation_loss is not None]

    @property
    def overfit(self) -> int:
        """How many of them are worse at the end than they were at their best epoch, by more than a tenth."""
        return sum(value > _OVERFIT for value in self.of("overfit"))

    def of(self, measure: str) -> list[float]:
        """A measure of each of these, ascending."""
        return sorted(value for member in self.fitted if (value := getattr(member, measure)) is not None)


def settings(members: Sequence[Member]) -> list[Setting]:
    """The sizes and learning rates, in their order."""
    pairs = dict.fromkeys((member.hidden, member.learning_rate) for member in members)
    return [Setting(*pair, [m for m in members if (m.hidden, m.learning_rate) == pair]) for pair in pairs]


def as_csv(members: Sequence[Member]) -> str:
    """A line for each network; a value that it does not have is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([getattr(member, name) for name in COLUMNS] for member in members)
    return text.getvalue()


def print_table(found: Sequence[Setting]) -> None:
    """A line for each size and learning rate, and which has the lowest median loss."""
    line = "{:>6} {:>13} {:>28} {:>13} {:>10} {:>9} {:>7} {:>8}"
    print("medians over the seeds; in brackets where 90 % of them lie")
    head = ("hidden", "learning rate", "validation loss", "training loss", "best epoch", "linearity", "overfit")
    print(line.format(*head, "diverged"))
    for each in found:
        print(line.format(each.hidden, f"{each.learning_rate:g}", *_summary(each)))
    if fitted := [each for each in found if each.fitted]:
        best = min(fitted, key=lambda each: median(each.of("validation_loss")))
        print(f"lowest: --hidden {best.hidden} --learning-rate {best.learning_rate:g}")


def _summary(setting: Setting) -> list[str]:
    count = len(setting.members)
    diverged = f"{count - len(setting.fitted)}/{count}"
    if not setting.fitted:
        return ["-", "-", "-", "-", "-", diverged]
    losses = setting.of("validation_loss")
    low, high = np.quantile(losses, (_LOW, _HIGH))
    return [
        f"{median(losses):.3g} ({low:.2g} to {high:.2g})",
        f"{median(setting.of('training_loss')):.3g}",
        f"{median(setting.of('best_epoch')):.0f}",
        f"{median(setting.of('linearity')):.3f}",
        f"{setting.overfit}/{count}",
        diverged,
    ]


def picture(found: Sequence[Setting]) -> bytes:
    """Validation loss and linearity with their spread, and overfitting, by size; a colour for each learning rate."""
    figure, (losses, linear, overfit) = svg.panels(3)
    _draw(losses, found, "validation_loss")
    losses.set(ylabel="validation loss (scaled targets)", yscale="log")
    _draw(linear, found, "linearity")
    linear.set(ylabel="linearity: 1 is a line")
    _draw_overfit(overfit, found)
    return svg.svg(figure)


def _draw(axes: Axes, found: Sequence[Setting], measure: str) -> None:
    for rate, places, fitted in _lines(axes, found):
        low, middle, high = ([np.quantile(each.of(measure), share) for each in fitted] for share in (_LOW, 0.5, _HIGH))
        axes.fill_between(places, low, high, alpha=0.15, lw=0)
        axes.plot(places, middle, ".-", label=f"learning rate {rate:g}")
    axes.legend(fontsize="small")


def _draw_overfit(axes: Axes, found: Sequence[Setting]) -> None:
    for rate, places, fitted in _lines(axes, found):
        axes.plot(places, [each.overfit / len(each.fitted) for each in fitted], ".-", label=f"learning rate {rate:g}")
    axes.set(ylabel="share of the seeds that overfit", ylim=(-0.05, 1.05))
    axes.legend(fontsize="small")


def _lines(axes: Axes, found: Sequence[Setting]) -> Iterator[tuple[float, list[int], list[Setting]]]:
    """For each learning rate the settings with networks that did not diverge, and where they stand."""
    sizes = list(dict.fromkeys(each.hidden for each in found))
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlabel("hidden neurons")
    for rate in dict.fromkeys(each.learning_rate for each in found):
        fitted = [each for each in found if each.learning_rate == rate and each.fitted]
        yield rate, [sizes.index(each.hidden) for each in fitted], fitted
