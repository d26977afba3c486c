# SPDX-License-Identifier: Apache-2.0
"""Every extra: what is installed with it, who needs it, and the sentence where it is not there."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from flap_sam.commands.main import app
from flap_sam.config.job import Job
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError, Reason
from flap_sam.experiments.simulate import simulate as run_simulation
from flap_sam.export import onnx as onnx_export
from flap_sam.foundation.extras import MODULES, require
from flap_sam.gate.agreement import FILE_NAME, Agreement, Privacy
from flap_sam.inference.scans import scans_at
from flap_sam.secure import shamir
from packaging.requirements import Requirement
from typer.testing import CliRunner

from tests.data.dicom import write_series

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NEEDS = [(extra, module) for extra, modules in MODULES.items() for module in modules]


def command(*words: str) -> None:
    result = CliRunner().invoke(app, [*words], catch_exceptions=True)
    raise result.exception


def report(folder: Path) -> None:
    command("report", str(folder))


def compare(folder: Path) -> None:
    command("compare", "--out", str(folder / "out"))


def simulate(folder: Path) -> None:
    run_simulation(Job.read(ROOT / "jobs/flap_sam_kits"), folder / "work", 2)


def agreement(folder: Path) -> None:
    privacy = Privacy(clip=1.0, noise_multiplier=1.0, epsilon=1.0, delta=1e-5, slices=10)
    limits = {"largest_update": 1.0, "largest_payload": 1.0, "runs": 1, "repeats": 0, "evaluations": 1}
    asked = Agreement(experiments=(), metrics=(), privacy=privacy, **limits)
    (folder / FILE_NAME).write_text(asked.to_json())
    Agreement.read(folder)


def series(folder: Path) -> None:
    scans_at(folder / "ct")


def one_slice(folder: Path) -> None:
    read_volume(sorted((folder / "ct").iterdir())[0])


def metaimage(folder: Path) -> None:
    read_volume(folder / "scan.mha")


def nrrd(folder: Path) -> None:
    read_volume(folder / "scan.nrrd")


def masked(_: Path) -> None:
    shamir.split(bytes(16), 2, 3)


def restored(_: Path) -> None:
    shamir.restore({1: bytes(16), 2: bytes(16)}, 2)


def onnx(folder: Path) -> None:
    onnx_export.write(None, {}, folder / "onnx")  # looked at before the model


USES = {
    "report": (report, compare),
    "tensorboard": (simulate,),
    "privacy": (agreement,),
    "masked": (masked, restored),
    "dicom": (series, one_slice),
    "itk": (metaimage, nrrd),
    "onnx": (onnx,),
}


def test_the_extras_are_those_of_the_package_and_all_has_every_one():
    assert EXTRAS.keys() - {"all"} == MODULES.keys() == USES.keys()
    [everything] = map(Requirement, EXTRAS["all"])
    assert everything.extras == MODULES.keys()


@pytest.mark.parametrize(("extra", "module"), NEEDS)
def test_an_extra_installs_the_modules_that_it_is_asked_for(extra, module):
    names = {plain(Requirement(line).name) for line in EXTRAS[extra]}
    assert names & set(map(plain, packages_distributions()[module]))
    require(extra, "This test")


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("extra", "use"), [(extra, use) for extra, uses in USES.items() for use in uses])
def test_what_lacks_an_extra_says_in_one_sentence_what_to_install(extra, use, tmp_path, monkeypatch):
    write_series(tmp_path / "ct", np.zeros((8, 9, 3), np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    for module in MODULES[extra]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(FlapSamError) as refusal:
                use(tmp_path)
        sentence = str(refusal.value)
        assert f" needs {module}, which this environment lacks; run pip install 'flap-sam[{extra}]'." in sentence


@pytest.mark.slow
def test_no_module_but_those_of_the_report_needs_an_extra_to_be_imported():
    """torch itself needs jinja2; what is left is all that a site and a server run."""
    blocked = {module for modules in MODULES.values() for module in modules} - {"jinja2"}
    code = f"""
import sys
from importlib import import_module
from pkgutil import walk_packages
sys.modules |= dict.fromkeys({sorted(blocked)})
import flap_sam
drawn = ("flap_sam.report", "flap_sam.commands.comparison", "flap_sam.federation.kits.policies")
for found in walk_packages(flap_sam.__path__, "flap_sam.", onerror=lambda name: None):
    if not found.name.startswith(drawn):
        import_module(found.name)
        print(found.name)
import flap_sam.report.closing  # which ends every run
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) > 100


def test_a_site_without_the_accountant_says_that_its_agreement_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(FlapSamError) as refusal:
        agreement(tmp_path)
    assert refusal.value.reason is Reason.AGREEMENT
