"""Bodies to rows: the fast reader of large bodies and the validator agree on every body."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.problems import Problem
from service.tables.json import Columns

NAMES = ["a", 'b"[\\']
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
PADDING = " " * 2000


def outcome(columns: Columns, body: str) -> object:
    """The rows, or the problem in full."""
    try:
        return columns.from_json(body.encode()).tolist()
    except Problem as problem:
        return problem.body()


def check_padding_changes_nothing(columns: Columns, body: str) -> None:
    """White space at the end makes a body large, and nothing else."""
    assert outcome(columns, body + PADDING) == outcome(columns, body)


@given(st.lists(FLOATS, max_size=40))
def test_numbers_are_the_same_in_a_large_body(values: list[float]) -> None:
    """Every float32, and integers beyond 64 bits."""
    body = json.dumps({"a": values})
    check_padding_changes_nothing(Columns(["a"], 30), body)
    rows = outcome(Columns(["a"], 100), body + PADDING)
    assert rows == np.array(values, dtype=np.float32).reshape(-1, 1).tolist()


@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=40))
def test_columns_with_odd_names_are_the_same(pairs: list[tuple[float, float]]) -> None:
    """Quotes, brackets and backslashes in names; columns in the other order."""
    table = {name: [pair[at] for pair in pairs] for at, name in reversed(list(enumerate(NAMES)))}
    check_padding_changes_nothing(Columns(NAMES, 100), json.dumps(table))


ODD = """
{"a":[[1],[2]]}        {"a":[[1,2]]}       {"a":[true]}      {"a":[null]}     {"a":["1"]}     {"a":[{}]}
{"a":{}}               {"a":1}
{"a":[1],"a":[2]}      {"\\u0061":[1]}      {"\\u0061":[1],"a":[2]}               {"b":[1]}       {"a":[1],"b":[1]}
{}  []  [1]  "a"  1    {"a":[NaN]}         {"a":[Infinity]}  {"a":[1e999]}    {"a":[3.5e38]}  {"a":[-3.5e38]}
{"a":[01]}             {"a":[1,]}          {"a":[1]}}        \ufeff{"a":[1]}  {"a":[-0,-0.0,1E2,1e-400]}
{"a":[3.4028234663852886e38,3.4028235677973366e38]}          {"a":[1]}\0    {"a":[18446744073709551616]}
"""


@pytest.mark.parametrize("body", [*ODD.split(), ' {"a" : [ 1 , 2 ] } ', '{"a":[9' + "9" * 400 + "]}"])
def test_odd_bodies_are_the_same(body: str) -> None:
    """Good or bad, with the same words."""
    check_padding_changes_nothing(Columns(["a"], 100), body)
