# SPDX-License-Identifier: Apache-2.0
"""The bundled demo: procedural volumes, drawn and prepared once in a cache folder."""

import os
from collections.abc import Callable
from pathlib import Path

from flap_sam.data.prepare import open_source, prepare
from flap_sam.errors import FlapSamError, Reason

REVISION = 2
DRAWN = ("phantom",)


def cache_folder() -> Path:
    """Where the demo lies: `FLAP_SAM_CACHE`, else the user's cache folder."""
    own = os.environ.get("FLAP_SAM_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flap-sam"
    return base / f"demo-{REVISION}"


def demo_sites(source: str) -> list[str]:
    """The sites of a procedural source.

    Raises:
        FlapSamError: the job names another; its name becomes a folder here.
    """
    if source not in DRAWN:
        raise FlapSamError(f"The job's demo is {source!r}; expected {', '.join(DRAWN)}.", Reason.NO_DATA)
    return open_source(source, cache_folder() / source / "volumes").sites()


def demo_store(source: str, choose: Callable[[list[str]], str]) -> tuple[Path, str]:
    """Prepare one site of a procedural source, unless it is there already.

    Args:
        choose: picks the site among the source's.

    Returns:
        The store and the site's name in it.

    Raises:
        FlapSamError: as `demo_sites`; or there is no such site, or no room to draw it.
    """
    folder = cache_folder() / source
    name = choose(demo_sites(source))
    prepare(source, folder / "volumes", folder / "store", [name], workers=1)
    return folder / "store", name
