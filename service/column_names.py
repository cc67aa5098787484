"""Which names columns may have, so that the columns that an answer adds never have the name of another one."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

COLUMNS_MAX = 4096
NAME_MAX_LENGTH = 200
# All names, separated, make one line of a CSV, and the longest line that the service reads has 262,144 characters.
NAMES_MAX_LENGTH = 100_000

OUT_OF_RANGE = "out_of_range"
# What stands beside the targets' bounds where an answer is JSON.
BESIDE_BOUNDS = ("coverage", "guaranteed")
# The layers that `training` makes. Which of them a version has is decided when the columns are named already.
_OF_A_LAYER = re.compile(r"(feature_logarithm|hidden_(linear|activation)(_[0-9]+)?|output_linear)_[0-9]+")


def bounds_of(target: str) -> tuple[str, str]:
    """Return the names of the columns with a target's lower and upper bounds."""
    return f"{target}_lower", f"{target}_upper"


def predicted(name: str) -> str:
    """Return what a column of an answer is called where the table has a column `name` already."""
    return f"predicted_{name}"


def of_layer(layer: str, index: int) -> str:
    """Return the name of the column with one value of a layer's output."""
    return f"{layer}_{index}"


def check(features: Sequence[str], targets: Sequence[str]) -> None:
    """Raise ValueError, which names the column, for names with which some answer would have one name twice.

    Answers are those to tables that have the features and any of the targets, with and without intervals.
    """
    names = (*features, *targets)
    _check_sizes(names)
    for target in targets:
        if target in BESIDE_BOUNDS:
            raise ValueError(f"column {target!r}: has a name that an answer with an interval uses beside its targets")
    for name in names:
        if _OF_A_LAYER.fullmatch(name):
            raise ValueError(f"column {name!r}: has a name that /activations uses for a value of a layer")
    _check_added(names, targets)


def check_layers(names: Iterable[str], widths: Mapping[str, int]) -> None:
    """Raise ValueError where a column has the name of a value of a layer; `widths` are how many values each has."""
    for name in names:
        layer, _, index = name.rpartition("_")
        if layer in widths and name in {of_layer(layer, at) for at in range(widths[layer])}:
            raise ValueError(f"column {name!r}: has a name that /activations uses for value {index} of layer {layer!r}")


def _check_sizes(names: Sequence[str]) -> None:
    if len(names) > COLUMNS_MAX:
        raise ValueError(f"{len(names)} columns are more than the {COLUMNS_MAX} that a model may have")
    if (length := sum(map(len, names))) > NAMES_MAX_LENGTH:
        raise ValueError(f"the columns' names have {length} characters together, and may have {NAMES_MAX_LENGTH}")


def _check_added(names: Sequence[str], targets: Sequence[str]) -> None:
    """Raise ValueError where a column that an answer adds is called as another one that it may have."""
    owners: dict[str, str] = {}
    for name in names:
        if name in owners:
            raise ValueError(f"column {name!r}: two columns have the same name")
        owners[name] = name
    for name, owner in _added(targets):
        if name in owners:
            column = owners[name]
            purpose = f"for target {owner!r}" if owner else "of its own"
            raise ValueError(f"column {column!r}: an answer adds a column {name!r} {purpose}, and cannot have two")
        owners[name] = owner


def _added(targets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give each name that an answer may add besides the targets' own, and the target for which it is."""
    yield OUT_OF_RANGE, ""
    for target in targets:
        yield predicted(target), target
        for bound in bounds_of(target):
            yield bound, target
            yield predicted(bound), target
