"""Readings: which files are read, and what is said of those that are not."""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import InvalidInputError
from training.readings import read

Write = Callable[[str | bytes], Path]

SAME_TABLE = [
    "a,b\n1,2\n3,4\n",
    "a;b\n1;2\n3;4",
    "\ufeffa,b\r\n1,2\r\n3,4\r\n",
    '"a","b"\n"1",2\n\n3, 4\n\n',
    " a , b\n1.0,2e0\n+3,.4e1\n",
]


@pytest.mark.parametrize("text", SAME_TABLE)
def test_common_ways_to_write_a_table_are_the_same_table(text: str, table: Write) -> None:
    """Commas, semicolons, quotes, a BOM, CRLF and blank lines change nothing."""
    readings = read(table(text))
    assert readings.names == ("a", "b")
    assert readings.values.dtype == np.float32
    assert readings.values.tolist() == [[1, 2], [3, 4]]


def test_the_digest_is_of_the_bytes_as_they_are(table: Write) -> None:
    """The sha256 is what sha256sum says of the file."""
    path = table(SAME_TABLE[2])
    assert read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_quoted_header_may_hold_the_delimiter(table: Write) -> None:
    """A delimiter, a quote and an equals sign are allowed in a quoted name."""
    assert read(table('"a, b";"say ""c"" = d"\n1;2\n3;4\n')).names == ("a, b", 'say "c" = d')


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "readings.csv: is empty"),
    "blank": (" \n\n", "readings.csv: is empty"),
    "header only": ("a,b\n", "readings.csv: has 0 rows of readings, and at least 2 are needed"),
    "one row": ("a,b\n1,2\n", "readings.csv: has 1 row of readings, and at least 2 are needed"),
    "no header": ("1,2\n3,4\n", "readings.csv, line 1: must hold the names of the columns"),
    "blank first line": ("\na,b\n1,2\n3,4\n", "readings.csv, line 1: must hold the names of the columns"),
    "endless name": (f"a,{'b' * 200_000}\n1,2\n", "readings.csv, line 1: must hold the names of the columns"),
    "duplicate": ("a,b,a\n1,2,3\n4,5,6\n", "readings.csv, line 1, column 'a': two columns have this name"),
    "nameless": ("a,\n1,2\n3,4\n", "line 1: the name of column 2 must be 1 to 200 printable characters"),
    "long name": (f"a,{'b' * 201}\n1,2\n3,4\n", "line 1: the name of column 2 must be"),
    "name with a newline": ('a,"b\nc"\n1,2\n3,4\n', "line 1: the name of column 2 must be"),
    "too few": ("a,b\n1,2\n3\n", "readings.csv, line 3: has 1 value for 2 columns"),
    "too many": ("a,b\n1,2\n\n3,4,5\n", "readings.csv, line 4: has 3 values for 2 columns"),
    "text": ("a,b\n1,2\n3,warm\n", "readings.csv, line 3, column 'b': 'warm' is not a number"),
    "long text": (f"a,b\n1,2\n{'x' * 99},4\n", f"line 3, column 'a': '{'x' * 40}...' is not a number"),
    "decimal comma": ("a;b\n1,5;2\n3;4\n", "readings.csv, line 2, column 'a': '1,5' is not a number"),
    "other digits": ("a,b\n\u0665,2\n3,4\n", "readings.csv, line 2, column 'a': '\u0665' is not a number"),
    "wide digits": ("a,b\n\uff11,2\n3,4\n", "readings.csv, line 2, column 'a': '\uff11' is not a number"),
    "a blank that is not ASCII": (
        "a,b\n\u00a05,2\n3,4\n",
        "readings.csv, line 2, column 'a': '\\xa05' is not a number",
    ),
    "underscore": ("a,b\n1_000,2\n3,4\n", "readings.csv, line 2, column 'a': '1_000' is not a number"),
    "missing value": ("a,b\n1,2\n3, \n", "readings.csv, line 3, column 'b': the value is missing"),
    "nan": ("a,b\n1,2\n\nNaN,4\n", "readings.csv, line 4, column 'a': nan is not a finite float32 number"),
    "infinite": ("a,b\n1,-inf\n3,4\n", "readings.csv, line 2, column 'b': -inf is not a finite float32 number"),
    "beyond float32": ("a,b\n1,1e39\n3,4\n", "line 2, column 'b': 1e+39 is not a finite float32 number"),
    "constant": ("a,b\n1,2\n1,4\n", "readings.csv, column 'a': is constant, so nothing can be learned from it"),
    "constant in float32": ("a,b\n1,1e8\n2,100000001\n", "column 'b': is constant"),
    "tiny": ("a,b\n1,1e-40\n2,2e-40\n", "column 'b': varies by about 5e-41, which float32 cannot scale"),
    "huge": ("a,b\n1,3e38\n2,-3e38\n", "column 'b': varies by about 3e+38, which float32 cannot scale"),
    "quote": ('a,b\n1,2\n"3"4,5\n', "readings.csv, line 3: ',' expected after '\"'"),
    "endless quote": ('a,b\n1,2\n"3,5\n', "readings.csv, line 3: unexpected end of data"),
    "latin-1": ("a,b\n1,2\n3,4°\n".encode("latin-1"), "readings.csv, line 3: is not UTF-8 text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_by_file_line_and_column(name: str, table: Write) -> None:
    """Each refusal says in one line where the trouble is, and what it is."""
    content, message = REFUSED[name]
    with pytest.raises(InvalidInputError) as refused:
        read(table(content))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A missing file and a directory are bad input."""
    with pytest.raises(InvalidInputError, match=r"none\.csv: No such file or directory"):
        read(tmp_path / "none.csv")
    with pytest.raises(InvalidInputError, match="Is a directory"):
        read(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """No content of a file does anything else."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with contextlib.suppress(InvalidInputError):
            assert np.isfinite(read(Path(file.name)).values).all()


def test_a_million_rows_are_read_in_seconds(table: Write) -> None:
    """Two columns of a million rows take less than ten seconds, on a slow machine too."""
    path = table("a,b\n" + "".join(f"{number},{number / 2}\n" for number in range(1_000_000)))
    start = time.process_time()
    assert read(path).values.shape == (1_000_000, 2)
    assert time.process_time() - start < 10
