"""An archive's ``data.pkl``: the objects that its classes describe, checked and pickled anew.

Owns which pickles are understood: a tree of modules whose attributes are tensors and plain values. Nothing that one
names is called, and torch sees only the pickle made here, as its own reader believes what a pickle says of sizes.
"""

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from service.archive.error import ArchiveError

_Classes: TypeAlias = Mapping[str, Mapping[str, str]]

OPCODES: Final = frozenset(
    {
        "PROTO", "STOP", "MARK", "GLOBAL", "NEWOBJ", "BUILD", "REDUCE", "BINPERSID", "EMPTY_DICT", "SETITEMS",
        "EMPTY_TUPLE", "TUPLE", "BINUNICODE", "BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1", "NONE", "NEWTRUE",
        "NEWFALSE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    }
)  # fmt: skip
ITEM_BYTES: Final = {"FloatStorage": 4, "DoubleStorage": 8, "IntStorage": 4, "LongStorage": 8}

# What torch remembers to write it once. A tuple in two places would let few bytes be a tree without end.
_REMEMBERED = frozenset({"BINUNICODE", "GLOBAL", "BINPERSID", "REDUCE", "BUILD"})
_REBUILD = "torch._utils._rebuild_tensor_v2"
_LARGEST = 2**63 - 1
_DIMENSIONS_MAX = 8
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class _Storage:
    kind: str
    member: str
    items: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    gradient: bool


class _Module:
    """A base of stand-ins for the archive's classes: they keep their state, and do nothing."""

    name: str
    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def understand(content: bytes, classes: _Classes, storages: Mapping[str, int]) -> bytes:
    """The pickle anew, of attributes as `classes` declare them, each tensor within its storage.

    `classes` has the types of attributes by class, `storages` the sizes in bytes of the members ``data/...``. Raises
    ArchiveError for anything else.
    """
    _check_opcodes(content)
    try:
        root = _Reader(content, classes, storages).load()
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"data.pkl: is not a network's: {type(error).__name__}") from error
    if not isinstance(root, _Module):
        raise ArchiveError("data.pkl: holds no module")
    return pickle.PROTO + b"\x02" + _Writer(classes).module(root, ()) + pickle.STOP


def _check_opcodes(content: bytes) -> None:
    before = ""
    try:
        for opcode, argument, position in pickletools.genops(content):
            if opcode.name not in OPCODES:
                raise ArchiveError(f"data.pkl: opcode {opcode.name} at byte {position} is not allowed")
            if opcode.name.endswith("BINPUT") and (before not in _REMEMBERED or (argument or 0) > len(content)):
                raise ArchiveError(f"data.pkl: {before} cannot be remembered, at byte {position}")
            before = opcode.name
    except ValueError as error:
        raise ArchiveError(f"data.pkl: is no pickle: {error}") from error


class _Reader(pickle.Unpickler):
    """Finds stand-ins only, as the documentation of `pickle` advises for what is not trusted."""

    def __init__(self, content: bytes, classes: _Classes, storages: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self._classes = classes
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as pickle has it
        """The stand-in for a global."""
        full = f"{module}.{name}"
        if full in self._classes:
            return type(name, (_Module,), {"name": full})
        if module == "torch" and name in ITEM_BYTES:
            return name
        if full == "collections.OrderedDict":
            return _no_hooks
        if full == _REBUILD:
            return _tensor
        raise ArchiveError(f"data.pkl: {full[:100]!r} is not allowed")

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - as pickle has it
        """A storage, which must be exactly as long as its member."""
        match pid:
            case ("storage", str(kind), str(member), "cpu", int(items)) if kind in ITEM_BYTES:
                size = self._storages.get(f"data/{member}")
                if size is None or items * ITEM_BYTES[kind] != size:
                    raise ArchiveError(f"data.pkl: {kind} of {items} in data/{member[:20]}, which has {size} bytes")
                return _Storage(kind, member, items)
        raise ArchiveError("data.pkl: a storage is not as it should be")


def _no_hooks() -> None:
    return None


def _tensor(*given: object) -> _Tensor:
    """A tensor in C order that lies within its storage."""
    match given:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(gradient), None) if (
            len(shape) == len(stride) <= _DIMENSIONS_MAX
            and all(isinstance(length, int) and 0 <= length <= _LARGEST for length in (offset, *shape))
            and offset + math.prod(shape) <= storage.items
            # Along one item or none, any step is the right one.
            and all(
                length <= 1 or step == expected
                for length, step, expected in zip(shape, stride, _strides(shape), strict=True)
            )
        ):
            return _Tensor(storage, offset, shape, gradient)
    raise ArchiveError("data.pkl: a tensor is not as it should be, or not within its storage")


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


# What a class may declare for a value of each of these types.
_KINDS = {
    _Tensor: {"Tensor"},
    type(None): {"NoneType", "Optional[bool]"},
    bool: {"bool", "Optional[bool]"},
    int: {"int"},
    float: {"float"},
    str: {"str"},
}


class _Writer:
    """Pickles as torch does, with nothing remembered."""

    def __init__(self, classes: _Classes) -> None:
        self._classes = classes
        self._seen: set[int] = set()

    def module(self, module: _Module, where: tuple[str, ...]) -> bytes:
        """A module, whose attributes must be those that its class declares; `where` are the names on the way to it."""
        declared, state, place = self._classes[module.name], getattr(module, "state", None), ".".join(where)
        if id(module) in self._seen:
            raise ArchiveError(f"data.pkl: {place or 'the network'} is in two places")
        if len(where) > _DEPTH_MAX:
            raise ArchiveError(f"data.pkl: {place} lies deeper than {_DEPTH_MAX} modules")
        self._seen.add(id(module))
        if not isinstance(state, dict) or set(state) != set(declared):
            raise ArchiveError(f"data.pkl: {place or 'the network'} has other attributes than {module.name}")
        items = [_text(name) + self._value(state[name], kind, (*where, name)) for name, kind in declared.items()]
        created = _global(*module.name.rsplit(".", 1)) + pickle.EMPTY_TUPLE + pickle.NEWOBJ
        return created + pickle.EMPTY_DICT + pickle.MARK + b"".join(items) + pickle.SETITEMS + pickle.BUILD

    def _value(self, value: object, kind: str, where: tuple[str, ...]) -> bytes:
        if isinstance(value, _Module) and value.name == kind:
            return self.module(value, where)
        pickled = _tensor_pickle(value) if isinstance(value, _Tensor) else _plain_pickle(value)
        if pickled is None or kind not in _KINDS[type(value)]:
            raise ArchiveError(f"data.pkl: {'.'.join(where)} is not the {kind} that its class declares")
        return pickled


def _tensor_pickle(tensor: _Tensor) -> bytes:
    storage = tensor.storage
    kept = _text("storage") + _global("torch", storage.kind) + _text(storage.member) + _text("cpu")
    held = _tuple(kept + _integer(storage.items)) + pickle.BINPERSID
    shape, strides = (_tuple(b"".join(map(_integer, part))) for part in (tensor.shape, _strides(tensor.shape)))
    gradient = pickle.NEWTRUE if tensor.gradient else pickle.NEWFALSE
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    given = _tuple(held + _integer(tensor.offset) + shape + strides + gradient + hooks)
    return _global("torch._utils", "_rebuild_tensor_v2") + given + pickle.REDUCE


def _plain_pickle(value: object) -> bytes | None:
    match value:
        case None:
            return pickle.NONE
        case bool():
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        case int() if abs(value) <= _LARGEST:
            return _integer(value)
        case float() if math.isfinite(value):
            return pickle.BINFLOAT + struct.pack(">d", value)
        case str():
            return _text(value)
    return None


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _tuple(items: bytes) -> bytes:
    return pickle.MARK + items + pickle.TUPLE


def _integer(value: int) -> bytes:
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)
