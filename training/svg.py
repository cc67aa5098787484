"""Figures by matplotlib, as SVG bytes: the same figure gives the same bytes, and they need no style sheet.

matplotlib is an extra, so it is imported only here, and only when a picture is asked for.
"""

from __future__ import annotations

import io
import re
from importlib import util
from typing import TYPE_CHECKING

from service import artifact
from training.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE = re.compile(r' style="([^"]*)"')
_STYLE_SHEET = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
# What matplotlib's style sheet says, inherited instead.
_ROOT = '<svg stroke-linejoin="round" stroke-linecap="butt" '
# Nothing refers to a group, and several pictures in one page must not have the same identifiers.
_GROUP = re.compile(r'<g id="[^"]*"')


def require(what: str) -> None:
    """Raise InvalidInputError when the extra that draws is not installed."""
    if any(util.find_spec(name) is None for name in ("jinja2", "matplotlib")):
        raise InvalidInputError(artifact.needed(what, "plots"))


def panels(rows: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, and its panels row by row."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(7, 4.2 * rows / columns**0.5), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def text(name: str) -> str:
    """A name that may hold anything, as text that can be drawn."""
    # A dollar sign would start a formula.
    return "".join(character if character.isprintable() else "?" for character in name).replace("$", r"\$")


def svg(figure: Figure) -> bytes:
    """The figure, with everything in attributes that no content policy refuses."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    buffer = io.StringIO()
    # Without these two, identifiers are random and the time is written into the file.
    with mpl.rc_context({"svg.hashsalt": "calibrant"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = _STYLE_SHEET.sub("", buffer.getvalue()).replace("<svg ", _ROOT, 1)
    return _STYLE.sub(_as_attributes, _GROUP.sub("<g", drawn)).encode()


def _as_attributes(found: re.Match[str]) -> str:
    properties = (declaration.partition(":") for declaration in found[1].split(";") if declaration.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in properties)
