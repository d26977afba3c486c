"""All sites run one experiment on like data and began it from the same network: most of them are the measure."""

from collections import Counter
from collections.abc import Sequence

from flap_sam.config.experiment import BACKBONES, Experiment
from flap_sam.errors import FlapSamError
from flap_sam.wire.messages import TrainReport

Identity = tuple[str, str, bool, str]


class Likeness:
    """What more than half of the first round's sites said, and every answer must say too.

    A site has one voice, whatever its number of slices; silence and refused answers are no voices, but count among
    the sites asked. So neither who answers first nor a minority decides whom the others are measured by.

    Args:
        job: the job's experiment, its backbone and image size perhaps left to the sites' checkpoint.
    """

    def __init__(self, job: Experiment) -> None:
        self.job = job
        self.reference: TrainReport | None = None
        self.experiment = job
        self._voices: dict[str, TrainReport] = {}

    def adopt(self, reference: TrainReport) -> None:
        """Take a report as the measure, with the backbone and image size that it found."""
        self.reference, self.experiment = reference, self._resolved(reference)

    def hear(self, site: str, report: TrainReport, asked: int) -> bool:
        """Count a site's voice in; whether more than half of the sites asked now say the same, which is then adopted.

        Raises:
            FlapSamError: it runs another experiment than the job's, or has spoken before.
        """
        self._resolved(report)
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
        reference = self.reference
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
        if report.start_digest != reference.start_digest:
            raise FlapSamError("it started from other weights than most sites; give every site the same weights")

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
    return report.experiment, report.labels, report.demo, report.start_digest


def _described(said: Identity) -> str:
    experiment, labels, demo, start = said
    ran = Experiment.from_json(experiment)
    data = "the demo" if demo else "own data"
    return f"{ran.backbone} at {ran.image_size} px, weights {start[:12]}, classes {labels[:12]}, {data}"
