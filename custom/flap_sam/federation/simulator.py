# SPDX-License-Identifier: Apache-2.0
"""FLARE's simulator, whose server is told when a site's process has died: FLARE's own waits for its answer for ever.

Run as a module with the arguments of `nvflare simulator`, by `environment`.
"""

import argparse
import os
import sys
from typing import Any

from nvflare.apis.fl_constant import ConfigVarName
from nvflare.private.fed.app.simulator.simulator import define_simulator_parser
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorClientRunner, SimulatorRunner
from nvflare.private.fed.server.fed_server import FederatedServer

AT_ONCE = (ConfigVarName.DEAD_CLIENT_GRACE_PERIOD, ConfigVarName.DEAD_CLIENT_CHECK_LEAD_TIME)
"""Seconds for which FLARE doubts that a site is gone; here its process is known to be."""


class _Sites(SimulatorClientRunner):
    def __init__(self, server: FederatedServer, *words: object) -> None:
        super().__init__(*words)
        self._server = server

    def do_one_task(self, client: Any, *words: object, **more: object) -> tuple[bool, object, str | None]:
        stopped, following, ended = super().do_one_task(client, *words, **more)
        if following is None:  # FLARE returns this only where the site's process has died
            with self._server.engine.new_context() as fl_ctx:
                self._server.server_runner.handle_dead_job(client.client_name, fl_ctx)
        return stopped, following, ended


class _Simulator(SimulatorRunner):
    def client_run(self, server_custom_folder: str, clients: list[Any], gpu: str | None) -> None:
        sites = _Sites(
            self.server,
            *(server_custom_folder, self.args, clients, self.client_config, self.deploy_args, self.build_ctx),
        )
        sites.run(gpu)


def main() -> int:
    """Simulate; the status of the run."""
    for name in AT_ONCE:
        os.environ.setdefault(f"NVFLARE_{name}".upper(), "0")
    parser = argparse.ArgumentParser()
    define_simulator_parser(parser)
    asked = parser.parse_args()
    simulator = _Simulator(
        job_folder=asked.job_folder,
        workspace=asked.workspace,
        clients=asked.clients,
        n_clients=asked.n_clients,
        threads=asked.threads,
        log_config=asked.log_config,
    )
    return simulator.run()


if __name__ == "__main__":
    sys.exit(main())
