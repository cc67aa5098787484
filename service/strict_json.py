"""Reads a version's JSON documents strictly: one meaning, or none."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from service.directory import ArtifactError

_Model = TypeVar("_Model", bound=BaseModel)
_WORDS = {"extra_forbidden": "unknown key", "missing": "missing key"}


def parse(kind: type[_Model], content: bytes, name: str) -> _Model:
    """Return the document in `content`; raise ArtifactError that says what is wrong in file `name`, and where."""
    try:
        document = kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = _WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise _error(name, ".".join(map(str, first["loc"])), what) from error
    _check_read_once(content, name)
    return document


def _check_read_once(content: bytes, name: str) -> None:
    """Raise ArtifactError where a key comes twice, or a number is none: pydantic takes the last one, and infinity."""
    try:
        # A digit stands for each number, as numbers of a large report would take much memory.
        json.loads(content, object_pairs_hook=_object, parse_float=len, parse_int=len, parse_constant=_refuse_constant)
    except _TwiceError as error:
        pairs = json.loads(content, object_pairs_hook=_Pairs)
        raise _error(name, next(_twice(pairs, ())), "the key is there twice") from error
    except ValueError as error:
        raise ArtifactError(f"{name}: {error}") from error


class _TwiceError(Exception):
    """A key comes twice in an object."""


class _Pairs(list[tuple[str, Any]]):
    """An object, with all of its keys."""


def _object(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _TwiceError


def _twice(value: object, path: tuple[object, ...]) -> Iterator[str]:
    """Give the places of the keys that come twice in `value`, which lies at `path`."""
    if isinstance(value, _Pairs):
        first = next((key for key, count in Counter(key for key, _ in value).items() if count > 1), None)
        if first is not None:
            yield ".".join(map(str, (*path, first)))
        inner: Iterable[tuple[object, object]] = value
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return
    for key, item in inner:
        yield from _twice(item, (*path, key))


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _error(name: str, where: str, what: str) -> ArtifactError:
    # An unknown key may be as long as the file, and hold anything.
    place = where[:200] if where[:200].isprintable() else ascii(where[:40])
    return ArtifactError(f"{name}: {place}: {what[:300]}" if place else f"{name}: {what[:300]}")
