# SPDX-License-Identifier: Apache-2.0
"""One site at work: its data, its network, its trainer. What the federation and a run without it both drive."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.data.demo import demo_store
from flap_sam.data.pool import PooledStore
from flap_sam.data.store import SiteStore, sites
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError, Reason
from flap_sam.lowrank.factors import leading
from flap_sam.records.pictures import Gallery
from flap_sam.records.scores import CaseScore
from flap_sam.sam.checkpoint import frozen_digest, network_for, start_digest
from flap_sam.sam.weights import weights_for
from flap_sam.training import threads
from flap_sam.training.embeddings import EmbeddingCache, FrozenEncoder, training_data
from flap_sam.training.evaluate import score
from flap_sam.training.precision import settle
from flap_sam.training.progress import Progress, Say, silent
from flap_sam.training.site_state import SiteState
from flap_sam.training.team import ALONE, Team
from flap_sam.training.together import Share, train_together
from flap_sam.training.trainer import LocalResult, Trainer
from flap_sam.wire import encoding
from flap_sam.wire.form import in_canonical_form, summed_pairs

CARRY = "carry/"
NUMBERED = re.compile(r"site-(\d+)")


@dataclass(frozen=True)
class Assignment:
    """The stores a participant trains on, one in a federation, and whether they are only the bundled demo."""

    stores: tuple[SiteStore, ...]
    demo: bool

    @property
    def store(self) -> SiteStore:
        """The first of them, which is like the others."""
        return self.stores[0]


def assign(site: Site, federation_name: str, demo: str | None) -> Assignment:
    """The site's own store where one is configured, else the demo that the job names.

    Args:
        federation_name: what the site is called in the federation; `site-3` of a simulation is the third
            site of the store.
        demo: the phantom, or None where the job has no demo.

    Raises:
        FlapSamError: no data is configured and there is no demo, or the store cannot be used.
    """
    if site.data is not None:
        own = SiteStore.open(site.data, site.name or _name_in(sites(site.data), federation_name))
        return Assignment((own,), False)
    if demo is None:
        raise FlapSamError(
            "No data is configured; set FLAP_SAM_DATA to a store that `flap-sam prepare` made, or `data` in "
            "flap_site.json.",
            Reason.NO_DATA,
        )
    store, name = demo_store(demo, lambda known: site.name or _name_in(known, federation_name))
    return Assignment((SiteStore.open(store, name),), True)


def _name_in(known: list[str], federation_name: str) -> str:
    """The site's name in a store: its own where the store has numbered sites too, so that no two sites share one."""
    simulated = NUMBERED.fullmatch(federation_name)
    if simulated and not any(map(NUMBERED.fullmatch, known)) and 1 <= int(simulated[1]) <= len(known):
        return known[int(simulated[1]) - 1]
    return federation_name


class Participant:
    """A site's part in an experiment.

    Args:
        experiment: the job's.
        site: where things lie here.
        assignment: the data to work on.
        name: of the site in the federation; it may have a rank of its own.
        run: the run's name, under which the site keeps its state.
        team: the processes that this one trains with; a site of several starts them itself, for every round.

    Attributes:
        experiment: the job's, with backbone and image size resolved.
        weights: what its network started from.
        start_digest, frozen_digest: of the network before it took anything up (see `sam.checkpoint`).

    Raises:
        FlapSamError: data, checkpoint or device cannot be used for this experiment.
    """

    def __init__(
        self, experiment: Experiment, site: Site, assignment: Assignment, name: str, run: str, team: Team = ALONE
    ) -> None:
        classes = assignment.store.manifest.classes
        if len(classes) != experiment.classes:
            raise FlapSamError(
                f"The site's store has {len(classes)} classes ({', '.join(classes)}); the experiment has "
                f"{experiment.classes}. Set `classes` in the job to {len(classes)}.",
                Reason.CLASSES,
            )
        self.assignment = assignment
        self._pool = PooledStore(assignment.stores)
        self.weights = weights_for(experiment.backbone, site.checkpoint, site.checkpoint_sha256)
        self._device = site.torch_device()
        self._precision = settle(site.precision, self._device)
        network, own, self.load_report = network_for(experiment.at(name), self.weights.file, self.weights.pin)
        self.experiment = experiment.resolved(own.backbone, own.image_size)
        self.network = network.to(self._device)
        if site.compile:
            self.network.compile()
        self._site = site
        encoder = FrozenEncoder.of(self.network, own, self._device, self._precision)
        self._encoder = encoder
        self._caches: dict[Path, EmbeddingCache | None] = {}
        drawn = Windows(self._pool, own.pixels, own.normalisation, self._device)
        caches = [self._cache(store) for store in assignment.stores]
        windows, forward = training_data(self.network, own, drawn, caches)
        self._trainer = Trainer(self.network, own, windows, self._device, self._precision, site.memory, team, forward)
        self._team, self._name = team, name
        self._pairs = summed_pairs(network, own)
        self._task = partial(self._task_of, experiment.to_json(), name, run)
        self._state = SiteState(site.state_root / run / name, own.digest_but_rounds())
        threads.settle(site.threads, self._state.threads())
        self._trained_round: int | None = None
        self._known: Mapping[str, Tensor] = {}
        self._carry: dict[str, Tensor] = {}
        self.start_digest = start_digest(self.network, self.experiment)
        self.frozen_digest = frozen_digest(self.network, self.experiment)

    @property
    def slices(self) -> int:
        """Training slices, the n of the site's weight."""
        return self._pool.training_slices

    def claim_data(self) -> None:
        """Refuse data that another site of the run works on; see `SiteState.claim`."""
        self._state.claim(self.assignment.store.folder)

    def labels_digest(self) -> str:
        """SHA-256 over the names of the classes in their order; the names themselves stay here."""
        return hashlib.sha256("\n".join(self.assignment.store.manifest.classes).encode()).hexdigest()

    def has_trained(self, round_number: int) -> bool:
        """Whether this round, or a later one, is behind the participant."""
        return self._trained_round is not None and self._trained_round >= round_number

    def restore_before(self, round_number: int) -> None:
        """Restore optimizer, error feedback and personal tensors to what they were before a round."""
        if self._trained_round is None:
            if newest := self._state.training(round_number):
                self._trained_round, state = newest
                self._trainer.restore(state)
                self._carry = {n.removeprefix(CARRY): t for n, t in state.items() if n.startswith(CARRY)}
            self._trainer.restore_personal(self._state.personal(round_number))

    def restore_to_score(self, round_number: int) -> None:
        """Restore the personal tensors that belong to a round's payload, and end the site's training in this run."""
        self._trainer.restore_personal(self._state.personal(round_number))
        self._state.close()

    def receive(self, wire: Mapping[str, Tensor]) -> None:
        """Take the tensors of a payload that has been checked."""
        self._known = {name: tensor.float() for name, tensor in wire.items()}
        self._trainer.receive(self._known)

    def train(
        self, round_number: int, stopped: Callable[[], bool] = lambda: False, say: Say = silent
    ) -> tuple[dict[str, Tensor], LocalResult]:
        """The local epochs of a round: the tensors as they travel, and how it went. Keeps the site's state.

        Args:
            stopped: asked before every step; if it says so, the round ends in an error.
            say: takes a line now and then on how far the round is.
        """
        if self._team.size > 1:  # the process that started this one holds the state
            return self._train(round_number, stopped, say)
        with self._state.held() as held:
            if self._site.processes == 1:
                return self._train(round_number, stopped, say)
            task = self._task(round_number)
            return train_together(task, self._known, self._site.processes, stopped, say, [held])

    def _train(self, round_number: int, stopped: Callable[[], bool], say: Say) -> tuple[dict[str, Tensor], LocalResult]:
        progress = Progress(say, self._name, round_number)
        result = self._trainer.train(round_number, stopped, progress)
        tensors = in_canonical_form(self._trainer.update(round_number), self._pairs)
        known = {name: leading(self._known[name], t.shape) for name, t in tensors.items() if name in self._known}
        wire, self._carry = encoding.up(tensors, self.experiment.payload_dtype, known, self._carry)
        self._trained_round = round_number
        if self._team.rank == 0:
            training, personal = self._trainer.state()
            self._state.save(round_number, training | {CARRY + n: t for n, t in self._carry.items()}, personal)
        return wire, result

    def _task_of(self, experiment: str, name: str, run: str, round_number: int) -> Share:
        return Share(
            experiment=experiment,
            site=self._site.model_dump(mode="json"),
            stores=[[str(store.folder.parent), store.folder.name] for store in self.assignment.stores],
            demo=self.assignment.demo,
            name=name,
            run=run,
            round=round_number,
            parent=os.getpid(),
        )

    def score(self, split: str, gallery: Gallery | None = None, of: SiteStore | None = None) -> list[CaseScore]:
        """Dice of the network as it stands on the cases of a split.

        Args:
            of: a store to score in place of those that the participant trains on.
        """
        scores = []
        for store in [of] if of else self.assignment.stores:
            scores += score(
                self.network,
                store,
                split,
                self.experiment,
                self._device,
                self._precision,
                self._cache(store),
                gallery,
            )
        return scores

    def gallery(self, folder: Path, round_number: int, of: SiteStore | None = None) -> Gallery | None:
        """For pictures of the test cases, of the participant's store or another; None where it shows none."""
        if not self._site.shows_pictures(self.assignment.demo):
            return None
        name = of.manifest.site if of else self._name
        return Gallery(folder, name, self.assignment.store.manifest.classes, round_number)

    def _cache(self, store: SiteStore) -> EmbeddingCache | None:
        """Of the store's embeddings, where the image encoder never changes and there is room."""
        if store.folder not in self._caches:
            found = EmbeddingCache.open(self._site.state_root, store, self._encoder) if self._encoder else None
            self._caches[store.folder] = found
        return self._caches[store.folder]
