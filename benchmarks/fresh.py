# SPDX-License-Identifier: Apache-2.0
"""What the final payloads of a comparison on the phantom reach on volumes that no site holds.

    python benchmarks/fresh.py [runs/compare] [--seed 1] > docs/explanation/results_fresh.md

The same scanners draw every case of the phantom anew, with another seed, and all of them are predicted: four times as
many as there are test cases. A site's own gates of a mixture of experts are not in a payload; here every expert counts
alike.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from flap_sam.config.site import Site
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT
from flap_sam.data.prepare import prepare
from flap_sam.data.store import SiteStore, sites
from flap_sam.foundation.means import mean_of_known
from flap_sam.inference.model import Model
from flap_sam.records import cell
from flap_sam.records.cell import FinishedCell
from flap_sam.records.scores import ByClass
from flap_sam.report import claims, comparison
from flap_sam.report.summary import notices
from flap_sam.training.evaluate import mean_by_class, score

SPLITS = ("train", "validation", "test")


def draw(folder: Path, seed: int) -> dict[str, SiteStore]:
    """The stores of a phantom of another seed than the demo's, by site."""
    volumes, store = folder / "volumes", folder / "store"
    ABDOMINAL_CT.generate(volumes, seed=seed)
    prepare("phantom", volumes, store)
    return {site: SiteStore.open(store, site) for site in sites(store)}


def dice_by_class(model: Model, store: SiteStore) -> list[float | None]:
    """Of every class, mean over all cases of a site."""
    scores = [
        case.dice
        for split in SPLITS
        for case in score(model.network, store, split, model.experiment, torch.device("cpu"), "float32")
    ]
    return mean_by_class(scores, model.experiment.classes)


def scored(folder: Path, stores: Mapping[str, SiteStore]) -> tuple[FinishedCell, dict[str, ByClass]]:
    """A finished cell with the Dice on the stores in place of its own, and by class; a local one on its site's."""
    found = cell.read(folder)
    model = Model.load(folder / found.payload, Site.read(None).checkpoint)
    own = {site: dice_by_class(model, store) for site, store in stores.items() if found.site in (None, site)}
    return found.changed(dice={site: mean_of_known(dice) for site, dice in own.items()}), own


def of_class(found: FinishedCell, own: Mapping[str, ByClass], number: int) -> FinishedCell:
    return found.changed(dice={site: dice[number] for site, dice in own.items()})


def page(found: Sequence[tuple[FinishedCell, dict[str, ByClass]]], stores: Mapping[str, SiteStore]) -> Iterator[str]:
    """The parts of a page in Markdown."""
    cells, names = [one for one, _ in found], list(stores)
    classes = next(iter(stores.values())).manifest.classes
    yield "# The comparison on fresh volumes"
    yield "Made by `benchmarks/fresh.py`: the final payloads of a comparison on volumes that no site holds."
    yield from (f"> {notice}" for notice in notices((cell.run.demo, cell.run.weights) for cell in cells))
    yield "Cases: " + ", ".join(f"{name} {len(store.manifest.cases)}" for name, store in stores.items()) + "."
    yield claims.markdown(claims.verdicts(comparison.rows(cells), sorted({cell.seed for cell in cells})))
    yield claims.RULE
    yield f"## Mean of {' and '.join(classes)}"
    yield comparison.markdown(comparison.rows(cells), names)
    for number, name in enumerate(classes):
        yield f"## {name.capitalize()}"
        yield comparison.markdown(comparison.rows([of_class(one, own, number) for one, own in found]), names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path, nargs="?", default=Path("runs/compare"), help="its --out")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn volumes; the demo's is 0")
    arguments = parser.parse_args()
    folders = cell.folders(arguments.comparison)
    if not folders:
        parser.error(f"{arguments.comparison} holds no finished cell; run flap-sam compare --out there first")
    if (source := cell.read(folders[0]).data.source) != "phantom":
        parser.error(f"{arguments.comparison} holds cells of {source}; only the phantom can be drawn anew")
    with tempfile.TemporaryDirectory() as folder:
        stores = draw(Path(folder), arguments.seed)
        found = [scored(own, stores) for own in folders]
    print("\n\n".join(part.strip() for part in page(found, stores)))


if __name__ == "__main__":
    main()
