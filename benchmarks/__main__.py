"""The command: what is measured, in which order, and where the results go."""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import compare, fleet, growth, interval, members, network, table
from benchmarks.peers import peers
from benchmarks.processes import (
    BenchError,
    end_children_when_asked_to_stop,
    pick_cores,
    require_tools,
    run_to_end,
)
from benchmarks.questions import ask
from benchmarks.results import Record, Sample, summarise

_ALL = tuple(f"W{number}" for number in range(1, 12))
_QUICK = ("W1", "W2", "W3")
_TRAINING_LIMIT_SECONDS = 300
_BUSY = 0.7


def main() -> int:
    """Measure, print the table, write what was asked for; a missed goal is a result, not a failure."""
    options = _options()
    end_children_when_asked_to_stop()
    samples: list[Sample] = []
    begun = time.perf_counter()

    def record(sample: Sample) -> None:
        samples.append(sample)
        line = f"{sample.workload} {sample.server}: {sample.what}: {sample.value:.3g}"
        print(f"{time.perf_counter() - begun:4.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        _check_the_place(options)
        with tempfile.TemporaryDirectory(prefix="calibrant-bench-") as directory:
            _measure(options, Path(directory), record)
    except BenchError as error:
        if samples:
            print(table.as_text(summarise(samples)), flush=True)
        print(f"bench: stopped before its end: {error}", file=sys.stderr)
        return 1
    _report(options, samples)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_positive, default=3, help="how often everything is measured (3)")
    parser.add_argument("--seconds", type=_positive, default=3, help="how long each load lasts (3)")
    parser.add_argument("--only", type=_workloads, default=_ALL, metavar="W1,W2", help="leave the other workloads out")
    parser.add_argument("--peers", action="store_true", help="measure LitServe and mosec too; installs them once")
    parser.add_argument("--quick", action="store_true", help="W1 to W3, one short round: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the ratios (.png, .svg)")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.only = 1, 1, _QUICK
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _workloads(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().upper() for name in text.split(","))
    if unknown := [name for name in names if name not in _ALL]:
        raise argparse.ArgumentTypeError(f"no such workload: {', '.join(unknown)} (there are {_ALL[0]} to {_ALL[-1]})")
    return names


def _check_the_place(options: argparse.Namespace) -> None:
    require_tools()
    if options.picture and importlib.util.find_spec("matplotlib") is None:
        raise BenchError("--picture needs matplotlib (pip install calibrant[plots])")
    if (load := os.getloadavg()[0]) > _BUSY:
        print(f"bench: this machine is busy (load average {load:.1f}): the ratios will waver", file=sys.stderr)


def _measure(options: argparse.Namespace, directory: Path, record: Record) -> None:
    others = peers() if options.peers else []
    cores = pick_cores()
    artifacts = directory / "artifacts"
    fit = [sys.executable, "-m", "training", "fit", "--recipe", "textbook", "--artifacts", str(artifacts)]
    run_to_end(fit, directory / "training.log", _TRAINING_LIMIT_SECONDS)
    weights = _newest_network(artifacts)
    run = network.runner(weights)
    questions = {rows: ask(rows, run, directory) for rows in compare.ROWS_ASKED}
    setting = fleet.Setting(cores, options.seconds, questions, weights, directory, record)
    servers = [fleet.ours(artifacts), fleet.portable(artifacts), fleet.plain(), *others]
    for _ in range(options.rounds):
        if {"W1", "W2", "W3", "W4", "W5", "W7"} & set(options.only):
            compare.one_worker(setting, fleet.bare(), servers, options.only)
        if "W6" in options.only:
            compare.two_workers(setting, fleet.bare(), servers)
    if "W8" in options.only:
        growth.measure(setting, artifacts, run, options.rounds)
    if "W9" in options.only:
        network.measure(weights, options.rounds, record)
    if "W10" in options.only:
        interval.measure(setting, artifacts, options.rounds)
    if "W11" in options.only:
        members.measure(options.rounds, record)


def _newest_network(artifacts: Path) -> Path:
    found = sorted(artifacts.glob("*/*/network.pt"), key=lambda file: int(file.parent.name))
    if not found:
        raise BenchError("training left no network.pt")
    return found[-1]


def _report(options: argparse.Namespace, samples: Sequence[Sample]) -> None:
    rows = summarise(samples)
    print(table.as_text(rows))
    judged = [row.verdict for row in rows if row.verdict]
    met = judged.count("met")
    print(f"\n{met} of {len(judged)} goals met; rounds: {options.rounds}, seconds a load: {options.seconds}")
    print("A row of bare shows its own spread around its median: what the machine wavers.")
    if options.json:
        settings = {"rounds": options.rounds, "seconds": options.seconds, "workloads": list(options.only)}
        table.write_json(options.json, rows, samples, {**settings, "peers": options.peers})
    if options.picture:
        from benchmarks.picture import draw  # noqa: PLC0415  matplotlib is an extra, and slow to import

        draw(options.picture, rows)


if __name__ == "__main__":
    sys.exit(main())
