"""Whoever leaves Triton points tritonclient here, and changes nothing."""

import shutil
import subprocess
import venv
from pathlib import Path

from left_out import fit, published
from running import serving

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "tests" / "clients" / "triton_client.py"
ENVIRONMENT = ROOT / ".venv-triton-client"


def environment() -> Path:
    """The interpreter of the client's environment, made anew when what it must hold has changed."""
    python, installed = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed.txt"
    wanted = CLIENT.with_suffix(".txt")
    if not installed.is_file() or installed.read_text() != wanted.read_text():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", wanted], check=True, timeout=600)
        shutil.copy(wanted, installed)
    return python


def test_tritonclient_works_unchanged(tmp_path: Path) -> None:
    """Health, metadata, inference in every form, intervals, statistics, the index, errors: as tests/clients/ has it."""
    published(tmp_path, fit())
    with serving(tmp_path) as running:
        running.until_ready()
        command = [str(environment()), "-I", str(CLIENT), running.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
