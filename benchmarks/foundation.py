# SPDX-License-Identifier: Apache-2.0
"""Whether the pretrained weights of the small SAM are a foundation: beside random weights of the same network.

    python benchmarks/foundation.py [CHECKPOINT] [--rounds 8] [--federated] [--seeds 3] [--probe-steps 300]
        [--figure [PNG]]

1. Shapes of drawn scenes that were not trained on, asked for with points and boxes.
2. Organs of the phantom's test slices, asked for in the same way; no weight was trained on an organ.
3. A linear probe of the frozen image encoder, so many steps.
4. FLAP-SAM: the main job with all data in one place, or as the demo runs it in a federation, so many rounds.
5. After how many of these rounds the pretrained weights reach the best Dice that random weights ever reach.

The short form: --rounds 2 --seeds 1 --probe-steps 100.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from answers import draw
from flap_sam.commands.tables.pretraining import overlap_table
from flap_sam.config.job import Job
from flap_sam.config.site import Site
from flap_sam.data.pool import PooledStore
from flap_sam.experiments.alone import assignments, train
from flap_sam.experiments.simulate import finish
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.text import figure, mean_and_spread
from flap_sam.pretraining.examine import examine, held_out
from flap_sam.pretraining.network import PromptableSam
from flap_sam.pretraining.organs import organs
from flap_sam.records import round_log
from flap_sam.records.results import FINAL, read_test_dice
from flap_sam.records.run_record import CENTRALIZED, FEDERATED
from flap_sam.sam import pretrained
from flap_sam.sam.build import BACKBONES
from probe import probed
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
JOB, FIGURE = ROOT / "jobs" / "flap_sam_kits", ROOT / "docs" / "figures" / "foundation.png"

console = Console()


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        validation: mean Dice at the start and after every round.
        test: Dice by class after the last round, mean over the sites.
    """

    validation: list[float]
    test: list[float | None]

    def rounds_to(self, dice: float) -> int | None:
        """After how many rounds its validation Dice is first as high; None if it never is."""
        return next((k for k, reached in enumerate(self.validation) if reached >= dice), None)


def network(weights: Path | None, seed: int) -> PromptableSam:
    """The promptable network with weights of a file, or of the seed."""
    return PromptableSam.load(weights) if weights else PromptableSam(seed)


def run(job: Job, weights: Path | None, rounds: int, federated: bool, seed: int) -> Run:
    """Train from these weights, in a federation or with all data in one place."""
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        os.environ |= {"FLAP_SAM_CHECKPOINT": str(weights or "random"), "FLAP_SAM_STATE": folder}
        changes = {"rounds": rounds, "seed": seed}
        if federated:
            sites = len(assignments(Site.read(None), job.demo))
            out = finish(job.copy(Path(folder) / "job", changes), Path(folder) / "run", sites)
        else:
            out = train(job.experiment(changes), Path(folder) / "run", demo=job.demo, say=status.update)
        final = read_test_dice(out)[0][FINAL].values()
        validation = [record.validation for record in round_log.read(out)]
    validation.append(mean_of_known(mean_of_known(report.validation) for report in final))
    return Run(validation, [mean_of_known(of_class) for of_class in zip(*(r.test for r in final), strict=True)])


def dice_table(title: str, classes: Sequence[str], found: Mapping[str, Sequence[list[float | None]]]) -> Table:
    """Dice by class, and the mean over the classes, of every seed together."""
    table = Table("", title=title)
    for name in (*classes, "mean"):
        table.add_column(name, justify="right")
    for name, by_seed in found.items():
        columns = zip(*([*dice, mean_of_known(dice)] for dice in by_seed), strict=True)
        table.add_row(name, *(mean_and_spread(column, 3) for column in columns))
    return table


def round_table(runs: Mapping[str, Sequence[Run]]) -> Table:
    """Validation Dice round by round, of every seed together."""
    table = Table("after round", *runs, title="FLAP-SAM, validation Dice")
    by_round = [zip(*(one.validation for one in by_seed), strict=True) for by_seed in runs.values()]
    for number, dice in enumerate(zip(*by_round, strict=True)):
        table.add_row(str(number), *(mean_and_spread(of_seeds, 3) for of_seeds in dice))
    return table


def reach_table(runs: Mapping[str, Sequence[Run]], seeds: Sequence[int]) -> Table:
    """Seed by seed after how many rounds the best Dice of random weights is there."""
    table = Table("seed", "Dice", *runs, title="FLAP-SAM, rounds to the best validation Dice of random weights")
    for seed, *same in zip(seeds, *runs.values(), strict=True):
        goal = max(same[0].validation)
        reached = [one.rounds_to(goal) for one in same]
        table.add_row(str(seed), figure(goal), *("never" if k is None else str(k) for k in reached))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=pretrained.FILE, help="the package's if left out")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--federated", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--probe-steps", type=int, default=300)
    parser.add_argument("--figure", type=Path, nargs="?", const=FIGURE, help="draw answers to a point, as PNG")
    asked = parser.parse_args()
    seeds, job = range(1, asked.seeds + 1), Job.read(JOB)
    weights = {"random weights": None, "pretrained weights": asked.checkpoint}
    networks = {name: network(file, seeds[0]) for name, file in weights.items()}
    side = BACKBONES[pretrained.BACKBONE].image_size
    experiment = job.experiment().resolved(pretrained.BACKBONE, side)
    stores = [assignment.store for assignment in assignments(Site.read(None), job.demo).values()]
    pool, classes = PooledStore(stores), stores[0].manifest.classes

    questions = {"drawn shape": list(held_out(side))}
    questions |= {name: list(organs(pool, label, side)) for label, name in enumerate(classes, 1)}
    for kind, of_kind in questions.items():
        masks = sum(len(some.masks) for _, some in of_kind)
        found = {name: examine(each, of_kind) for name, each in networks.items()}
        print(overlap_table(f"{kind}, {masks} masks", found))
    if asked.figure:
        draw(questions, networks, asked.figure)

    def repeated(measure: Callable[[Path | None, int], object]) -> dict[str, list]:
        return {name: [measure(file, seed) for seed in seeds] for name, file in weights.items()}

    probes = repeated(lambda file, seed: probed(network(file, seed), pool, experiment, asked.probe_steps, seed))
    console.print(dice_table(f"linear probe, {asked.probe_steps} steps, test Dice", classes, probes))
    runs = repeated(lambda file, seed: run(job, file, asked.rounds, asked.federated, seed))
    setting = FEDERATED if asked.federated else CENTRALIZED
    tests = {name: [one.test for one in by_seed] for name, by_seed in runs.items()}
    console.print(dice_table(f"FLAP-SAM {setting}, {asked.rounds} rounds, test Dice", classes, tests))
    console.print(round_table(runs), reach_table(runs, seeds))


if __name__ == "__main__":
    main()
