"""The results as one table for a terminal, and as JSON."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.results import Row, Sample

_HEAD = ("", "what", "server", "min", "median", "max", "measured", "goal", "")
_LEFT = {0, 1, 2, 6, 8}


def as_text(rows: Sequence[Row]) -> str:
    """A table, one line for each thing measured on each server; a workload and a thing are named once."""
    lines = [_HEAD]
    before: tuple[str, str] = ("", "")
    for row in rows:
        spread = (_number(row.minimum), _number(row.median), _number(row.maximum))
        measured = f"{_number(row.measured):>7} {row.unit}"
        workload = "" if row.workload == before[0] else row.workload
        what = "" if (row.workload, row.what) == before else row.what
        lines.append((workload, what, row.server, *spread, measured, row.goal, row.verdict))
        before = (row.workload, row.what)
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if column in _LEFT else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def write_json(file: Path, rows: Sequence[Row], samples: Sequence[Sample], settings: dict[str, object]) -> None:
    """Everything that was measured, with what it was measured on."""
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": settings,
        "rows": [asdict(row) for row in rows],
        "samples": [asdict(sample) for sample in samples],
    }
    file.write_text(json.dumps(content, indent=2) + "\n")


def machine() -> dict[str, str]:
    """The parts of this machine that the numbers depend on."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    # wrk prints its version with its usage, and then fails.
    wrk = subprocess.run(["wrk", "--version"], check=False, capture_output=True, text=True).stdout.partition("Copy")[0]
    packages = {package: version(package) for package in ("fastapi", "numpy", "pydantic", "torch", "uvicorn", "uvloop")}
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": sys.version.partition(" ")[0],
        "wrk": wrk.strip(),
        **packages,
    }


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
