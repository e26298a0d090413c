"""The command ``python -m stress``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ardae_rl.runs.tables import merge_csv, print_table, versions
from stress import full_disk, fuzz, kills, mutants, sb3_suites, soak

CHECKS: dict[str, tuple[Callable[[float, int], list[dict[str, Any]]], float, str, tuple[str, ...]]] = {
    "kills": (kills.run, 1, "interruptions of each command", ("command", "seed")),
    "full_disk": (full_disk.run, 1, "disks for each command", ("command", "seed")),
    "soak": (soak.run, 0.5, "minutes for each algorithm", ("algorithm", "minutes", "seed")),
    "fuzz": (fuzz.run, 50, "random calls", ("entrance", "calls", "seed")),
    "mutants": (mutants.run, len(mutants.MUTANTS), "faults", ("fault",)),
    "sb3": (sb3_suites.run, len(sb3_suites.SUITES), "suites", ("suite", "class")),
}


def main() -> None:
    """Run one check, write its table, and end with status 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("-n", "--count", type=float, help="; ".join(f"{k}: {v[2]} ({v[1]})" for k, v in CHECKS.items()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/stress"), help="Folder of the tables.")
    options = parser.parse_args()
    check, count, _, key = CHECKS[options.check]
    rows = check(count if options.count is None else options.count, options.seed)
    merge_csv(options.out / f"{options.check}.csv", [row | versions() for row in rows], key)
    print_table(rows, options.check)
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
