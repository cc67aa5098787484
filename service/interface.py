"""What a version takes and gives: its features and targets, by name and unit.

A model's default always has the columns of its lowest version, so that no client's requests stop fitting.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Columns: TypeAlias = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """The features and targets in their order, each with its name and its unit, None where the unit is not known."""

    features: Columns
    targets: Columns

    def __str__(self) -> str:
        """Return the features and targets with their units, for a person."""
        return f"{_text(self.features)} -> {_text(self.targets)}"

    def fits(self, other: "Interface") -> bool:
        """Return whether it is the same; a unit that one of the two does not know may be any."""
        return _are_same(self.features, other.features) and _are_same(self.targets, other.targets)


def agreed(interfaces: Iterable[Interface]) -> Interface | None:
    """Return what all of them are, with every unit that one of them knows; None where two differ, or there is none."""
    units: dict[tuple[tuple[str, ...], ...], list[set[str]]] = {}
    for one in interfaces:
        columns = (*one.features, *one.targets)
        names = tuple(tuple(name for name, _ in part) for part in (one.features, one.targets))
        known = units.setdefault(names, [set() for _ in columns])
        for found, (_, unit) in zip(known, columns, strict=True):
            found.update([unit] if unit else [])
    if len(units) != 1 or any(len(found) > 1 for (known,) in [units.values()] for found in known):
        return None
    ((names, known),) = units.items()
    said = iter(next(iter(found), None) for found in known)
    features, targets = (tuple((name, next(said)) for name in part) for part in names)
    return Interface(features, targets)


def _are_same(mine: Columns, others: Columns) -> bool:
    return len(mine) == len(others) and all(
        one[0] == two[0] and (one[1] == two[1] or None in (one[1], two[1]))
        for one, two in zip(mine, others, strict=True)
    )


def _text(columns: Columns) -> str:
    return ", ".join(f"{name} [{unit}]" if unit else name for name, unit in columns)
