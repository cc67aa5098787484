"""Versions to serve, whose answers are known, and ways to break one."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from service import artifact
from training.__main__ import main as train

MODEL = "thermometer"
FAHRENHEIT = (50.0, 68.0, 212.0)
TOLERANCE = 1e-3


def publish(artifacts: Path, *flags: str, seed: int = 0, epochs: int = 20) -> Path:
    """Fit one more version, and where it lies."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = train(["fit", "--artifacts", str(artifacts), "--seed", str(seed), "--epochs", str(epochs), *flags])
    assert status == 0, f"training ended with {status}"
    return artifacts / MODEL / str(artifact.versions(artifacts / MODEL)[-1])


def celsius(version: Path) -> list[float]:
    """What the version answers for FAHRENHEIT."""
    with torch.inference_mode():
        network = artifact.read(version).network
        predicted: list[float] = network(torch.tensor(FAHRENHEIT)[:, None])[:, 0].tolist()
    return predicted


def agree(one: list[float], other: list[float]) -> bool:
    """Whether two answers are the same."""
    return len(one) == len(other) and all(abs(a - b) < TOLERANCE for a, b in zip(one, other, strict=True))


def distinct(artifacts: Path, count: int) -> dict[str, list[float]]:
    """Publish so many versions, no two of which answer alike; the answers by version."""
    answers: dict[str, list[float]] = {}
    seed = 0
    while len(answers) < count:
        path = publish(artifacts, seed=seed, epochs=5)
        seed += 1
        predicted = celsius(path)
        if any(agree(predicted, known) for known in answers.values()):
            shutil.rmtree(path)
        else:
            answers[path.name] = predicted
    return answers


def _flip(version: Path) -> None:
    content = bytearray((version / artifact.NETWORK).read_bytes())
    content[len(content) // 2] ^= 1
    (version / artifact.NETWORK).write_bytes(content)


def _cut_manifest(version: Path) -> None:
    content = (version / artifact.MANIFEST).read_bytes()
    (version / artifact.MANIFEST).write_bytes(content[: len(content) // 2])


def _lose_report(version: Path) -> None:
    (version / artifact.REPORT).unlink()


def _falsify_golden(version: Path) -> None:
    manifest = json.loads((version / artifact.MANIFEST).read_text())
    manifest["golden"]["outputs"][0][0] += 1000.0
    (version / artifact.MANIFEST).write_text(json.dumps(manifest))


def _link_network(version: Path) -> None:
    elsewhere = version / "elsewhere"
    (version / artifact.NETWORK).rename(elsewhere)
    (version / artifact.NETWORK).symlink_to(elsewhere)


BREAKS: tuple[Callable[[Path], None], ...] = (_flip, _cut_manifest, _lose_report, _falsify_golden, _link_network)


def publish_broken(artifacts: Path, how: int) -> int:
    """Put a copy of the newest version, broken in one of the ways, beside it; its number."""
    model = artifacts / MODEL
    newest = artifact.versions(model)[-1]
    staged = model / ".broken"
    shutil.copytree(model / str(newest), staged, symlinks=True)
    BREAKS[how % len(BREAKS)](staged)
    staged.rename(model / str(newest + 1))
    return newest + 1
