"""The artifact format: what a version's directory holds, and the one way to read it.

Owns the layout, the order of the checks, and every call into ``torch.jit``. Knows nothing of HTTP or of training, which
imports this module alone, so that writer and reader keep one contract.

    <artifacts>/<model>/<version>/      immutable; versions are integers counting from 1
        manifest.json  network.pt  report.json  report.html  *.svg  manifest.sig
    <artifacts>/<model>/...             labels, digests and the default model's name: see `service.layout`
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, cast

import torch

from service.archive import members
from service.archive.error import ArchiveError
from service.column_names import check as check_columns
from service.column_names import check_layers
from service.directory import ArtifactError, Directory
from service.extras import needed
from service.interface import Interface, agreed
from service.layout import (
    DEFAULT_LABEL,
    DEFAULT_MODEL,
    DIGESTS,
    LABELS,
    Labels,
    check_as_published,
    default_model,
    is_name,
    is_published,
    is_version,
    labels,
    versions,
)
from service.manifest import (
    KEPT_MAX_BYTES,
    NETWORK,
    REPORT,
    UNIT_MAX_LENGTH,
    Bounds,
    Column,
    Data,
    File,
    Golden,
    Interval,
    Losses,
    Manifest,
    Parameter,
    Training,
)
from service.report import Report
from service.signing import PublicKey, read_public_key
from service.strict_json import parse

# What is handed on, so that training needs no other module than this.
__all__ = [
    "DEFAULT_LABEL", "DEFAULT_MODEL", "DIGESTS", "LABELS", "NETWORK", "REPORT", "UNIT_MAX_LENGTH", "ArtifactError",
    "Bounds", "Column", "Data", "File", "Golden", "Interface", "Interval", "Labels", "Losses", "Manifest", "Parameter",
    "PublicKey", "Report", "Training", "agreed", "check_columns", "default_model", "is_name", "is_published",
    "is_version", "labels", "needed", "read_public_key", "versions",
]  # fmt: skip

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"

MANIFEST_MAX_BYTES = 4 * 2**20
# Twice what a table of the most columns needs; to parse millions takes gigabytes, and seconds in which nothing answers.
MANIFEST_MAX_VALUES = 250_000
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a version's files, which are as its manifest says."""

    manifest: Manifest
    manifest_bytes: bytes
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version that was read, checked, and reproduced its golden cases; its network is on the CPU, in eval mode."""

    manifest: Manifest
    manifest_bytes: bytes
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
    kept = [method for method in ("interval", "left_out_predictions") if hasattr(network, method)]
    return cast("torch.jit.ScriptModule", torch.jit.freeze(network.eval(), preserved_attrs=kept))


def describe(content: bytes) -> File:
    """The manifest's entry for a file with this content."""
    return File(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def check_same(directory: Path, digest: str, manifest: Manifest) -> None:
    """Raise ArtifactError where a directory does not hold what was read from it: that manifest, and what it lists."""
    with Directory(directory) as opened:
        if describe(opened.read(MANIFEST, MANIFEST_MAX_BYTES)).sha256 != digest:
            raise ArtifactError(f"{MANIFEST}: is another one")
        for name, entry in manifest.files.items():
            _read_as_described(opened, name, entry)


def read(directory: Path, public_key: PublicKey | None = None) -> Artifact:
    """Read one version: the files are hashed before torch sees them, and torch gets nothing but what was hashed.

    With `public_key`, the manifest's bytes must be signed by its owner. Raises ArtifactError for anything that is not
    exactly what the manifest says, golden cases included.
    """
    return load(contents(directory, public_key))


def contents(directory: Path, public_key: PublicKey | None = None) -> Contents:
    """Read and hash the files of one version, the first half of `read`; torch sees nothing of them."""
    with Directory(directory) as opened:
        manifest, written = _manifest(opened, directory, public_key)
        files = {name: _read_as_described(opened, name, entry) for name, entry in manifest.files.items()}
    return Contents(manifest, written, files)


def interface(directory: Path, public_key: PublicKey | None = None) -> Interface | None:
    """Return what a version takes and gives, though it may not load; None where its manifest is none to go by."""
    try:
        with Directory(directory) as opened:
            return _manifest(opened, directory, public_key)[0].interface
    except ArtifactError:
        return None


def load(contents: Contents, gradients: dict[str, torch.Tensor] | None = None) -> Artifact:
    """Make of a version's files what serves, the second half of `read`.

    With `gradients`, which are those of the report, the report was checked already and is not parsed again.
    """
    manifest = contents.manifest
    network = _load(contents.files[NETWORK])
    _check_parameters(network, manifest)
    _check_answers(network, manifest)
    gradients = _gradients(contents) if gradients is None else gradients
    return Artifact(manifest, contents.manifest_bytes, network, contents.files[REPORT], gradients)


def _gradients(contents: Contents) -> dict[str, torch.Tensor]:
    report = parse(Report, contents.files[REPORT], REPORT)
    report.check(contents.manifest)
    return {parameter.name: report.gradient(parameter) for parameter in contents.manifest.parameters}


def _manifest(opened: Directory, directory: Path, public_key: PublicKey | None) -> tuple[Manifest, bytes]:
    written = opened.read(MANIFEST, MANIFEST_MAX_BYTES)
    if written.count(b",") > MANIFEST_MAX_VALUES:
        raise ArtifactError(f"{MANIFEST}: has more than {MANIFEST_MAX_VALUES} values")
    if public_key:
        _check_signature(opened, written, public_key)
    manifest = parse(Manifest, written, MANIFEST)
    check_as_published(directory, written)
    if manifest.model != directory.parent.name:
        raise ArtifactError(f"{MANIFEST}: is of model {manifest.model!r}, and lies under {directory.parent.name!r}")
    return manifest, written


def _check_signature(opened: Directory, manifest: bytes, public_key: PublicKey) -> None:
    try:
        signature = opened.read(SIGNATURE, SIGNATURE_BYTES)
    except ArtifactError as error:
        raise ArtifactError(f"is not signed: {error}") from error
    if not public_key.has_signed(manifest, signature):
        raise ArtifactError(f"{SIGNATURE}: is not a signature of {MANIFEST} by the owner of the public key")


def _read_as_described(opened: Directory, name: str, entry: File) -> bytes:
    """Return the bytes of a file that is needed; those of another one are hashed, and not kept."""
    if (size := opened.size(name)) != entry.size:
        raise ArtifactError(f"{name}: has {size} bytes, the manifest says {entry.size}")
    if limit := KEPT_MAX_BYTES.get(name):
        content = opened.read(name, limit)
        sha256 = hashlib.sha256(content).hexdigest()
    else:
        content, sha256 = b"", opened.digest(name)
    if sha256 != entry.sha256:
        raise ArtifactError(f"{name}: its sha256 is not the manifest's")
    return content


def _load(content: bytes) -> torch.jit.ScriptModule:
    try:
        network = torch.jit.load(members.rebuilt(content), map_location="cpu")  # type: ignore[no-untyped-call]
        return cast("torch.jit.ScriptModule", network.eval())
    except ArchiveError as error:
        raise ArtifactError(f"{NETWORK}: {_first_line(error)}") from error
    except Exception as error:
        raise ArtifactError(f"{NETWORK}: torch cannot load it: {_first_line(error)}") from error


def _check_parameters(network: torch.jit.ScriptModule, manifest: Manifest) -> None:
    declared = {parameter.name: (parameter.shape, parameter.dtype) for parameter in manifest.parameters}
    found = {
        name: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in network.named_parameters()
    }
    if declared != found:
        name = next(name for name in (*declared, *found) if declared.get(name) != found.get(name))
        raise ArtifactError(f"{NETWORK}: parameter {name} is {found.get(name)}, the manifest says {declared.get(name)}")
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if not value.isfinite().all():
            kind = "parameter" if name in found else "buffer"
            raise ArtifactError(f"{NETWORK}: {kind} {name} is not finite")


def _check_answers(network: torch.jit.ScriptModule, manifest: Manifest) -> None:
    golden = manifest.golden
    count, width = len(golden.outputs), len(golden.outputs[0])
    outputs = _answer(network, "forward", golden)
    if not _are_rows(outputs, count) or outputs.shape[1] != width:
        raise ArtifactError(f"{NETWORK}: does not give {[count, width]} for the golden inputs")
    if (case := golden.first_wrong(outputs)) is not None:
        raise ArtifactError(f"{NETWORK}: golden case {case} is not reproduced")
    if manifest.interval:
        _check_bounds(network, golden, manifest.interval)
    layers = _answer(network, "activations", golden)
    if not isinstance(layers, dict) or not all(_are_rows(layer, count) for layer in layers.values()):
        raise ArtifactError(f"{NETWORK}: activations does not give a row of each layer for each golden input")
    _check_layers(manifest, {name: layer.shape[1] for name, layer in layers.items()})


def _check_layers(manifest: Manifest, widths: Mapping[str, int]) -> None:
    try:
        check_layers([column.name for column in (*manifest.features, *manifest.targets)], widths)
    except ValueError as error:
        raise ArtifactError(f"{MANIFEST}: {error}") from error


def _check_bounds(network: torch.jit.ScriptModule, golden: Golden, interval: Interval) -> None:
    residuals = dict(network.named_buffers()).get("residuals")
    if residuals is None or len(residuals) != interval.readings:
        raise ArtifactError(f"{NETWORK}: does not have the residuals of {interval.readings} readings")
    count, width = len(golden.outputs), 3 * len(golden.outputs[0])
    outputs = _answer(network, "interval", golden, interval.golden.rank)
    if not _are_rows(outputs, count) or outputs.shape[1] != width:
        raise ArtifactError(f"{NETWORK}: interval does not give {[count, width]} for the golden inputs")
    if (case := interval.golden.first_wrong(golden, outputs)) is not None:
        raise ArtifactError(f"{NETWORK}: the interval of golden case {case} is not reproduced")


def _answer(network: torch.jit.ScriptModule, method: str, golden: Golden, *more: int) -> object:
    try:
        with torch.inference_mode():
            return getattr(network, method)(torch.tensor(golden.inputs), *more)
    except (AttributeError, RuntimeError, torch.jit.Error) as error:
        raise ArtifactError(f"{NETWORK}: {method} fails on the golden inputs: {_first_line(error)}") from error


def _are_rows(value: object, count: int) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.dim() == 2 and len(value) == count


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:500]
