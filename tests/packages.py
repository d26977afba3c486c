# SPDX-License-Identifier: Apache-2.0
"""Small packages of others, laid where Python finds them as if they were installed."""

from pathlib import Path

DAMPED = """
from flap_sam.lowrank.aggregate import DenseSum
from flap_sam.lowrank.strategies import LayerGroup, Merged, Svd, Total


class Damped(Svd):
    def merge(self, group: LayerGroup, total: Total) -> Merged:
        return super().merge(group, DenseSum(0.5 * total.dense()))
"""


def install(folder: Path, package: str, code: str, strategies: dict[str, str]) -> Path:
    """A package of one module of its name in a folder, with its entry points: strategies by name as `module:Class`."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(code)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"{name} = {place}\n" for name, place in strategies.items())
    (about / "entry_points.txt").write_text(f"[flap_sam.strategies]\n{points}")
    return folder
