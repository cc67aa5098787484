"""Memory that a parent shares with its workers: each shows there that its event loop turns, and whether it is ready."""

from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

_STARTING, _SERVING, _READY = range(3)


class Board:
    """One line for each place among the workers: how often a loop has turned, and how far a process has come."""

    def __init__(self, places: int) -> None:
        context = get_context("spawn")
        self._turns = context.RawArray("Q", places)
        self._states = context.RawArray("B", places)

    def clear(self, place: int) -> None:
        """Begin the line of a process that starts, or that is missing."""
        self._turns[place], self._states[place] = 0, _STARTING

    def turn(self, place: int) -> None:
        """Show that the event loop turns."""
        self._turns[place] += 1

    def turns(self, place: int) -> int:
        """Return how often the event loop has turned: a number that stays is that of a process that hangs."""
        return int(self._turns[place])

    def serve(self, place: int, *, ready: bool) -> None:
        """Show that the process takes connections, and whether its default model serves."""
        self._states[place] = _READY if ready else _SERVING

    def serves(self, place: int) -> bool:
        """Whether the process takes connections."""
        return int(self._states[place]) != _STARTING

    def all_ready(self) -> bool:
        """Whether the default model serves in every place."""
        return all(state == _READY for state in self._states)


@dataclass(frozen=True, slots=True)
class Place:
    """What one of several workers is given: its line on the board, and the file for what it counts."""

    board: Board
    number: int
    snapshot: Path

    def turn(self) -> None:
        """Show that the event loop turns."""
        self.board.turn(self.number)

    def serve(self, *, ready: bool) -> None:
        """Show that it turns and takes connections, and whether the default model serves."""
        self.board.serve(self.number, ready=ready)
        self.board.turn(self.number)
