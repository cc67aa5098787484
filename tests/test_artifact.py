"""The artifact format: whatever is not exactly what its manifest says is refused, and the refusal says why."""

import json
import os
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from service import artifact
from spoiling import Change, refusal, replace, rewrite


def test_a_published_version_is_read_whole(version: Path) -> None:
    """The network, the manifest, the report and a gradient of each parameter's shape come back."""
    read = artifact.read(version)
    assert read.manifest.model == "thermometer"
    assert not read.network.training
    assert json.loads(read.report)["rows"] == list(range(11))
    assert {name: value.shape for name, value in read.network.named_parameters()} == {
        name: gradient.shape for name, gradient in read.gradients.items()
    }


def golden_widths(manifest: dict[str, Any]) -> None:
    manifest["golden"]["inputs"][0].append(1.0)


MANIFESTS: dict[str, tuple[Change, str]] = {
    "unknown format": (
        lambda m: m.update(format="calibrant/2"),
        "format: unknown format; this reader knows calibrant/1",
    ),
    "unknown key": (lambda m: m.update(colour="red"), "manifest.json: colour: unknown key"),
    "unknown key inside": (lambda m: m["features"][0].update(colour="red"), "features.0.colour: unknown key"),
    "missing key": (lambda m: m.pop("golden"), "manifest.json: golden: missing key"),
    "wrong type": (lambda m: m.update(model=1), "manifest.json: model: "),
    "number in text": (lambda m: m["features"][0].update(minimum="1"), "manifest.json: features.0.minimum: "),
    "same names": (lambda m: m["targets"][0].update(name="fahrenheit"), "two columns have the same name"),
    "no network": (lambda m: m["files"].pop("network.pt"), "files lacks network.pt"),
    "path as a name": (lambda m: m["files"].update({"../x": m["files"]["network.pt"]}), "manifest.json: files."),
    "absent file": (
        lambda m: m["files"].update({"a.svg": m["files"]["network.pt"]}),
        "a.svg: no such file or directory",
    ),
    "wrong hash": (
        lambda m: m["files"]["network.pt"].update(sha256="0" * 64),
        "network.pt: its sha256 is not the manifest's",
    ),
    "wrong size": (lambda m: m["files"]["network.pt"].update(size=7), "bytes, the manifest says 7"),
    "other model": (lambda m: m.update(model="barometer"), "is of model 'barometer', and lies under 'thermometer'"),
    "other shape": (
        lambda m: m["parameters"][0].update(shape=[1, 8]),
        "hidden_linear.weight is ((8, 1), 'float32')",
    ),
    "other parameter": (
        lambda m: m["parameters"].pop(),
        "output_linear.bias is ((1,), 'float32'), the manifest says None",
    ),
    "golden output": (lambda m: m["golden"]["outputs"][1].__setitem__(0, 99.0), "golden case 1 is not reproduced"),
    "golden count": (lambda m: m["golden"]["inputs"].pop(), "golden needs as many outputs as inputs"),
    "golden none": (lambda m: m["golden"].update(inputs=[], outputs=[]), "and at least one"),
    "golden inputs": (golden_widths, "golden.inputs does not have one value per feature"),
    "golden tolerance": (lambda m: m["golden"]["tolerance"].append(1.0), "do not have one value per target"),
    "tolerance of nothing": (lambda m: m["golden"].update(tolerance=[0]), "manifest.json: golden.tolerance.0: "),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_not_true_is_refused(name: str, version: Path) -> None:
    """Each untruth has a message of its own."""
    change, message = MANIFESTS[name]
    rewrite(version, "manifest.json", change)
    assert message in refusal(version)


REPORTS: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda r: r.update(colour="red"), "report.json: colour: unknown key"),
    "no gradient": (
        lambda r: r["gradients"].pop("output_linear.bias"),
        "has no gradient of output_linear.bias",
    ),
    "ragged": (
        lambda r: r["gradients"].update({"output_linear.weight": [[1], []]}),
        "no gradient of output_linear.weight",
    ),
    "shape": (
        lambda r: r["gradients"].update({"output_linear.bias": [1, 2]}),
        "output_linear.bias has another shape",
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_without_its_gradients_is_refused(name: str, version: Path) -> None:
    """A gradient of every parameter, in its shape, belongs to a version."""
    change, message = REPORTS[name]
    rewrite(version, "report.json", change)
    replace(version, "report.json", (version / "report.json").read_bytes())
    assert message in refusal(version)


@pytest.mark.parametrize("name", ["manifest.json", "network.pt", "report.json"])
def test_a_link_is_refused(name: str, version: Path) -> None:
    """A file that is a link, even to what it should be, is not read."""
    (version / name).rename(version / "elsewhere")
    (version / name).symlink_to(version / "elsewhere")
    assert refusal(version) == f"{name}: is a symbolic link"


def test_a_linked_version_is_refused(version: Path) -> None:
    """A version's directory is a directory, and a model's may be a link."""
    version.rename(version.with_name("elsewhere"))
    version.symlink_to("elsewhere")
    assert refusal(version) == "1: is a symbolic link, or not a directory"
    assert refusal(version.with_name("2")) == "2: no such file or directory"


@pytest.mark.parametrize("name", ["manifest.json", "network.pt"])
def test_what_is_not_a_file_is_refused_without_waiting(name: str, version: Path) -> None:
    """A FIFO that nobody writes to does not hold the reader up, and a directory is no file."""
    (version / name).unlink()
    os.mkfifo(version / name)
    assert refusal(version) == f"{name}: is not a regular file"
    (version / name).unlink()
    (version / name).mkdir()
    assert refusal(version).startswith(f"{name}: is ")


def test_a_file_beyond_the_limit_is_refused(version: Path) -> None:
    """A huge manifest is not read to its end."""
    with (version / "manifest.json").open("ab") as file:
        file.truncate(artifact.MANIFEST_MAX_BYTES + 1)
    assert refusal(version) == f"manifest.json: is larger than {artifact.MANIFEST_MAX_BYTES} bytes"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'"x"', b"null", b"{}"])
def test_a_manifest_that_is_no_json_object_is_refused(content: bytes, version: Path) -> None:
    """Whatever the bytes are, the refusal is the reader's own and names the file."""
    (version / "manifest.json").write_bytes(content)
    assert refusal(version).startswith("manifest.json: ")


def test_a_network_that_is_no_archive_is_refused(version: Path) -> None:
    """Bytes that are no TorchScript archive get one line, even when the manifest has their hash."""
    replace(version, "network.pt", b"not an archive")
    assert refusal(version) == "network.pt: end record: lies outside of the file"


class Layers(nn.Sequential):
    """A network with the thermometer's parameters, and what `after` makes of the output."""

    def __init__(self, after: nn.Module) -> None:
        layers = OrderedDict(hidden_linear=nn.Linear(1, 8), hidden_activation=nn.Tanh(), output_linear=nn.Linear(8, 1))
        super().__init__(OrderedDict(**layers, after=after))


class Less(nn.Module):
    """Subtracts zeros in some shape."""

    zeros: torch.Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Subtract them from each row."""
        return x - self.zeros


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (nn.Identity(), "network.pt: golden case 0 is not reproduced"),
        (Less(2), "network.pt: does not give [12, 1] for the golden inputs"),
        (Less(5, 5), "network.pt: forward fails on the golden inputs: "),
    ],
)
def test_another_network_under_the_same_parameters_is_refused(after: nn.Module, message: str, version: Path) -> None:
    """Names and shapes alone are not enough: the golden cases decide."""
    replace(version, "network.pt", artifact.serialize(Layers(after)))
    assert refusal(version).startswith(message)


def test_a_parameter_that_is_not_finite_is_refused(version: Path) -> None:
    """A tanh can hide an infinite weight from every golden case."""
    network = Layers(nn.Identity())
    with torch.no_grad():
        network.get_parameter("hidden_linear.weight")[0] = torch.inf
    replace(version, "network.pt", artifact.serialize(network))
    assert refusal(version) == "network.pt: parameter hidden_linear.weight is not finite"


def test_200_flipped_bits_are_all_refused(version: Path) -> None:
    """No single bit of the network can change unnoticed."""
    content = (version / "network.pt").read_bytes()
    for bit in random.Random(1).sample(range(8 * len(content)), 200):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (version / "network.pt").write_bytes(flipped)
        assert refusal(version) == "network.pt: its sha256 is not the manifest's"


def test_200_truncations_are_all_refused(version: Path) -> None:
    """No network that ends early loads, the empty one included."""
    content = (version / "network.pt").read_bytes()
    for length in [0, len(content) - 1, *random.Random(1).sample(range(len(content)), 198)]:
        (version / "network.pt").write_bytes(content[:length])
        assert f"has {length} bytes, the manifest says {len(content)}" in refusal(version)


def test_a_frozen_network_answers_the_same(version: Path) -> None:
    """Freezing changes the speed, not the answers."""
    network = artifact.read(version).network
    x = torch.linspace(0, 100, 50).unsqueeze(1)
    assert torch.equal(artifact.freeze(network)(x), network(x))


def test_versions_are_ordered_by_number_and_other_entries_passed_over(tmp_path: Path) -> None:
    """2 comes before 10; leading zeros, words and hidden directories are no versions."""
    for name in ("10", "2", "03", "0", "x", ".publishing-11", "labels", "1e3"):
        (tmp_path / name).mkdir()
    assert artifact.versions(tmp_path) == [2, 10]


def test_labels_that_hold_no_number_are_passed_over(tmp_path: Path) -> None:
    """A label is a name and a version number; a model without labels has none."""
    assert artifact.labels(tmp_path) == artifact.Labels()
    (tmp_path / "labels").mkdir()
    for name, text in {"champion": "3\n", "broken": "three", ".champion": "4", "empty": ""}.items():
        (tmp_path / "labels" / name).write_text(text)
    found = artifact.labels(tmp_path)
    assert found.versions == {"champion": 3}
    assert set(found.faults) == {"broken", "empty"}


def test_names_are_lower_case_words() -> None:
    """A model or label is lower-case letters, digits, _ and -, a letter first, at most 64."""
    assert all(map(artifact.is_name, ["a", "wine-2_x", "a" * 64]))
    assert not any(map(artifact.is_name, ["", "2a", "A", "a/b", "a\n", ".a", "a" * 65]))
