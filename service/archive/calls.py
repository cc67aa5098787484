"""What an archive's functions and methods call, followed to the end: no circles, and no bombs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final

from service.archive.error import ArchiveError

# A network of eight layers has a quarter of these steps. Torch compiles 5,000 in 0.2 s, and no other thread runs then.
STEPS_MAX: Final = 5_000
BRANCHES_MAX: Final = 160
# Torch compiles what is called in the middle of what calls it, on one stack.
DEFINITIONS_MAX: Final = 128


@dataclass(slots=True)
class Definition:
    """A function or method: how many steps and branches it has, and what it calls, by full name, once for each time."""

    steps: int = 0
    branches: int = 0
    calls: list[str] = field(default_factory=list)


def check(definitions: Mapping[str, Definition]) -> None:
    """Raise ArchiveError for a call of something else, for a circle, and for more definitions or steps than the limits.

    Torch puts what is called in place of each call: thirty functions that call each other twice are a billion steps.
    """
    if len(definitions) > DEFINITIONS_MAX:
        raise ArchiveError(f"more than {DEFINITIONS_MAX} functions and methods")
    steps: dict[str, int] = {}
    branches: dict[str, int] = {}
    try:
        for name in TopologicalSorter({name: found.calls for name, found in definitions.items()}).static_order():
            if name not in definitions:
                raise ArchiveError(f"{name} is called, and not defined")
            steps[name] = definitions[name].steps + sum(steps[call] for call in definitions[name].calls)
            branches[name] = definitions[name].branches + sum(branches[call] for call in definitions[name].calls)
            if branches[name] > BRANCHES_MAX:
                raise ArchiveError(f"{name} has more than {BRANCHES_MAX} branches")
            if steps[name] > STEPS_MAX:
                raise ArchiveError(f"{name} takes more than {STEPS_MAX} steps")
    except CycleError as error:
        raise ArchiveError(f"{error.args[1][0]} calls itself") from error
    found = definitions.values()
    if sum(one.steps for one in found) > STEPS_MAX or sum(one.branches for one in found) > BRANCHES_MAX:
        raise ArchiveError(f"all functions and methods have more than {STEPS_MAX} steps or {BRANCHES_MAX} branches")
