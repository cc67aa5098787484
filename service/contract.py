"""What the values in a version's documents may be: texts, numbers and lists, all of them bounded."""

import re
from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from service import column_names

NAME = r"[a-z][a-z0-9_-]{0,63}"
CASES_MAX = 1000
# The least number that float32 rounds to infinity; its largest one is written 3.4028235e+38, which is above itself.
_FLOAT32_END = (2 - 2**-24) * 2.0**127
WHOLE_MAX = 2**53
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("has characters that cannot be printed, or white space around it")
    return text


def _date_time(text: str) -> str:
    if not _DATE_TIME.fullmatch(text):
        raise ValueError("is not an ISO date and time with an offset, such as 2026-11-27T12:00:00+00:00")
    datetime.fromisoformat(text)
    return text


def text_of(longest: int) -> object:
    """Return what makes a text have one character or more, and no more than `longest`."""
    return StringConstraints(min_length=1, max_length=longest)


Printable = AfterValidator(_printable)
Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
ColumnName = Annotated[str, text_of(column_names.NAME_MAX_LENGTH), Printable]
# Two underscores at both ends are safetensors's own.
ParameterName = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]|_[A-Za-z0-9])[A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$", max_length=200)
]
DateTime = Annotated[str, AfterValidator(_date_time)]
Word = Annotated[str, text_of(100), Printable]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Float32 = Annotated[float, Field(gt=-_FLOAT32_END, lt=_FLOAT32_END, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=WHOLE_MAX)]
Cases: TypeAlias = Annotated[
    tuple[Annotated[tuple[Float32, ...], Field(max_length=column_names.COLUMNS_MAX)], ...],
    Field(max_length=CASES_MAX),
]
# A text may have the names of all features.
Setting: TypeAlias = (
    Annotated[str, Field(max_length=2 * column_names.NAMES_MAX_LENGTH)]
    | Annotated[int, Field(ge=-WHOLE_MAX, le=WHOLE_MAX)]
    | Annotated[float, Field(ge=-WHOLE_MAX, le=WHOLE_MAX, allow_inf_nan=False)]
    | Annotated[tuple[Annotated[int, Field(ge=0, le=WHOLE_MAX)], ...], Field(max_length=64)]
)


class Contract(BaseModel):
    """A document of a version, or a part of one: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
