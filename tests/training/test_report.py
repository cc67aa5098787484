"""The pictures of ``fit --report``."""

import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from service import artifact

Command = Callable[..., tuple[int, str, str]]
Write = Callable[[str | bytes], Path]
Process = Callable[..., "subprocess.Popen[str]"]

TWO_AND_TWO = "a,b,$c$,d\n" + "".join(f"{i},{i * i % 7},{3 * i},{-i}\n" for i in range(12))


def pictures(directory: Path) -> dict[str, bytes]:
    """The pictures of a version, by name; each is well-formed XML."""
    found = {path.name: path.read_bytes() for path in directory.glob("*.svg")}
    for content in found.values():
        assert ET.fromstring(content).tag.endswith("svg")
    return found


def test_one_feature_gets_three_pictures_that_the_manifest_knows(tmp_path: Path, command: Command) -> None:
    """The fit, the losses and the hidden neurons are files of the artifact like any other."""
    assert command("fit", "--epochs", 1, "--artifacts", tmp_path, "--report")[0] == 0
    version = tmp_path / "thermometer" / "1"
    assert set(pictures(version)) == {"fit.svg", "loss.svg", "neurons.svg"}
    assert set(artifact.read(version).manifest.files) == {path.name for path in version.iterdir()} - {"manifest.json"}


def test_the_same_run_draws_the_same_bytes(tmp_path: Path, command: Command) -> None:
    """No date and no random identifier is in a picture."""
    for _ in range(2):
        assert command("fit", "--epochs", 2, "--artifacts", tmp_path, "--report")[0] == 0
    assert pictures(tmp_path / "thermometer" / "1") == pictures(tmp_path / "thermometer" / "2")


def test_several_features_are_drawn_as_prediction_against_reading(
    tmp_path: Path, command: Command, table: Write
) -> None:
    """There is no curve over two features, and so no picture of neurons; odd names and no validation are no trouble."""
    flags = ["--target", "$c$", "--target", "d", "--validation-fraction", 0, "--epochs", 2, "--report"]
    assert command("fit", "--data", table(TWO_AND_TWO), *flags, "--artifacts", tmp_path)[0] == 0
    assert set(pictures(tmp_path / "readings" / "1")) == {"fit.svg", "loss.svg"}


def test_the_linear_model_has_no_neurons_to_draw(tmp_path: Path, command: Command) -> None:
    """Without a hidden layer there are two pictures."""
    assert command("fit", "--hidden", 0, "--epochs", 2, "--report", "--artifacts", tmp_path)[0] == 0
    assert set(pictures(tmp_path / "thermometer" / "1")) == {"fit.svg", "loss.svg"}


def test_without_matplotlib_the_extra_is_named_before_training(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops at once, and nothing is published."""
    monkeypatch.setattr("training.pictures.util.find_spec", lambda name: None)
    status, out, error = command("fit", "--report", "--artifacts", tmp_path)
    assert (status, out) == (2, "")
    assert error == "error: --report needs matplotlib: pip install 'calibrant[plots]'\n"
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_only_imported_for_pictures(tmp_path: Path, process: Process) -> None:
    """A plain fit works where matplotlib is not installed."""
    code = "import sys; sys.modules['matplotlib'] = None; from training.__main__ import main; sys.exit(main())"
    started = process("-c", code, "fit", "--epochs", 1, "--artifacts", tmp_path)
    _, error = started.communicate(timeout=60)
    assert started.returncode == 0, error
