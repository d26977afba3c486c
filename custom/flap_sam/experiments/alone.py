"""The experiment without a federation: one site alone, or all data in one place, with the same trainer."""

import time
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.data.demo import demo_sites
from flap_sam.data.pool import PooledStore
from flap_sam.data.store import SiteStore, sites
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError
from flap_sam.experiments.job import Job
from flap_sam.foundation import lock
from flap_sam.foundation.files import writing
from flap_sam.foundation.lock import locked
from flap_sam.foundation.means import mean_of_known
from flap_sam.records import round_log
from flap_sam.records.candidate import Candidate, check_class, improves, mean_of_sites
from flap_sam.records.pictures import FOLDER, Gallery
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE, write_test_dice
from flap_sam.records.round_log import ROUND_LOG, RoundRecord, SiteRecord
from flap_sam.records.run_record import CENTRALIZED, LOCAL, RUN_RECORD, RunRecord, read, stint
from flap_sam.records.scores import departures
from flap_sam.sam.checkpoint import network_for, start_digest
from flap_sam.sam.weights import weights_for
from flap_sam.training.embeddings import EmbeddingCache, FrozenEncoder, training_data
from flap_sam.training.evaluate import CaseScore, Evaluation, evaluation, mean_by_class, score
from flap_sam.training.participant import Assignment, assign
from flap_sam.training.precision import settle
from flap_sam.training.progress import Progress, Say
from flap_sam.training.trainer import LocalResult, Trainer
from flap_sam.wire import payload

MADE = (*PAYLOAD_FILES.values(), ROUND_LOG)


def assignments(job: Job, site: Site) -> dict[str, Assignment]:
    """Every site's data by its name in the store: the configured store's, or else the demo's.

    Raises:
        FlapSamError: no data is configured and the job has no demo.
    """
    unnamed = site.changed(name=None)
    names = sites(site.data) if site.data else demo_sites(job.demo) if job.demo else ["?"]
    return {name: assign(unnamed, name, job.demo) for name in names}


def train(job: Job, setting: str, site_name: str | None, changes: dict, out: Path, say: Say) -> Path:
    """Run a job's experiment without a federation; leaves the files of a federated run in the folder `out`.

    Args:
        setting: "local", the data of one site, or "centralized", those of all.
        site_name: under "local", as the store names it, or `site-2` for its second.
        changes: settings in place of the job's.

    Raises:
        FlapSamError: settings, data or checkpoint cannot be used, or `out` holds a run already. One that was
            interrupted begins anew if setting, sites and experiment are the same.
    """
    if (setting == LOCAL) == (site_name is None):
        raise FlapSamError("Name the --site of a local run; a centralized run takes all sites.")
    experiment = job.experiment(changes)
    check_class(job.conduct.best_by, experiment.classes)
    site = Site.read(None)
    everyone = assignments(job, site)
    chosen = everyone if setting == CENTRALIZED else _one(everyone, site_name)
    with locked(out / lock.NAME, str(out)):
        unfinished = _unfinished(out, setting, [*chosen])
        stores = {name: a.store for name, a in everyone.items()}
        run = _Run(experiment, site, stores, chosen, job.conduct.best_by, out, say)
        if unfinished:
            _forget(out, run.experiment)
            say(f"the run in {out} was interrupted: it begins anew")
        begun = stint(0, [*chosen], {})
        RunRecord(run="", setting=setting, demo=run.demo, weights=run.weights.origin, stints=[begun]).write(out)
        run.train()
    return out


def _unfinished(out: Path, setting: str, sites: list[str]) -> bool:
    """Whether a folder holds such a run that was interrupted; raises FlapSamError where it holds another one."""
    if not any((out / name).exists() for name in MADE):
        return False
    if not (out / TEST_DICE).exists() and (out / RUN_RECORD).exists():
        record = read(out)
        if (record.setting, record.stints[0].sites) == (setting, sites):
            return True
    raise FlapSamError(f"{out} holds a run already; choose another folder.")


def _forget(out: Path, experiment: Experiment) -> None:
    """Remove what an interrupted run has made; of the same experiment, whose next run makes the same again."""
    for file in (out / name for name in PAYLOAD_FILES.values() if (out / name).exists()):
        if payload.read(file).experiment != experiment:
            raise FlapSamError(f"{out} holds an interrupted run of another experiment; choose another folder.")
    with writing(out):
        for name in MADE:
            (out / name).unlink(missing_ok=True)


def _one(everyone: dict[str, Assignment], wanted: str) -> dict[str, Assignment]:
    names = list(everyone)
    numbered = {f"site-{i}": name for i, name in enumerate(names, 1)}
    name = wanted if wanted in everyone else numbered.get(wanted)
    if name is None:
        raise FlapSamError(f"There is no site {wanted!r}; there are {', '.join(names)}.")
    return {name: everyone[name]}


class _Run:
    """Rounds of training on the chosen sites' data, then the final and the best payload on every site's test cases."""

    def __init__(
        self,
        experiment: Experiment,
        site: Site,
        everyone: dict[str, SiteStore],
        chosen: dict[str, Assignment],
        best_by: int | None,
        out: Path,
        say: Say,
    ) -> None:
        self.everyone, self.best_by, self.out, self.say = everyone, best_by, out, say
        self.own = {name: assignment.store for name, assignment in chosen.items()}
        self.personal: dict[int, dict[str, Tensor]] = {}
        self.demo = any(assignment.demo for assignment in chosen.values())
        self.pictures = site.shows_pictures(self.demo)
        self.device = site.torch_device()
        self.precision = settle(site.precision, self.device)
        self.weights = weights_for(experiment.backbone, site.checkpoint, site.checkpoint_sha256)
        network, self.experiment, _ = network_for(experiment, self.weights.file, self.weights.pin)
        self.start_digest = start_digest(network, self.experiment)
        self.network = network.to(self.device)
        if site.compile:
            self.network.compile()
        self.pool = PooledStore(list(self.own.values()))
        windows = Windows(self.pool, self.experiment.image_size, self.experiment.normalisation, self.device)
        encoder = FrozenEncoder.of(self.network, self.experiment, self.device, self.precision)
        state = site.state_root
        self.caches = {
            n: EmbeddingCache.open(state, store, encoder) if encoder else None for n, store in everyone.items()
        }
        windows, forward = training_data(self.network, self.experiment, windows, [self.caches[n] for n in self.own])
        self.trainer = Trainer(
            self.network, self.experiment, windows, self.device, self.precision, site.memory, forward=forward
        )

    def train(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        current, best = None, None
        for number in range(self.experiment.rounds):
            start = time.perf_counter()
            validation = self._validation()
            if current is not None:
                best = self._better(best, replace(current, validation=validation))
            progress = Progress(self.say, ", ".join(self.own), number)
            result = self.trainer.train(number, progress=progress)
            current = self._candidate(number + 1)
            self._log(number, validation, result, time.perf_counter() - start)
        self._keep(FINAL, current)
        best = self._better(best, replace(current, validation=self._validation()))
        tables = {FINAL: self._score(current)}
        tables[BEST] = tables[FINAL] if best.round == current.round else self._score(best)
        apart = departures(self.experiment, tables[FINAL], travelled=False)
        write_test_dice(self.out, tables, best.round, apart)

    def _candidate(self, number: int) -> Candidate:
        self.personal[number] = {name: tensor.clone() for name, tensor in self.trainer.state()[1].items()}
        return Candidate(self.trainer.payload(), number)

    def _validation(self) -> dict[str, list[float | None]]:
        """Dice by class of every own site."""
        return {name: self._by_class(name) for name in self.own}

    def _by_class(self, name: str) -> list[float | None]:
        return mean_by_class([s.dice for s in self._scores(name, "validation")], self.experiment.classes)

    def _scores(self, name: str, split: str, gallery: Gallery | None = None) -> list[CaseScore]:
        store, cache = self.everyone[name], self.caches[name]
        return score(self.network, store, split, self.experiment, self.device, self.precision, cache, gallery)

    def _score(self, scored: Candidate) -> dict[str, Evaluation]:
        self.trainer.receive(scored.tensors)
        self.trainer.restore_personal(self.personal[scored.round])
        return {name: self._evaluate(name, scored.round) for name in self.everyone}

    def _evaluate(self, name: str, number: int) -> Evaluation:
        classes = self.everyone[name].manifest.classes
        gallery = Gallery(self.out / FOLDER / name, name, classes, number) if self.pictures else None
        validation, test = self._scores(name, "validation"), self._scores(name, "test", gallery)
        if gallery:
            gallery.write()
        return evaluation(validation, test, self.experiment.classes)

    def _better(self, best: Candidate | None, candidate: Candidate) -> Candidate:
        if not improves(candidate, best, self.best_by):
            return best
        self._keep(BEST, candidate)
        return candidate

    def _keep(self, kind: str, kept: Candidate) -> None:
        notes = {"round": kept.round, "validation_dice": kept.dice, "start": self.start_digest}
        payload.write(self.out / PAYLOAD_FILES[kind], kept.tensors, self.experiment, notes)

    def _log(self, number: int, validation: dict[str, list[float | None]], result: LocalResult, seconds: float) -> None:
        site = SiteRecord(
            slices=self.pool.training_slices,
            loss=result.loss,
            steps=result.steps,
            seconds=result.seconds,
            validation=[mean_of_known(column) for column in zip(*validation.values(), strict=True)],
            demo=self.demo,
            norm=None,
            change=None,
            counted_slices=self.pool.training_slices,
            bytes_down=0,
            bytes_up=0,
        )
        record = RoundRecord(
            run="",
            round=number,
            validation=mean_of_sites(validation.values()),
            loss=result.loss,
            svd_energy_kept=None,
            layers={},
            seconds=seconds,
            server_seconds=0.0,
            sites={", ".join(self.own): site},
            refused={},
            missing=[],
            late=[],
        )
        round_log.append(self.out, record)
        self.say(round_log.round_line(record, self.experiment.rounds))
