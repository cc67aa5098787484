"""The readings that come with the project."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from service import artifact

DATA = Path(__file__).parents[2] / "training" / "data"

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.csv")))
def test_every_file_has_its_source_beside_it(name: str) -> None:
    """Who measured, under which licence it is here where there is one, and the digest of what was meant."""
    described = (DATA / f"{name}.md").read_text()
    assert "**Source**" in described
    assert hashlib.sha256((DATA / f"{name}.csv").read_bytes()).hexdigest() in described


def test_the_wine_is_fitted_as_it_is(command: Command, tmp_path: Path) -> None:
    """Semicolons, quoted names with spaces, eleven features; the score is the last column, and so the target."""
    data = DATA / "winequality-white.csv"
    assert command("fit", "--data", data, "--epochs", 1, "--artifacts", tmp_path)[0] == 0
    manifest = artifact.read(tmp_path / "winequality-white" / "1").manifest
    assert len(manifest.features) == 11
    assert [column.name for column in manifest.targets] == ["quality"]
    assert manifest.training.data.rows == 4898
