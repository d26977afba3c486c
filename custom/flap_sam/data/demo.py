"""The bundled demo: procedural volumes, drawn and prepared once in a cache folder."""

import os
from collections.abc import Callable
from pathlib import Path

from flap_sam.data.prepare import SOURCES, prepare

REVISION = 2


def cache_folder() -> Path:
    """Where the demo lies: `FLAP_SAM_CACHE`, else the user's cache folder."""
    own = os.environ.get("FLAP_SAM_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flap-sam"
    return base / f"demo-{REVISION}"


def demo_sites(source: str) -> list[str]:
    """The sites of a procedural source."""
    return SOURCES[source](cache_folder() / source / "volumes").sites()


def demo_store(source: str, choose: Callable[[list[str]], str]) -> tuple[Path, str]:
    """Prepare one site of a procedural source, unless it is there already.

    Args:
        choose: picks the site among the source's.

    Returns:
        The store and the site's name in it.
    """
    folder = cache_folder() / source
    name = choose(demo_sites(source))
    prepare(source, folder / "volumes", folder / "store", [name], workers=1)
    return folder / "store", name
