# SPDX-License-Identifier: Apache-2.0
"""What a site's operator puts into its startup kit: what it agrees to, what it has, where its things lie."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import FILE_NAME as SITE
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits import resources
from flap_sam.federation.kits.policy import HOSPITAL, POLICIES, lay, read, role_of, write_json
from flap_sam.foundation.strict import parse
from flap_sam.gate.agreement import FILE_NAME as AGREEMENT
from flap_sam.gate.agreement import Agreement


def fill(
    kit: Path,
    experiments: Sequence[Experiment] = (),
    gpus: int | None = None,
    settings: Mapping[str, object] | None = None,
    policies: Path = POLICIES,
    lock: str | None = None,
) -> None:
    """Lay the policies into a kit as `nvflare provision` does, then fill in what only its owner can say.

    Args:
        experiments: what the hospital agrees to, in place of what it has agreed to before; none leaves its agreement.
        gpus: how many of its GPUs jobs may take, each one job at a time; None leaves it as it is.
        settings: of its `flap_site.json`.
        policies, lock: as `lay` takes them.

    Raises:
        FlapSamError: the folder is no kit of a server or a hospital, or what was said cannot be filled in; then the
            kit keeps what its owner had filled in before.
    """
    role = role_of(kit)
    if role is None:
        raise FlapSamError(
            f"{kit} is no startup kit of a server or a hospital; name the kits themselves, which lie in the prod_NN "
            "folder of `nvflare provision`."
        )
    if role != HOSPITAL and (experiments or settings or gpus is not None):
        raise FlapSamError(f"{kit} is the server's kit, which only takes policies and a lock; name a hospital's.")
    lay(kit, role, policies, lock)
    local = kit / "local"
    agreed = {"experiments": [experiment.model_dump(mode="json") for experiment in experiments]} if experiments else {}
    filled = {
        local / name: _filled(local / name, given, check)
        for name, given, check in ((SITE, settings, _site), (AGREEMENT, agreed, _agreement))
        if given
    }
    if gpus is not None:
        filled[local / resources.FILE_NAME] = resources.with_gpus(read(local / resources.FILE_NAME), gpus)
    for path, said in filled.items():
        write_json(path, said)


def _filled(path: Path, given: Mapping[str, object], check: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """What a file says with some of its settings given, once that is checked."""
    said = read(path) | dict(given)
    try:
        check(said)
    except (FlapSamError, ValueError) as error:
        raise FlapSamError(f"{path} is not filled in: {error}") from error
    return said


def _site(said: dict[str, Any]) -> Site:
    return Site.from_plain(said, of_file=True)


def _agreement(said: dict[str, Any]) -> Agreement:
    return parse(Agreement, json.dumps(said))
