"""All sites run one experiment on like data, and began it from the same network."""

from flap_sam.errors import FlapSamError
from flap_sam.experiment import BACKBONES, Experiment
from flap_sam.federation.messages import TrainReport


class Likeness:
    """What the first answer of a run said, and every other answer must say too.

    Args:
        job: the job's experiment, its backbone and image size perhaps left to the sites' checkpoint.
    """

    def __init__(self, job: Experiment) -> None:
        self.job = job
        self.first: TrainReport | None = None
        self.experiment = job
        self._site = ""

    def adopt(self, site: str, report: TrainReport) -> None:
        """Take the backbone and image size that the first site found, if that is all it changed."""
        resolved = Experiment.from_json(report.experiment)
        if (
            resolved.backbone not in BACKBONES
            or resolved.image_size is None
            or self.job.resolved(resolved.backbone, resolved.image_size) != resolved
        ):
            raise FlapSamError("it runs another experiment than the job's")
        self.first, self.experiment, self._site = report, resolved, site

    def check(self, report: TrainReport) -> None:
        """Raise a FlapSamError that says in what a site differs from the first."""
        first, theirs = self.first, f"{self._site}, the first to answer"
        if report.experiment != first.experiment:
            own = Experiment.from_json(report.experiment)
            raise FlapSamError(
                f"it runs {own.backbone} at {own.image_size} px, {theirs}, {self.experiment.backbone} at "
                f"{self.experiment.image_size} px; give every site the same weights"
            )
        if report.labels != first.labels:
            raise FlapSamError(
                f"its classes have other names or another order than at {theirs}; prepare its data alike"
            )
        if report.demo != first.demo:
            raise FlapSamError("some sites work on their own data and some on the demo; configure data at every site")
        if report.start_digest != first.start_digest:
            raise FlapSamError(f"it started from other weights than {theirs}; give every site the same weights")
