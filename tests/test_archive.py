"""A network's archive: whatever is not what `fit` makes is refused before torch sees it, and the refusal says why."""

import io
import pickle
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lying import LIES, OBJECTS, with_items
from running import publish
from service import artifact
from service.__main__ import main as serve
from service.archive import members
from spoiling import refusal, replace
from training.network import ACTIVATIONS, Scaling, build
from zips import RECORDS, deflated, packed

CODE = "archive/code/__torch__/training/network.py"
MODULE = "__torch__.training.network"
HIDDEN_WEIGHT, FEATURE_OFFSET = "archive/data/4", "archive/data/0"

Contents = dict[str, bytes]


def unpacked(version: Path) -> Contents:
    """The members of the version's network."""
    with zipfile.ZipFile(version / "network.pt") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def spoil(version: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one member of the version's network, and tell the manifest."""
    contents = unpacked(version)
    assert contents[name] != change(contents[name])
    replace(version, "network.pt", packed({**contents, name: change(contents[name])}))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_fit_publishes_is_read(activation: str, tmp_path: Path) -> None:
    """With every activation, and with one, several and no hidden layers."""
    for hidden in ("8", "5,4,3", "0"):
        publish(tmp_path, "--activation", activation, "--hidden", hidden, epochs=1)
    for number in (1, 2, 3):
        assert artifact.read(tmp_path / "thermometer" / str(number))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_torch_is_given_answers_as_the_file_does(activation: str) -> None:
    """The archive made anew has the same parameters and buffers, and gives the same bits."""
    content = artifact.serialize(build([4, 3], activation, Scaling.by(10.0, 2), Scaling.by(3.0)))
    original = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    rebuilt = torch.jit.load(members.rebuilt(content))  # type: ignore[no-untyped-call]
    x = torch.randn(7, 2) * 10
    assert torch.equal(rebuilt(x), original(x))
    assert rebuilt.state_dict().keys() == original.state_dict().keys()
    assert all(torch.equal(value, original.state_dict()[name]) for name, value in rebuilt.state_dict().items())
    assert [(name, value.requires_grad) for name, value in rebuilt.named_parameters()] == [
        (name, value.requires_grad) for name, value in original.named_parameters()
    ]


def test_torch_s_own_layers_are_read() -> None:
    """GELU, SiLU, ELU and Dropout, in a network inside a network."""
    layers = [torch.nn.GELU(), torch.nn.SiLU(), torch.nn.ELU(), torch.nn.Dropout(0.1), torch.nn.Identity()]
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Sequential(*layers)).eval()
    rebuilt = torch.jit.load(members.rebuilt(artifact.serialize(network)))  # type: ignore[no-untyped-call]
    x = torch.randn(7, 2)
    torch.testing.assert_close(rebuilt.eval()(x), network(x), rtol=0, atol=1e-6)


LONG = 300_000 * "f"
METHOD = "  def {}(self, state: Tensor) -> Tensor:\n    return state\n"
BOMB = "".join(
    f"def f{n}(x: Tensor) -> Tensor:\n  a = {MODULE}.f{n + 1}(x)\n  return {MODULE}.f{n + 1}(a)\n" for n in range(40)
)

BRANCHES = (
    "def f(x: Tensor) -> Tensor:\n"
    + "  if torch.gt(torch.len(x), 0):\n    x = torch.add(x, x)\n  else:\n    x = torch.sub(x, x)\n" * 161
    + "  return x\n"
)
MANY = "".join(
    f"def f{n}(x: Tensor) -> Tensor:\n" + "  x = torch.add(x, x)\n" * 100 + "  return x\n" for n in range(30)
)
# What is put in place of the layer's tanh, or behind the code; and what the refusal says.
EXPRESSIONS = {
    "torch.from_file": ('torch.from_file("/etc/passwd", False, 8)', "operator torch.from_file is not allowed"),
    "a file written": ('torch.save(input, "x")', "operator torch.save is not allowed"),
    "aten": ('ops.aten.from_file("x", True, 8)', "operator ops.aten.from_file is not allowed"),
    "another operator": ("torch.mm(input, input)", "operator torch.mm is not allowed"),
    "a method of a tensor": ("(input).tanh()", "operator input.tanh is not allowed"),
    "an operator as a value": ("torch.tanh", "torch.tanh is not allowed"),
    "a name from nowhere": ("torch.tanh(CONSTANTS.c0)", "CONSTANTS.c0 is not allowed"),
    "an unknown name": ("torch.tanh(other)", "other is not allowed"),
    "an unknown attribute": ("torch.tanh(self.other)", "self.other is not allowed"),
    "an unknown attribute by name": ('getattr(self, "__class__")', "operator getattr is not allowed"),
    "an unknown function": (f"{MODULE}.other(input)", f"{MODULE}.other is called, and not defined"),
    "a class made": (f"{MODULE}.Tanh()", f"{MODULE}.Tanh is called, and not defined"),
    "itself by name": (f"{MODULE}.Tanh.forward(input)", "calls itself"),
    "itself": ("self.forward(input)", "forward calls itself"),
    "a method that there is not": ("self.interval(input)", "Tanh.interval is called, and not defined"),
    "another method of its own": ("self.save(input)", "operator self.save is not allowed"),
    "something in a list": ("torch.cat([input, other])", "other is not allowed"),
    "a call in a list": ('torch.cat([torch.load("x")])', "operator torch.load is not allowed"),
    "a comprehension": ("[input for _ in [1]]", "is not allowed"),
    "a lambda": ("(lambda: input)()", "is not allowed"),
    "a keyword": ("torch.tanh(self=input)", "is not allowed"),
    "arithmetic": ("input + input", "input + input is not allowed"),
    "an escape": ('torch.format("\\x41")', "holds a character that is not allowed"),
    "an unknown type": ("annotate(Future[Tensor], input)", "type Future[Tensor] is not allowed"),
    "a class that is not there": (f"annotate({MODULE}.Other, input)", f"type {MODULE}.Other is not defined"),
    "no Python": ("torch.tanh(input", "cannot be parsed: SyntaxError"),
    "brackets": (150 * "(" + "input.x" + 150 * ")", "input.x is not allowed"),
    "more brackets": (100_000 * "(" + "input" + 100_000 * ")", "cannot be parsed: "),
    "minus": (100_000 * "-" + "1", "cannot be parsed: "),
    "a long chain": ("input" + 100_000 * ".x", "cannot be parsed: "),
    "a number": ("0x" + 20_000 * "f", "network.pt: "),
}  # fmt: skip
ADDITIONS = {
    "__setstate__": (METHOD.format("__setstate__"), "method __setstate__ is not allowed"),
    "__getstate__": (METHOD.format("__getstate__"), "method __getstate__ is not allowed"),
    "__init__": (METHOD.format("__init__"), "method __init__ is not allowed"),
    "a method twice": (METHOD.format("forward"), "Tanh.forward is defined twice"),
    "an attribute": ('  __forward_hooks__ = ["x"]\n', "__forward_hooks__ = ['x'] is not allowed"),
    "a tensor that is no buffer": ("  hidden : Tensor\n", "hidden is neither a parameter nor a buffer"),
    "a class twice": ("class Linear(Module):\n  training : bool\n", "Linear is defined twice"),
    "another kind of class": ("class Other(NamedTuple):\n  x : Tensor\n", "class Other(NamedTuple): is not allowed"),
    "an import": ("import os\n", "import os is not allowed"),
    "a statement": ("print(1)\n", "print(1) is not allowed"),
    "a loop": ("def f(x: Tensor) -> Tensor:\n  while True:\n    pass\n  return x\n", "while True: is not allowed"),
    "a decorator": ("@torch.jit.ignore\ndef f(x: Tensor) -> Tensor:\n  return x\n", "is not allowed"),
    "a name taken": ("def f(torch: Tensor) -> Tensor:\n  return torch\n", "the name torch is not allowed"),
    "names taken": (
        "def f(x: Tensor) -> Tensor:\n  a, torch = torch.kthvalue(x, 1)\n  return a\n",
        "a, torch = torch.kthvalue(x, 1) is not allowed",
    ),
    "no names": (
        "def f(x: Tensor) -> Tensor:\n  x.a, b = torch.kthvalue(x, 1)\n  return b\n",
        "x.a, b = torch.kthvalue(x, 1) is not allowed",
    ),
    "a circle": (f"def f(x: Tensor) -> Tensor:\n  return {MODULE}.f(x)\n", "f calls itself"),
    "branches that take long to compile": (BRANCHES, "f has more than 160 branches"),
    "much in many functions": (MANY, "all functions and methods have more than 5000 steps"),
    "a bomb": (BOMB + "def f40(x: Tensor) -> Tensor:\n  return x\n", "takes more than 5000 steps"),
    "many functions": (
        "".join(f"def f{n}(x: Tensor) -> Tensor:\n  return {MODULE}.f{n + 1}(x)\n" for n in range(5000)),
        "more than 128 functions and methods",
    ),
    "many classes": ("".join(f"class C{n}(Module):\n  training : bool\n" for n in range(5000)), "more than 64 classes"),
    "a long name": (f"def {LONG}(x: Tensor) -> Tensor:\n  return {MODULE}.{LONG}(x)\n", "fffffff"),
    "a megabyte": ("  pass\n" * 200_000, "code and objects are larger than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_that_is_not_on_the_list_is_refused(name: str, version: Path) -> None:
    """In place of tanh; with the module and the line."""
    expression, message = EXPRESSIONS[name]
    spoil(version, CODE, lambda code: code.replace(b"torch.tanh(input)", expression.encode()))
    assert message in refusal(version)
    assert refusal(version).startswith("network.pt: ")


@pytest.mark.parametrize("name", ADDITIONS)
def test_code_that_is_not_on_the_list_is_refused(name: str, version: Path) -> None:
    """Behind the last method of the last class."""
    addition, message = ADDITIONS[name]
    spoil(version, CODE, lambda code: code + addition.encode())
    assert message in refusal(version)


MEMBERS: dict[str, tuple[Contents, str]] = {
    "another": ({"archive/evil": b"x"}, "member 'archive/evil' does not belong in a network"),
    "an extra": ({"archive/extra/evil": b"x"}, "member 'archive/extra/evil' does not belong"),
    "a way out": ({"archive/code/__torch__/../../x.py": b""}, "x.py' does not belong"),
    "another way out": ({"../archive/version": b""}, "'../archive/version' does not belong"),
    "an absolute name": ({"/archive/version": b"4\n"}, "'/archive/version' does not belong"),
    "another folder": ({"other/version": b"4\n"}, "'other/version' does not belong"),
    "a directory": ({"archive/data/": b""}, "'archive/data/' does not belong"),
    "another version": ({"archive/version": b"x"}, "version: is not one number"),
    "two versions": ({"archive/.data/version": b"4\n"}, "version: is not one number"),
    "constants": ({"archive/constants.pkl": pickle.dumps((1,), 2)}, "constants.pkl: a network has no constants"),
    "another byte order": ({"archive/byteorder": b"big"}, "byteorder: is not little"),
    "more code": ({"archive/code/__torch__/x.py": b"import os\n"}, "__torch__.x, line 1: import os is not allowed"),
    "code in Latin-1": ({"archive/code/__torch__/x.py": b"\xe9"}, "code holds a character that is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_is_not_a_network_s_is_refused(name: str, version: Path) -> None:
    """Its name is in the refusal."""
    changed, message = MEMBERS[name]
    replace(version, "network.pt", packed({**unpacked(version), **changed}))
    assert message in refusal(version)


@pytest.mark.parametrize("name", ["data.pkl", "constants.pkl", "byteorder", "version", "data/0"])
def test_a_member_that_is_missing_is_named(name: str, version: Path) -> None:
    """No archive without all of its parts."""
    contents = unpacked(version)
    del contents[f"archive/{name}"]
    replace(version, "network.pt", packed(contents))
    assert name in refusal(version)


def test_a_compressed_member_is_refused(version: Path) -> None:
    """Torch compresses code alone; and what that decompresses to is bounded by what the archive says."""
    contents = unpacked(version)
    replace(version, "network.pt", packed(contents, compressed="archive/data.pkl"))
    assert refusal(version) == "network.pt: member archive/data.pkl is compressed; torch compresses code alone"
    zeros = {**contents, CODE: bytes(50 * 2**20)}
    replace(version, "network.pt", packed(zeros, compressed=CODE))
    assert refusal(version) == "network.pt: compressed members are larger than 1048576 bytes"
    lies = {(record, "size"): 1000 for record in ("entry", "descriptor")}
    replace(version, "network.pt", packed(zeros, compressed=CODE, lies=lies, of=CODE))
    assert refusal(version) == f"network.pt: member {CODE} does not end where the directory says"


def test_a_member_that_is_there_twice_is_refused(version: Path) -> None:
    """Two readers might take two different ones."""
    contents = [*unpacked(version).items(), ("archive/data.pkl", b"x")]
    replace(version, "network.pt", packed(contents))
    assert refusal(version) == "network.pt: member archive/data.pkl is there twice"


def test_a_member_that_is_shorter_than_the_directory_says_is_refused(version: Path) -> None:
    """Torch would read past the end of the member, and serve the process's memory as parameters."""
    contents = unpacked(version)
    objects = with_items(contents[OBJECTS], "4", 1000)
    lies = {("entry", "size"): 4000}
    replace(version, "network.pt", packed({**contents, OBJECTS: objects}, lies=lies, of=HIDDEN_WEIGHT))
    assert refusal(version) == f"network.pt: member {HIDDEN_WEIGHT} has two sizes: 32 and 4000"


@pytest.mark.parametrize("of", [HIDDEN_WEIGHT, CODE])
@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, (_, fields) in RECORDS.items() for field in fields]
)
def test_a_field_that_is_not_as_torch_writes_it_is_refused(kind: str, field: str, of: str, version: Path) -> None:
    """The refusal names the record, whether the field is in a local header, the directory or the end record."""
    lie = b"PK\0\0" if field == "signature" else 12345
    replace(version, "network.pt", packed(unpacked(version), compressed=CODE, lies={(kind, field): lie}, of=of))
    place = of if kind in {"local", "descriptor", "entry"} else "end record"
    assert place in refusal(version) or refusal(version).startswith("network.pt: directory: ")


def plain(contents: Contents) -> bytes:
    """Return the archive as another writer makes it: sizes in the local headers, and no zip64 records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def hidden(contents: Contents) -> bytes:
    """Return the archive with bytes between the last member and the directory, which says where it lies now."""
    content = packed(contents)
    offset = struct.unpack_from("<L", content, len(content) - 6)[0]
    moved = {(record, "offset"): offset + 3 for record in ("end64", "end")}
    moved["locator", "offset"] = len(content) - 98 + 3
    lying = packed(contents, lies=moved)
    return lying[:offset] + b"???" + lying[offset:]


LAYOUTS: dict[str, Callable[[Contents], bytes]] = {
    "another writer's": plain,
    "bytes in front": lambda contents: b"?" + packed(contents),
    "bytes behind": lambda contents: packed(contents) + b"?",
    "bytes before the directory": hidden,
    "a comment": lambda contents: packed(contents, lies={("end", "comment"): 1}) + b"?",
    "two archives": lambda contents: 2 * packed(contents),
    "another padding": lambda contents: packed(contents).replace(b"ZZ", b"ZY", 1),
    "another name in the header": lambda contents: packed(contents).replace(b"archive/data/4FB", b"archive/data/5FB"),
    "no members": lambda _: packed({}),
    "no directory": lambda contents: packed(contents)[: -98 - 500] + packed(contents)[-98:],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_than_torch_writes_is_refused(name: str, version: Path) -> None:
    """A file that two zip readers might read differently is read by none."""
    replace(version, "network.pt", LAYOUTS[name](unpacked(version)))
    assert refusal(version).startswith("network.pt: ")


def test_a_compressed_member_with_bytes_behind_its_end_is_refused(version: Path) -> None:
    """The compressed bytes end where the directory says, neither before nor behind."""
    contents = unpacked(version)
    content, data = packed(contents, compressed=CODE), deflated(contents[CODE])
    for other in (data + b"?", data[:-1]):
        size = struct.pack("<L", len(data))
        changed = content.replace(data, other).replace(size, struct.pack("<L", len(other)))
        replace(version, "network.pt", changed)
        assert refusal(version).startswith("network.pt: ")


def test_1000_changed_archives_give_no_other_parameters(version: Path) -> None:
    """Whatever changes in the zip or the pickle, a version that loads has the parameters that were in the file."""
    chance, contents, good = random.Random(2), unpacked(version), artifact.read(version).network.state_dict()
    for number in range(1000):
        replace(version, "network.pt", LIES[number % len(LIES)](chance, contents))
        try:
            found = artifact.read(version).network.state_dict()
        except artifact.ArtifactError:
            continue
        assert found.keys() == good.keys()
        assert all(torch.equal(value, good[name]) for name, value in found.items())


COMMAND = b"\x80\x02cposix\nsystem\n(X\x10\x00\x00\x00echo x > spoiledtR."


def many_pairs() -> bytes:
    """A tuple of two of the one before, and so on: a few hundred bytes that are 2**100 items."""
    return b"\x80\x02)" + b"".join(b"q%c0(h%ch%ct" % (n, n, n) for n in range(100)) + b"."


PICKLES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a command": (lambda _: COMMAND, "data.pkl: 'posix.system' is not allowed"),
    "a newer pickle": (lambda _: pickle.dumps({}, 4), "data.pkl: opcode MEMOIZE at byte 3 is not allowed"),
    "another global": (
        lambda p: p.replace(b"ctorch\nFloatStorage", b"cbuiltins\neval"),
        "'builtins.eval' is not allowed",
    ),
    "another class": (lambda p: p.replace(b"network\nTanh", b"network\nSinh"), "network.Sinh' is not allowed"),
    "a class in place of another": (
        lambda p: p.replace(b"network\nTanh", b"network\nLinear"),
        "hidden_activation is not the __torch__.training.network.Tanh that its class declares",
    ),
    "a longer storage": (lambda p: p.replace(b"cpuq\x06K\x01", b"cpuq\x06K\x63"), "FloatStorage of 99 in data/0"),
    "another kind of storage": (lambda p: p.replace(b"FloatS", b"DoubleS"), "DoubleStorage of 1 in data/0"),
    "a storage that is not there": (lambda p: p.replace(b"X\x01\0\0\0004", b"X\x01\0\0\0009"), "data/9"),
    "a longer tensor": (lambda p: p.replace(b"K\x08K\x01t", b"K\x09K\x01t"), "not within its storage"),
    "an endless tensor": (lambda p: p.replace(b"K\x08K\x01t", b"J\xff\xff\xff\x7fK\x01t"), "not within its storage"),
    "many dimensions": (lambda p: p.replace(b"(K\x08K\x01t", b"(" + 99 * b"K\x01" + b"t"), "is not as it should be"),
    "a negative shape": (lambda p: p.replace(b"K\x08K\x01t", b"J\xf8\xff\xff\xffK\x01t"), "not within its storage"),
    "no step between": (lambda p: p.replace(b"K\x01K\x01t", b"K\x00K\x01t"), "is not as it should be"),
    "a renamed attribute": (lambda p: p.replace(b"feature_scale", b"feature_skale"), "has other attributes"),
    "another kind of value": (lambda p: p.replace(b"trainingq\x16\x88", b"trainingq\x16N"), "training is not the bool"),
    "a list": (lambda _: b"\x80\x02].", "data.pkl: opcode EMPTY_LIST"),
    "nothing": (lambda _: b"\x80\x02N.", "data.pkl: holds no module"),
    "no pickle": (lambda _: b"x", "data.pkl: "),
    "empty": (lambda _: b"", "data.pkl: is no pickle"),
    "no end": (lambda p: p[:-1], "data.pkl: is no pickle"),
    "nothing to build": (lambda _: b"\x80\x02b.", "data.pkl: is not a network's"),
    "many pairs": (lambda _: many_pairs(), "data.pkl: EMPTY_TUPLE cannot be remembered"),
    "much memory": (lambda _: b"\x80\x02X\0\0\0\0r\xff\xff\xff\x7f.", "cannot be remembered"),
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_objects_that_are_not_a_network_s_are_refused(name: str, version: Path) -> None:
    """A pickle calls nothing, holds what the classes declare, and every tensor lies within its storage."""
    change, message = PICKLES[name]
    spoil(version, "archive/data.pkl", change)
    assert message in refusal(version)
    assert not Path("spoiled").exists()


def test_a_module_in_two_places_is_refused(version: Path) -> None:
    """Nor inside itself: torch would walk in circles."""
    both = b"output_linear"
    contents = unpacked(version)
    objects = contents["archive/data.pkl"]
    layer = objects.index(b"c__torch__.training.network\nLinear")
    end = objects.index(b"X\x11\0\0\0hidden_activation")
    remembered = objects[end - 1 : end]
    rest = objects[objects.index(both) + len(both) :]
    last = rest.index(b"h")
    cut = objects.index(both) + len(both) + last
    assert layer < end < cut
    contents["archive/data.pkl"] = objects[:cut] + b"h" + remembered + b"ub."
    replace(version, "network.pt", packed(contents))
    assert "output_linear is in two places" in refusal(version)


def test_values_that_are_not_finite_are_refused(version: Path) -> None:
    """In a parameter, and in the scaling: a tanh can hide a weight from every golden case."""
    contents = unpacked(version)
    for name, value, message in (
        (HIDDEN_WEIGHT, torch.nan, "parameter hidden_linear.weight is not finite"),
        (FEATURE_OFFSET, torch.inf, "buffer feature_offset is not finite"),
    ):
        spoiled = struct.pack("<f", value) + contents[name][4:]
        replace(version, "network.pt", packed({**contents, name: spoiled}))
        assert refusal(version) == f"network.pt: {message}"


def test_other_shapes_than_declared_are_refused(version: Path) -> None:
    """Eight by one is not one by eight."""
    change = {b"K\x08K\x01t(K\x01K\x01t": b"K\x01K\x08t(K\x08K\x01t"}
    spoil(version, "archive/data.pkl", lambda p: p.replace(*next(iter(change.items())), 1))
    assert refusal(version).startswith(
        "network.pt: parameter hidden_linear.weight is ((1, 8), 'float32'), the manifest"
    )


def test_200_truncations_that_the_manifest_describes_are_refused(version: Path) -> None:
    """However short, and whatever the hash says."""
    content = (version / "network.pt").read_bytes()
    for length in [0, len(content) - 1, *random.Random(1).sample(range(len(content)), 198)]:
        replace(version, "network.pt", content[:length])
        assert refusal(version).startswith("network.pt: ")


@pytest.mark.parametrize("member", [None, "archive/data.pkl", CODE])
def test_200_flipped_bits_that_the_manifest_describes(member: str | None, version: Path) -> None:
    """Each version is refused, or still reproduces its golden cases; none ends the reader or holds it up."""
    contents = unpacked(version)
    content = contents[member] if member else (version / "network.pt").read_bytes()
    started, refused = time.monotonic(), 0
    for bit in random.Random(1).sample(range(8 * len(content)), 200):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        replace(version, "network.pt", packed({**contents, member: bytes(flipped)}) if member else bytes(flipped))
        try:
            artifact.read(version)
        except artifact.ArtifactError:
            refused += 1
    assert refused >= 100 or member is None
    assert time.monotonic() - started < 60


def test_check_says_what_is_in_a_hostile_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the others are none the worse."""
    publish(tmp_path, epochs=1)
    publish(tmp_path, epochs=1)
    spoil(tmp_path / "thermometer" / "2", CODE, lambda code: code + METHOD.format("__setstate__").encode())
    capsys.readouterr()
    assert serve(["check", "--artifacts", str(tmp_path)]) == 1
    good, bad = capsys.readouterr().out.splitlines()
    assert "ready" in good
    assert "method __setstate__ is not allowed" in bad
