"""Changes a published version, and says what the reader makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import artifact

Change = Callable[[dict[str, Any]], object]


def rewrite(version: Path, name: str, change: Change) -> None:
    """Change a JSON file of the version, without telling the manifest."""
    content = json.loads((version / name).read_text())
    change(content)
    (version / name).write_text(json.dumps(content))
    # The record of what was published would refuse the version before its content could.
    (version.parent / artifact.DIGESTS / version.name).unlink(missing_ok=True)


def replace(version: Path, name: str, content: bytes) -> None:
    """Replace a file of the version, and tell the manifest."""
    (version / name).write_bytes(content)
    entry = artifact.describe(content).model_dump()
    rewrite(version, "manifest.json", lambda manifest: manifest["files"].update({name: entry}))


def refusal(version: Path) -> str:
    """What the reader says of the version: one line, and not a long one."""
    with pytest.raises(artifact.ArtifactError) as refused:
        artifact.read(version)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    return str(refused.value)
