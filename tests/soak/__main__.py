"""Runs the cases, and prints the table; the exit status is 1 when one of them failed."""

import argparse
import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from soak.case import Verdict
from soak.judge import judged

# Two at a time, as what they look for does not depend on how fast it goes; then each of the others by itself.
TOGETHER = (
    "publishers", "sigterm", "killed_worker", "swaps", "proxied", "hang_ups", "odd_files", "upgrades", "archives",
    "killed_parent",
)  # fmt: skip
# The last of them measure how long something takes.
ALONE = ("hung_worker", "overload", "large_bodies", "hostile", "memory")
CASES = (*TOGETHER, *ALONE)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every case held, and every planted fault was caught."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="about how long the load lasts (%(default)s)")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; all unless given")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"there is no such case: {', '.join(sorted(unknown))}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = arguments.cases or CASES
    judge = partial(judged, minutes=arguments.minutes)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        verdicts = list(pool.map(judge, [name for name in TOGETHER if name in wanted]))
    verdicts += [judge(name) for name in ALONE if name in wanted]
    print(table(verdicts))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def table(verdicts: Sequence[Verdict]) -> str:
    """One block for each case: what was sent, what was seen, the verdict, and how the checker was checked."""
    lines = []
    for verdict in verdicts:
        rows = [("sent", verdict.sent), ("seen", verdict.saw), ("verdict", verdict.text)]
        rows.append(("planted", f"caught: {verdict.caught[0]}" if verdict.caught else "not caught"))
        lines.append(f"\n{verdict.name}")
        lines += [f"  {what:<8} {text}" for what, text in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
