"""The artifact format: what a version's directory holds, and the one way to read it.

Owns the layout, the manifest, and every call into ``torch.jit``. Knows nothing of HTTP or of training: `training`
imports this module alone, so that writer and reader keep one contract.

    <artifacts>/<model>/<version>/      immutable; versions are integers counting from 1
        manifest.json  network.pt  report.json  *.svg
    <artifacts>/<model>/labels/<label>  a file that holds a version's number
    <artifacts>/default_model.txt       the name of the model that was published first
"""

import errno
import hashlib
import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

FORMAT: Literal["calibrant/1"] = "calibrant/1"
MANIFEST = "manifest.json"
NETWORK = "network.pt"
REPORT = "report.json"
LABELS = "labels"
DEFAULT_LABEL = "champion"
DEFAULT_MODEL = "default_model.txt"

MANIFEST_MAX_BYTES = 16 * 2**20
FILE_MAX_BYTES = 2 * 2**30

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NAME = r"[a-z][a-z0-9_-]{0,63}"

Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rows: TypeAlias = tuple[tuple[Finite, ...], ...]
_Model = TypeVar("_Model", bound=BaseModel)


class ArtifactError(Exception):
    """A directory that is not a usable artifact; the message says which file, and why."""


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Column(_Contract):
    """A feature or a target: its name, its unit if it has one, and the range seen in training, in that unit."""

    name: ColumnName
    type: Literal["float32"] = "float32"
    unit: str | None
    minimum: Finite
    maximum: Finite


class Parameter(_Contract):
    """A parameter of the point network, by the name that ``named_parameters`` gives it."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"] = "float32"


class File(_Contract):
    """The digest and the size in bytes of one file of the version."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=FILE_MAX_BYTES)]


class Golden(_Contract):
    """Known answers: inputs ``[N, features]``, outputs ``[N, targets]``, and how far off each target may be."""

    inputs: Rows
    outputs: Rows
    tolerance: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]

    def first_wrong(self, outputs: torch.Tensor) -> int | None:
        """Which case `outputs` ``[N, targets]`` are the first not to reproduce; None where they reproduce all."""
        wrong = ~((outputs - torch.tensor(self.outputs)).abs() <= torch.tensor(self.tolerance)).all(dim=1)
        return int(wrong.nonzero()[0]) if wrong.any() else None


class Data(_Contract):
    """Where the readings came from: file name, sha256 of its bytes, number of rows."""

    file: str
    sha256: Sha256
    rows: int


class Losses(_Contract):
    """Mean squared error after the last epoch, of targets in the units that training saw (see docs/training.md)."""

    training: Finite
    validation: Finite | None


class Training(_Contract):
    """How the network was made: enough to make it again."""

    recipe: dict[str, str | int | float | tuple[int, ...]]
    seed: int
    losses: Losses
    data: Data
    environment: dict[str, str]


class Manifest(_Contract):
    """``manifest.json``: what is needed to use ``network.pt`` without this project."""

    format: Literal["calibrant/1"] = FORMAT
    model: Name
    created: str
    features: Annotated[tuple[Column, ...], Field(min_length=1)]
    targets: Annotated[tuple[Column, ...], Field(min_length=1)]
    parameters: tuple[Parameter, ...]
    files: dict[FileName, File]
    golden: Golden
    training: Training

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [column.name for column in (*self.features, *self.targets)]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        if missing := {NETWORK, REPORT} - set(self.files):
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        golden = self.golden
        if not golden.inputs or len(golden.inputs) != len(golden.outputs):
            raise ValueError("golden needs as many outputs as inputs, and at least one")
        if {len(row) for row in golden.inputs} != {len(self.features)}:
            raise ValueError("golden.inputs does not have one value per feature")
        if {len(row) for row in golden.outputs} != {len(self.targets)} or len(golden.tolerance) != len(self.targets):
            raise ValueError("golden.outputs and golden.tolerance do not have one value per target")
        return self


class Report(_Contract):
    """``report.json``: the training record. Readings, predictions and residuals are columns over the kept rows."""

    losses: dict[Literal["training", "validation"], tuple[Finite, ...]]
    gradients: dict[str, Any]
    rows: tuple[int, ...]
    validation_rows: tuple[int, ...]
    readings: dict[str, tuple[Finite, ...]]
    predictions: dict[str, tuple[Finite, ...]]
    residuals: dict[str, tuple[Finite, ...]]
    training: Training


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version that was read, checked, and reproduced its golden cases; its network is on the CPU, in eval mode."""

    manifest: Manifest
    network: torch.jit.ScriptModule
    report: bytes
    gradients: dict[str, torch.Tensor]


def serialize(network: torch.nn.Module) -> bytes:
    """The TorchScript archive of `network`, made in memory: torch aborts the process when a disk is full."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    return buffer.getvalue()


def freeze(network: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """A copy of `network` with its parameters folded into the graph: faster, and no longer inspectable."""
    return cast("torch.jit.ScriptModule", torch.jit.freeze(network.eval()))


def describe(content: bytes) -> File:
    """The manifest's entry for a file with this content."""
    return File(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def is_name(text: str) -> bool:
    """Whether `text` can name a model or a label: lower-case letters, digits, ``_`` and ``-``, at most 64."""
    return re.fullmatch(_NAME, text) is not None


def versions(model: Path) -> list[int]:
    """The version numbers under a model's directory, ascending; whatever is not named by a number is passed over."""
    return sorted(int(entry.name) for entry in os.scandir(model) if _VERSION.fullmatch(entry.name))


def labels(model: Path) -> dict[str, int]:
    """The labels of a model; a file that holds no version number is passed over, as it may be half-written."""
    found = {}
    if (folder := model / LABELS).is_dir():
        for path in sorted(folder.iterdir()):
            if is_name(path.name) and _VERSION.fullmatch(text := path.read_text("ascii", "replace").strip()):
                found[path.name] = int(text)
    return found


def default_model(artifacts: Path) -> str | None:
    """The model that answers where none is named: the first that was published, so that another one changes nothing."""
    try:
        name = (artifacts / DEFAULT_MODEL).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return name if is_name(name) else None


def read(directory: Path) -> Artifact:
    """Read one version: the files are hashed before torch sees them, and the bytes that were hashed are those loaded.

    Raises ArtifactError for anything that is not exactly what the manifest says, golden cases included.
    """
    with _Directory(directory) as opened:
        manifest = _parse(Manifest, opened.read(MANIFEST, MANIFEST_MAX_BYTES), MANIFEST)
        contents = {name: opened.read_as_described(name, entry) for name, entry in manifest.files.items()}
    if manifest.model != directory.parent.name:
        raise ArtifactError(f"{MANIFEST}: is of model {manifest.model!r}, and lies under {directory.parent.name!r}")
    report = _parse(Report, contents[REPORT], REPORT)
    network = _load(contents[NETWORK])
    _check_parameters(network, manifest)
    _check_golden(network, manifest)
    return Artifact(manifest, network, contents[REPORT], _gradients(report, manifest))


class _Directory:
    """An opened version directory: files are found relative to it, and links are not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise ArtifactError(f"{self._path.name}: {_reason(error)}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, name: str, limit: int) -> bytes:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._descriptor)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ArtifactError(f"{name}: is not a regular file")
                content = file.read(limit + 1)
        except OSError as error:
            raise ArtifactError(f"{name}: {_reason(error)}") from error
        if len(content) > limit:
            raise ArtifactError(f"{name}: is larger than {limit} bytes")
        return content

    def read_as_described(self, name: str, entry: File) -> bytes:
        content = self.read(name, FILE_MAX_BYTES)
        if len(content) != entry.size:
            raise ArtifactError(f"{name}: has {len(content)} bytes, the manifest says {entry.size}")
        if describe(content) != entry:
            raise ArtifactError(f"{name}: its sha256 is not the manifest's")
        return content


def _reason(error: OSError) -> str:
    # With O_DIRECTORY, Linux says "not a directory" of a link to one.
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is a symbolic link, or not a directory" if error.errno == errno.ENOTDIR else "is a symbolic link"
    return os.strerror(error.errno or 0).lower()


def _parse(kind: type[_Model], content: bytes, name: str) -> _Model:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(first["type"], first["msg"])
        if where == "format":
            what = f"unknown format; this reader knows {FORMAT}"
        raise ArtifactError(f"{name}: {where}: {what}" if where else f"{name}: {what}") from error


def _load(content: bytes) -> torch.jit.ScriptModule:
    try:
        network = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(f"{NETWORK}: torch cannot load it: {_first_line(error)}") from error
    return cast("torch.jit.ScriptModule", network.eval())


def _check_parameters(network: torch.jit.ScriptModule, manifest: Manifest) -> None:
    declared = {parameter.name: (parameter.shape, parameter.dtype) for parameter in manifest.parameters}
    found = {
        name: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in network.named_parameters()
    }
    if declared != found:
        name = next(name for name in (*declared, *found) if declared.get(name) != found.get(name))
        raise ArtifactError(f"{NETWORK}: parameter {name} is {found.get(name)}, the manifest says {declared.get(name)}")
    for name, value in network.named_parameters():
        if not value.isfinite().all():
            raise ArtifactError(f"{NETWORK}: parameter {name} is not finite")


def _check_golden(network: torch.jit.ScriptModule, manifest: Manifest) -> None:
    golden = manifest.golden
    shape = [len(golden.outputs), len(golden.outputs[0])]
    try:
        with torch.inference_mode():
            outputs = network(torch.tensor(golden.inputs))
    except RuntimeError as error:
        raise ArtifactError(f"{NETWORK}: fails on the golden inputs: {_first_line(error)}") from error
    if not isinstance(outputs, torch.Tensor) or list(outputs.shape) != shape:
        raise ArtifactError(f"{NETWORK}: does not give {shape} for the golden inputs")
    if (case := golden.first_wrong(outputs)) is not None:
        raise ArtifactError(f"{NETWORK}: golden case {case} is not reproduced")


def _gradients(report: Report, manifest: Manifest) -> dict[str, torch.Tensor]:
    gradients = {}
    for parameter in manifest.parameters:
        try:
            gradient = torch.tensor(report.gradients[parameter.name], dtype=torch.float32)
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{REPORT}: has no gradient of {parameter.name}") from error
        if tuple(gradient.shape) != parameter.shape:
            raise ArtifactError(f"{REPORT}: the gradient of {parameter.name} has another shape")
        gradients[parameter.name] = gradient
    return gradients


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
