# SPDX-License-Identifier: Apache-2.0
"""A package whose modules come without what its `__init__` imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from flap_sam.foundation.lazy_package import without_init

INIT = "import sys\nsys.ran = getattr(sys, 'ran', 0) + 1\nfrom heavy_package.part import four\nfive = four + 1\n"


def ran(code: str, folder: Path) -> str:
    """What a fresh Python prints that runs the code where the folder's packages are found."""
    command = f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom flap_sam.foundation.lazy_package import *\n{code}"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "heavy_package").mkdir()
    (tmp_path / "heavy_package" / "__init__.py").write_text(INIT)
    (tmp_path / "heavy_package" / "part.py").write_text("four = 4\n")
    return tmp_path


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("from heavy_package.part import four; print(four, hasattr(sys, 'ran'))", "4 False"),
        ("import heavy_package.part; print(heavy_package.five, heavy_package.part.four, sys.ran)", "5 4 1"),
        ("import heavy_package; print(heavy_package.five, heavy_package.five, sys.ran)", "5 5 1"),
        ("from heavy_package import five, part; print(five, part.four, sys.ran)", "5 4 1"),
        ("import heavy_package; print(hasattr(heavy_package, 'six'), sys.ran)", "False 1"),
    ],
)
def test_an_init_runs_once_and_only_when_the_package_is_asked(folder: Path, code: str, printed: str) -> None:
    assert ran(f"without_init('heavy_package')\n{code}", folder) == printed


def test_a_package_that_is_there_already_is_left_alone(folder: Path) -> None:
    assert (
        ran("import heavy_package\nwithout_init('heavy_package')\nprint(heavy_package.five, sys.ran)", folder) == "5 1"
    )


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        without_init("no_such_package")


@pytest.mark.parametrize("module", ["sam.build", "federation.executor", "federation.controller", "inference.predict"])
def test_what_is_not_used_is_not_imported(module: str) -> None:
    """Nor when a network is made, which torch's meta device would import its compiler for."""
    code = (
        f"import sys, flap_sam.{module}\n"
        "from flap_sam.config.experiment import Experiment\n"
        "from flap_sam.sam.build import build\n"
        "for adapter in ('lora', 'dora', 'mole'): build(Experiment(backbone='vit_tiny', adapter=adapter))\n"
        "build(Experiment(backbone='vit_tiny', method='masam'))\n"
        "heavy = ('torchvision', 'torch._dynamo', 'sympy', 'monai', 'matplotlib', 'tensorboard')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
