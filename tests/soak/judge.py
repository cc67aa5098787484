"""Observes a case by its name, checks what was seen, and checks the checker; in a process of its own where need be."""

import importlib
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from soak.case import Case, Soak, Verdict


def judged(name: str, minutes: float) -> Verdict:
    """The verdict; a case that raises has failed."""
    case: Case[Any] = importlib.import_module(f"soak.{name}").CASE
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as own, tempfile.TemporaryDirectory(prefix="soak-") as planted:
        try:
            seen = case.observe(Soak(minutes, Path(own)))
            caught = case.faults(case.planted(Soak(minutes, Path(planted))))
            verdict = Verdict(case.name, seen.sent, seen.saw, case.faults(seen), caught)
        except Exception as error:  # noqa: BLE001 - the other cases still run
            traceback.print_exc()
            verdict = Verdict(case.name, "", "", [f"{type(error).__name__}: {error}"], [])
    print(f"{name} took {time.monotonic() - started:.0f} s: {verdict.text}", flush=True)
    return verdict
