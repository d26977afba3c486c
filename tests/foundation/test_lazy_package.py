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


STEP = """
import sys
import numpy, torch
import flap_sam.federation.executor
from flap_sam.config.experiment import Experiment
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.team import ALONE
from flap_sam.training.trainer import Trainer
from flap_sam.training.step import backward_by_window

class Noise:
    def __len__(self): return 2
    def batch(self, *_): return torch.rand(2, 5, 32, 32), torch.zeros(2, 5, 32, 32, dtype=torch.uint8)

experiment = Experiment(backbone="vit_tiny", image_size=32, rank=4, augmentation="none", batch_size=2)
network, experiment, _ = network_for(experiment, None)
trainer = Trainer(network, experiment, Noise(), torch.device("cpu"), "float32")
for step in (trainer._backward, backward_by_window):
    step(network, *Noise().batch(), ALONE, 1.0)
trainer._optimizer.step()
trainer._optimizer.zero_grad()
heavy = ("torchvision", "torch._dynamo", "sympy", "scipy", "pydicom", "monai", "requests")
print([name for name in heavy if name in sys.modules])
"""


def test_a_step_of_training_imports_no_compiler() -> None:
    """torch's compiler and its algebra take a process longer to import than a small site's round takes."""
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
