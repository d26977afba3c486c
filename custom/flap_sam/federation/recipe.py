# SPDX-License-Identifier: Apache-2.0
"""A FLAP-SAM job as a recipe of FLARE's, which runs unchanged in its environments."""

from collections.abc import Mapping
from functools import partial

from nvflare.recipe import ProdEnv
from nvflare.recipe.spec import ExecEnv, Recipe

from flap_sam.config.experiment import Experiment
from flap_sam.config.job_files import METRICS, ONE_GPU, TENSORBOARD, write
from flap_sam.config.run_policy import RunPolicy
from flap_sam.federation.configured_job import ConfiguredJob


class FlapSamRecipe(Recipe):
    """A federation that fine-tunes the Segment Anything Model (FLAP-SAM, arXiv 2407.21739).

    Its `execute(environment)` simulates it (`SimEnv`), starts services for it on this machine (`PocEnv`) or submits it
    to a federation (`ProdEnv`); there the sites have this package installed, and no code is sent.

    Args:
        name: of the job.
        experiment: what is trained.
        run_policy: how the run is conducted.
        demo: the phantom that sites without data draw; None where those are refused.
        gpus: that it asks a federation for, by site (see `config.job_files.submission`).
    """

    def __init__(
        self,
        name: str,
        experiment: Experiment,
        run_policy: RunPolicy | None = None,
        demo: str | None = None,
        gpus: Mapping[str, int] = ONE_GPU,
    ) -> None:
        lay = partial(
            write, experiment=experiment, policy=run_policy or RunPolicy(), demo=demo, components=[TENSORBOARD, METRICS]
        )
        self._here = ConfiguredJob(name, lay)
        self._submitted = ConfiguredJob(name, partial(lay, submitted=True, gpus=gpus))
        super().__init__(self._here)

    def process_env(self, env: ExecEnv) -> None:
        """Take the form of the job that an environment's sites accept."""
        self._job = self._submitted if isinstance(env, ProdEnv) else self._here
