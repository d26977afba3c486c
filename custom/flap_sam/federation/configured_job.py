# SPDX-License-Identifier: Apache-2.0
"""A job for FLARE's environments that is configuration already.

FLARE offers its environments (`nvflare.recipe.SimEnv`, `PocEnv`, `ProdEnv`) in place of its commands. They take a
`FedJob`, which makes a job's configuration from Python objects, and sends their code along. Ours names classes that are
installed: where a `FedJob` would write its configuration, ours is written, and all else is FLARE's.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nvflare.apis.job_def import ALL_SITES
from nvflare.job_config.api import FedJob
from nvflare.job_config.fed_job_config import FedJobConfig

from flap_sam.foundation.children import child

SIMULATOR = "flap_sam.federation.simulator"


class ConfiguredJob(FedJob):
    """A job for all sites of an environment.

    Args:
        lay: writes the job's folder, which is not there yet.
        held: descriptors of locks, which are held until the simulator has ended.
        clears: temporary folders of this process, which are removed then where it has been killed.
        variables: the environment of the simulator's processes; None means this process's.
    """

    def __init__(
        self,
        name: str,
        lay: Callable[[Path], object],
        held: Sequence[int] = (),
        clears: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.job = _Configuration(name, lay, held, clears, variables)
        self.clients = [ALL_SITES]


class _Configuration(FedJobConfig):
    def __init__(
        self,
        name: str,
        lay: Callable[[Path], object],
        held: Sequence[int],
        clears: Sequence[Path],
        variables: Mapping[str, str] | None,
    ) -> None:
        super().__init__(job_name=name, min_clients=1)
        self._lay, self._held, self._clears, self._variables = lay, held, clears, variables

    def generate_job_config(self, job_root: str) -> None:
        self._lay(Path(job_root) / self.job_name)

    def simulator_run(
        self, workspace: str, clients: str, n_clients: int, threads: int, gpu: None, log_config: str | None
    ) -> int:
        """As FLARE's, but the simulator ends with this process, as its own children do with it."""
        with tempfile.TemporaryDirectory() as root:
            self.generate_job_config(root)
            words = [sys.executable, "-m", SIMULATOR, str(Path(root) / self.job_name), "-w", workspace, "-c", clients]
            words += ["-n", str(n_clients), "-t", str(threads)]
            words += ["-l", log_config] if log_config else []
            variables = dict(os.environ if self._variables is None else self._variables)
            with child(words, [*self._clears, Path(root)], env=variables, pass_fds=self._held) as run:
                return run.wait()
