"""What a model's call takes, as it was measured, and how many rows fit into a time. Knows no engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call of the model takes, in seconds: a fixed part, and a part for each row."""

    fixed: float
    per_row: float

    def rows_within(self, seconds: float) -> int:
        """How many rows fit into that time; 0 where not even one does."""
        return max(0, int((seconds - self.fixed) / max(self.per_row, 1e-12)))

    def rows_worth_a_call(self) -> int:
        """How many rows take as long as the fixed part of a call."""
        return int(self.fixed / max(self.per_row, 1e-12))
