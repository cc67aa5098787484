"""An archive's code, TorchScript in Python's syntax: what a network may be made of, and nothing else.

Owns the allow-list. It runs and compiles nothing, and knows neither zip nor torch.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.archive import calls
from service.archive.calls import Definition
from service.archive.error import ArchiveError

# Those of the activations of `fit` and of its intervals, and of torch's GELU, SiLU, ELU, Dropout and Identity. None of
# them reads, writes or starts anything.
OPERATORS: Final = frozenset(
    {
        "ops.prim.RaiseException", "torch._set_item", "torch.add", "torch.addcmul", "torch.amax", "torch.amin",
        "torch.asinh",
        "torch.cat", "torch.div", "torch.dropout", "torch.dropout_", "torch.elu", "torch.elu_", "torch.eq",
        "torch.format", "torch.gelu", "torch.gt", "torch.hardtanh", "torch.hardtanh_", "torch.index_select",
        "torch.kthvalue", "torch.leaky_relu", "torch.leaky_relu_", "torch.len", "torch.linear", "torch.lt",
        "torch.matmul", "torch.relu", "torch.relu_", "torch.sigmoid", "torch.silu", "torch.silu_",
        "torch.softplus", "torch.sub", "torch.t", "torch.tanh", "torch.where",
    }
)  # fmt: skip
METHODS: Final = frozenset({"forward", "activations", "interval", "left_out_predictions", "__len__"})
CLASSES_MAX: Final = 64

_TYPES = frozenset({"Tensor", "NoneType", "bool", "int", "float", "str"})
_GENERICS = frozenset({"Dict", "Final", "List", "Optional", "Tuple"})
_CLASS_FIELDS = frozenset({"__parameters__", "__buffers__"})
_RESERVED = frozenset({"torch", "ops", "annotate", "getattr", "self", "__torch__", "CONSTANTS"})
# No escapes, and no letter that Python and TorchScript might read differently.
_TEXT = re.compile(r"[\n -\[\]-~]*")


@dataclass(frozen=True, slots=True)
class Script:
    """Code that was understood: the source of each module, written anew, and the attributes of each class by type.

    Modules and classes go by their full names, such as ``__torch__.training.network.Linear``.
    """

    sources: dict[str, str] = field(default_factory=dict)
    classes: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names stand for inside a definition: a function, the class of a submodule, or None for a value.

    `owner` is the class or module that it is defined in.
    """

    definition: Definition
    owner: str
    attributes: Mapping[str, str]
    names: dict[str, str | None]


def understand(sources: Mapping[str, str]) -> Script:
    """Read every module's source by its full name; raises ArchiveError for anything that is not on the list."""
    script = Script()
    definitions: dict[str, Definition] = {}
    types: set[str] = set()
    for module, text in sources.items():
        try:
            script.sources[module] = _Module(module, script, definitions, types).read(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ArchiveError(f"{module}: cannot be parsed: {type(error).__name__}") from error
    if len(script.classes) > CLASSES_MAX:
        raise ArchiveError(f"more than {CLASSES_MAX} classes")
    if unknown := types - set(script.classes):
        raise ArchiveError(f"type {min(unknown)} is not defined")
    calls.check(definitions)
    return script


class _Module:
    def __init__(self, name: str, script: Script, definitions: dict[str, Definition], types: set[str]) -> None:
        self._name = name
        self._classes = script.classes
        self._definitions = definitions
        self._types = types

    def read(self, text: str) -> str:
        """Check the source, and give it as it is understood: one that another parser cannot take for anything else."""
        if not _TEXT.fullmatch(text):
            raise ArchiveError(f"{self._name}: holds a character that is not allowed")
        tree = ast.parse(text)
        for node in tree.body:
            match node:
                case ast.ClassDef(bases=[ast.Name(id="Module")], keywords=[], decorator_list=[]):
                    self._class(node)
                case ast.FunctionDef():
                    self._function(node, self._name, {})
                case _:
                    raise self._refusal(node)
        return ast.unparse(tree) + "\n"

    def _class(self, node: ast.ClassDef) -> None:
        name = f"{self._name}.{node.name}"
        if name in self._classes:
            raise ArchiveError(f"{name} is defined twice")
        attributes = self._classes[name] = dict[str, str]()
        listed: set[str] = set()
        for part in node.body:
            match part:
                case ast.Assign(targets=[ast.Name(id=key)], value=ast.List(elts=names)) if key in _CLASS_FIELDS:
                    listed.update(str(ast.literal_eval(each)) for each in names)
                case ast.AnnAssign(target=ast.Name(id=key), value=None):
                    attributes[key] = self._type(part.annotation)
                case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):  # a constant
                    self._type(part.annotation)
                    self._constants([value])
                case ast.Assign(
                    targets=[ast.Subscript(value=ast.Name(id="__annotations__"), slice=ast.Constant(value=str(key)))]
                ):
                    attributes[key] = self._type(part.value)
                case ast.FunctionDef(name=method) if method in METHODS:
                    self._function(part, name, attributes)
                case ast.FunctionDef(name=method):
                    raise self._refusal(part, f"method {method}")
                case _:
                    raise self._refusal(part)
        # So that whoever asks for all parameters and buffers has seen every number.
        if hidden := {key for key, kind in attributes.items() if kind == "Tensor"} - listed:
            raise ArchiveError(f"{name}: {min(hidden)} is neither a parameter nor a buffer")

    def _function(self, node: ast.FunctionDef, place: str, attributes: Mapping[str, str]) -> None:
        name = f"{place}.{node.name}"
        if name in self._definitions:
            raise ArchiveError(f"{name} is defined twice")
        given = node.args
        if node.decorator_list or given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs:
            raise self._refusal(node)
        self._constants(given.defaults)
        for annotation in (*(argument.annotation for argument in given.args), node.returns):
            if annotation:
                self._type(annotation)
        definition = self._definitions[name] = Definition()
        names = {argument.arg: None for argument in given.args if argument.arg != "self"}
        if clash := _RESERVED & set(names):
            raise self._refusal(node, f"the name {min(clash)}")
        self._statements(node.body, _Scope(definition, place, attributes, dict(names)))

    def _statements(self, body: Iterable[ast.stmt], scope: _Scope) -> None:
        for node in body:
            scope.definition.steps += 1
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._assign(node, name, self._expression(value, scope), scope)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Call() as value):
                    self._expression(value, scope)
                    for target in targets:
                        self._assign(node, _dotted(target), None, scope)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    for target, value in zip(targets, values, strict=True):
                        self._assign(node, _dotted(target), self._expression(value, scope), scope)
                case ast.Return(value=ast.expr() as value) | ast.Expr(value=ast.Call() as value):
                    self._expression(value, scope)
                case ast.If(test=test, body=then, orelse=otherwise):
                    scope.definition.branches += 1
                    self._expression(test, scope)
                    self._statements([*then, *otherwise], scope)
                case ast.Pass():
                    pass
                case _:
                    raise self._refusal(node)

    def _assign(self, node: ast.stmt, name: str, meaning: str | None, scope: _Scope) -> None:
        if not name.isidentifier() or name in _RESERVED:
            raise self._refusal(node)
        if scope.names.setdefault(name, meaning) != meaning:
            raise self._refusal(node, "a second meaning of a name")

    def _expression(self, node: ast.expr, scope: _Scope) -> str | None:
        """Check an expression; what it stands for, as in `_Scope.names`."""
        scope.definition.steps += 1
        match node:
            case ast.Name(id=name) if name in scope.names:
                return scope.names[name]
            case (
                ast.Attribute(value=ast.Name(id="self"), attr=name)
                | ast.Call(
                    func=ast.Name(id="getattr"), args=[ast.Name(id="self"), ast.Constant(value=str(name))], keywords=[]
                )
            ) if name in scope.attributes:
                kind = scope.attributes[name]
                return kind if kind.startswith("__torch__.") else None
            case ast.Attribute() if (name := _dotted(node)).startswith("__torch__."):
                return name
            case ast.Call(keywords=[]):
                self._call(node, scope)
            case ast.Dict(keys=[]):
                pass
            case ast.List(elts=elements):
                for element in elements:
                    self._expression(element, scope)
            case _:
                self._constants([node])
        return None

    def _call(self, node: ast.Call, scope: _Scope) -> None:
        arguments = node.args
        match node.func:
            case ast.Name(id="annotate") if len(arguments) == 2:
                self._type(arguments[0])
                arguments = arguments[1:]
            case ast.Attribute() if (name := _dotted(node.func)) in OPERATORS:
                pass
            case ast.Attribute(value=ast.Name(id="self"), attr=method) if method in METHODS:
                scope.definition.calls.append(f"{scope.owner}.{method}")
            case ast.Attribute(value=ast.Name(id=name), attr="forward") if scope.names.get(name):
                scope.definition.calls.append(f"{scope.names[name]}.forward")
            case ast.Attribute() if (name := _dotted(node.func)).startswith("__torch__."):
                scope.definition.calls.append(name)
            case ast.Name(id=name) if called := scope.names.get(name):
                scope.definition.calls.append(called)
            case _:
                raise self._refusal(node, f"operator {ast.unparse(node.func)[:100]}")
        for argument in arguments:
            self._expression(argument, scope)

    def _constants(self, nodes: Iterable[ast.expr]) -> None:
        for node in nodes:
            match node:
                case ast.Constant(value=None | bool() | int() | float() | str()):
                    pass
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
                    pass
                case _:
                    raise self._refusal(node)

    def _type(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name) if name in _TYPES:
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _GENERICS:
                for part in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                    self._type(part)
            case ast.Attribute() if (name := _dotted(node)).startswith("__torch__."):
                self._types.add(name)
            case _:
                raise self._refusal(node, f"type {ast.unparse(node)[:100]}")
        return ast.unparse(node)

    def _refusal(self, node: ast.stmt | ast.expr, what: str | None = None) -> ArchiveError:
        what = what or ast.unparse(node).partition("\n")[0][:100]
        return ArchiveError(f"{self._name}, line {node.lineno}: {what} is not allowed")


def _dotted(node: ast.expr) -> str:
    """The names of an attribute's chain, joined by dots; empty for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id])) if isinstance(node, ast.Name) else ""
