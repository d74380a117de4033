"""The campaign: faults of every kind at random, and whether the results are those without a fault.

    python -m tests.chaos --minutes 5
    python -m tests.chaos --kinds "stop describe" damage --seed 7
    python -m tests.chaos --case 7/3/damage        # a case again, as it was printed

Ends with status 1 when something was lost. A stop meets the same step of a command again only
where the machine is as quick as it was.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.damage import damage
from tests.chaos.disks import full_disk
from tests.chaos.inputs import hostile_files, hostile_names
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stops import stop
from tests.chaos.together import copy_while_written, run_together
from tests.chaos.world import World, new_world

Kind = Callable[[World, random.Random], Iterator[Outcome]]


def _stop(name: str, world: World, rng: random.Random) -> Iterator[Outcome]:
    return stop(world, name, rng)


KINDS: dict[str, Kind] = {f"stop {name}": partial(_stop, name) for name in SCENARIOS}
WEIGHTS = {f"stop {name}": scenario.weight for name, scenario in SCENARIOS.items()}
KINDS |= {
    "damage": damage,
    "hostile images": hostile_files,
    "hostile names": hostile_names,
    "full disk": full_disk,
    "two runs and a prune": run_together,
    "copy of a store in use": copy_while_written,
}
WEIGHTS |= {"damage": 4, "full disk": 2}


class Tally:
    """How often each kind of fault was tried, survived, and left files."""

    def __init__(self, console: Console) -> None:
        self.tried, self.lost, self.left = Counter[str](), Counter[str](), Counter[str]()
        self.cases: dict[str, list[str]] = {}  # what was lost, by case
        self._console = console

    def run(self, world: World, case: str) -> None:
        """Run a case, `SEED/NUMBER/KIND`, and count its faults."""
        kind = case.split("/", 2)[2]
        started = time.monotonic()
        outcomes: list[Outcome] = []
        try:
            outcomes.extend(KINDS[kind](world, random.Random(case)))
        except Exception as error:
            world.forks.require_running()
            outcomes.append(Outcome("ended early", (f"{error}\n{traceback.format_exc()}",)))
        faults = [fault for outcome in outcomes for fault in outcome.faults]
        did = "; ".join(outcome.did for outcome in outcomes)
        end = "LOST" if faults else "survived"
        self._console.print(f"{case}: {did}: {end}, {time.monotonic() - started:.1f} s")
        self.tried[kind] += len(outcomes)
        self.lost[kind] += sum(bool(outcome.faults) for outcome in outcomes)
        self.left[kind] += sum(outcome.left_count for outcome in outcomes)
        if faults:
            self.cases[case] = faults
            self._print_faults(case)

    def _print_faults(self, case: str) -> None:
        """Print what a case has lost."""
        for fault in self.cases[case]:
            self._console.print(f"  {fault}")

    def print(self) -> None:
        """Print a row for each kind, and how to repeat what was lost."""
        table = Table("fault", "tried", "survived", "lost", "files left until pruned")
        rows = [
            (kind, n, n - self.lost[kind], self.lost[kind], self.left[kind])
            for kind, n in sorted(self.tried.items())
        ]
        for row in (*rows, ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))):
            table.add_row(*map(str, row))
        self._console.print(table)
        for case in self.cases:
            self._console.print(f'again: python -m tests.chaos --case "{case}"')
            self._print_faults(case)


def _cases(kinds: list[str], seed: str) -> Iterator[str]:
    """Cases of every kind without end, in rounds of another order each."""
    rng, number = random.Random(seed), 0
    while True:
        of_round = [kind for kind in kinds for _ in range(WEIGHTS.get(kind, 1))]
        rng.shuffle(of_round)
        for kind in of_round:
            yield f"{seed}/{number}/{kind}"
            number += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--case", help="run one case again")
    parser.add_argument("--folder", type=Path, help="keep the stores of what was lost here")
    given = parser.parse_args()
    console = Console(width=200, highlight=False, markup=False, emoji=False, soft_wrap=True)
    tally = Tally(console)
    folder = Path(given.folder or tempfile.mkdtemp(prefix="chaos-")).resolve()
    until = time.monotonic() + 60 * given.minutes
    console.print(f"Seed {given.seed}, in {folder}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), new_world(folder) as world:
        for case in [given.case] if given.case else _cases(given.kinds, given.seed):
            if time.monotonic() > until:
                break
            tally.run(world, case)
    tally.print()
    if not given.folder and not tally.cases:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bool(tally.cases) or not tally.tried)


if __name__ == "__main__":
    sys.exit(main())
