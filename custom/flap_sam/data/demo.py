# SPDX-License-Identifier: Apache-2.0
"""The bundled demos: phantoms, drawn and prepared once in a cache folder."""

import os
from collections.abc import Callable
from pathlib import Path

from flap_sam.data.prepare import PHANTOMS, prepare
from flap_sam.errors import FlapSamError, Reason

REVISION = 2


def cache_folder() -> Path:
    """Where the demos lie: `FLAP_SAM_CACHE`, else the user's cache folder."""
    own = os.environ.get("FLAP_SAM_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flap-sam"
    return base / f"demo-{REVISION}"


def demo_sites(source: str) -> list[str]:
    """The sites of one of `PHANTOMS`.

    Raises:
        FlapSamError: the job names another; its name becomes a folder here.
    """
    if source not in PHANTOMS:
        raise FlapSamError(f"The job's demo is {source!r}; expected {', '.join(PHANTOMS)}.", Reason.NO_DATA)
    return list(PHANTOMS[source].scanners)


def demo_store(source: str, choose: Callable[[list[str]], str]) -> tuple[Path, str]:
    """Prepare one site of a phantom, unless it is there already.

    Args:
        choose: picks the site among the phantom's.

    Returns:
        The store and the site's name in it.

    Raises:
        FlapSamError: as `demo_sites`; or there is no such site, or no room to draw it.
    """
    folder = cache_folder() / source
    name = choose(demo_sites(source))
    prepare(source, folder / "volumes", folder / "store", [name], workers=1)
    return folder / "store", name
