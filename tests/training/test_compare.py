"""compare: the published table, repeated."""

import re
from collections.abc import Callable

from training import compare
from training.network import Scaling, build

Command = Callable[..., tuple[int, str, str]]


def test_every_row_lands_where_fresh_starts_land(command: Command) -> None:
    """With the default seed all four networks end within the ranges, and the linear one at the book's line."""
    status, out, _ = command("compare")
    assert status == 0
    rows = [
        next(line for line in out.splitlines() if line.startswith(row.name) and "/" in line) for row in compare.TABLE
    ]
    for row, line in zip(compare.TABLE, rows, strict=True):
        assert row.published in line
        assert line.endswith("yes")
        assert f"SGD {row.learning_rate:.0e}" in line
    found = re.search(r"published weight 5\.4319, bias -17\.9693; here weight (\S+), bias (\S+)", out)
    assert found
    assert abs(float(found[1]) - 5.4319) < 0.05
    assert abs(float(found[2]) + 17.9693) < 0.3


def test_a_loss_outside_its_range_is_not_called_within() -> None:
    """The table's last column is an answer, not an ornament."""
    row = compare.TABLE[2]
    network = build(row.hidden, "tanh", Scaling.by(10), Scaling.by(1))
    assert compare.lies_within(row, compare.Outcome(2.1141, 2.0215, network))
    assert not compare.lies_within(row, compare.Outcome(2.35, 2.0215, network))
    assert not compare.lies_within(row, compare.Outcome(2.1141, 5.05, network))
