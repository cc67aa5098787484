"""The peers of `--peers`: LitServe and mosec from PyPI, each in an environment of its own, made once and kept."""

import shutil
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from benchmarks.fleet import Server, peer
from benchmarks.processes import ROOT, run_to_end

_HOME = ROOT / ".venv-peers"
_INSTALL_LIMIT_SECONDS = 1200
_PACKAGES = {
    "mosec": ("mosec==0.9.8", "orjson==3.13.0"),
    "litserve": ("litserve==0.2.19", "pyzmq==27.3.0", "orjson==3.13.0"),
}


def peers() -> list[Server]:
    """Both peers, installed; each runs one worker, with batching, on the same torch as ours."""
    return [
        peer("mosec", _environment("mosec"), "mosec_batching.py", probe="/"),
        peer("LitServe", _environment("litserve"), "litserve_batching.py", probe="/health"),
    ]


def _environment(name: str) -> Path:
    """The interpreter of a peer's environment, made anew when what it must hold has changed."""
    place = _HOME / name
    python, installed = place / "bin" / "python", place / "installed.txt"
    wanted = [*_PACKAGES[name], *(f"{package}=={version(package).partition('+')[0]}" for package in ("torch", "numpy"))]
    if installed.is_file() and installed.read_text().split() == wanted:
        return python
    print(f"installing {', '.join(wanted)} into {place.relative_to(ROOT)}", file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    (_HOME / ".gitignore").write_text("*\n")
    run_to_end([str(python), "-m", "pip", "install", *wanted], place / "pip.log", _INSTALL_LIMIT_SECONDS)
    installed.write_text("\n".join(wanted))
    return python
