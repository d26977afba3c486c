# SPDX-License-Identifier: Apache-2.0
"""All sites run one experiment on like data and began it from the same network: most of them are the measure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from flap_sam.config.experiment import BACKBONES, Experiment
from flap_sam.errors import FlapSamError
from flap_sam.rounds.start import Start
from flap_sam.sam.weights import NOTICES
from flap_sam.wire.messages import TrainReport

DEMO_NOTICE = (
    "THIS IS THE DEMO: no data is configured (FLAP_SAM_DATA, or flap_site.json at a site), so the sites work on a "
    "bundled phantom. Its volumes are drawn, not scanned; its Dice says nothing about patients."
)

Identity = tuple[str, str, bool, str, str]


class Consistency:
    """What more than half of the first round's sites said, and every answer must say too.

    A site has one voice, whatever its number of slices; silence and refused answers are no voices, but count among
    the sites asked. So neither who answers first nor a minority decides whom the others are measured by.

    Args:
        job: the job's experiment, its backbone and image size perhaps left to the sites' checkpoint.
        start: what the first round starts from, which every site must fit; None means that each starts by itself.
    """

    def __init__(self, job: Experiment, start: Start | None = None) -> None:
        self.job = job
        self._start = start
        self.reference: TrainReport | None = None
        self.experiment = job
        self._voices: dict[str, TrainReport] = {}

    @property
    def agreed(self) -> TrainReport:
        """The report that every other must match; raises a ValueError where none has been adopted yet."""
        if self.reference is None:
            raise ValueError("the sites have not agreed on a report yet")
        return self.reference

    def adopt(self, reference: TrainReport) -> None:
        """Take a report as the measure, with the backbone and image size that it found."""
        self.reference, self.experiment = reference, self._resolved(reference)

    def resume(self, reference: TrainReport) -> None:
        """Take up the measure of a run whose experiment may have had fewer rounds than the job's."""
        before = Experiment.from_json(reference.experiment)
        now = self.job.resolved(before.backbone, before.image_size)
        self.adopt(reference.changed(experiment=now.to_json()))

    def hear(self, site: str, report: TrainReport, asked: int) -> bool:
        """Count a site's voice in; whether more than half of the sites asked now say the same, which is then adopted.

        Raises:
            FlapSamError: it runs another experiment than the job's, does not fit the run's start, or has spoken before.
        """
        resolved = self._resolved(report)
        if self._start:
            self._start.check(resolved, report.frozen_digest)
        if site in self._voices:
            raise FlapSamError("it answers a second time in one round; the first counts")
        self._voices[site] = report
        agreed = sorted(s for s, other in self._voices.items() if _identity(other) == _identity(report))
        if 2 * len(agreed) <= asked:
            return False
        origins = Counter(self._voices[s].weights for s in agreed)
        usual = min(origins, key=lambda origin: (-origins[origin], origin))
        self.adopt(next(self._voices[s] for s in agreed if self._voices[s].weights == usual))
        self._voices.clear()
        return True

    def disagreement(self, asked: Sequence[str]) -> str:
        """Who says what, where no more than half of the sites asked say the same."""
        groups: dict[Identity, list[str]] = {}
        for site, report in sorted(self._voices.items()):
            groups.setdefault(_identity(report), []).append(site)
        told = [f"{', '.join(sites)} ({_described(said)})" for said, sites in groups.items()]
        if silent := sorted(set(asked) - self._voices.keys()):
            told.append(f"{', '.join(silent)} (no usable answer)")
        return (
            f"The run stops: more than half of the first round's {len(asked)} sites must have the same weights, "
            f"classes and kind of data, and no group is that large: {'; '.join(told)}"
        )

    def check(self, report: TrainReport) -> None:
        """Raise a FlapSamError that says in what a site differs from most."""
        reference = self.agreed
        if report.experiment != reference.experiment:
            own = self._resolved(report)
            raise FlapSamError(
                f"it runs {own.backbone} at {own.image_size} px, most sites {self.experiment.backbone} at "
                f"{self.experiment.image_size} px; give every site the same weights"
            )
        if report.labels != reference.labels:
            raise FlapSamError(
                "its classes have other names or another order than at most sites; prepare its data alike"
            )
        if report.demo != reference.demo:
            raise FlapSamError("some sites work on their own data and some on the demo; configure data at every site")
        if _start_of(report) != _start_of(reference):
            raise FlapSamError("it started from other weights than most sites; give every site the same weights")

    def notices(self) -> Iterator[str]:
        """What a run must say of itself: that its data or its weights are for trying alone."""
        if self.agreed.demo:
            yield DEMO_NOTICE
        if notice := NOTICES.get(self.agreed.weights):
            yield notice

    def digests(self) -> dict[str, str]:
        """Of the network that all sites start from, as a payload notes them."""
        return {"start": self.agreed.start_digest, "frozen": self.agreed.frozen_digest}

    def _resolved(self, report: TrainReport) -> Experiment:
        """The experiment that a site ran, if the backbone and the image size are all that it found."""
        resolved = Experiment.from_json(report.experiment)
        if (
            resolved.backbone not in BACKBONES
            or resolved.image_size is None
            or self.job.resolved(resolved.backbone, resolved.image_size) != resolved
        ):
            raise FlapSamError("it runs another experiment than the job's")
        return resolved


def _identity(report: TrainReport) -> Identity:
    return report.experiment, report.labels, report.demo, *_start_of(report)


def _start_of(report: TrainReport) -> tuple[str, str]:
    return report.start_digest, report.frozen_digest


def _described(said: Identity) -> str:
    experiment, labels, demo, start, _ = said
    ran = Experiment.from_json(experiment)
    data = "the demo" if demo else "own data"
    return f"{ran.backbone} at {ran.image_size} px, weights {start[:12]}, classes {labels[:12]}, {data}"
