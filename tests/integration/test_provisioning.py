# SPDX-License-Identifier: Apache-2.0
"""The package from its wheel, with nothing of the repository but `provisioning/project.yml`, makes and fills kits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.config.job_files import write
from flap_sam.config.run_policy import RunPolicy
from flap_sam.federation.kits.policy import LOCK, POLICIES
from flap_sam.gate.agreement import Agreement

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SOURCES = ("custom/flap_sam", "pyproject.toml", "README.md", "LICENSE", "requirements-core.txt")
SECONDS = 120
HOSPITALS = [f"hospital-{letter}" for letter in "abcdef"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package's wheel, built from a copy of its sources."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (source / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    house = tmp_path_factory.mktemp("wheelhouse")
    words = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*words, "--wheel-dir", house], check=True, capture_output=True, timeout=SECONDS)
    return house


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Path:
    """The wheel as pip lays it out."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = wheelhouse.glob("flap_sam-*.whl")
    ZipFile(wheel).extractall(folder)
    return folder


def run(folder: Path, installed: Path, *words: object) -> str:
    """What a command says in a folder, ended without an error, of the installed package alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FLAP_SAM_", "NVFL"))}
    command = [str(word) for word in (BIN / str(words[0]), *words[1:])]
    environment = {**clean, "PYTHONPATH": str(installed), "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory, installed: Path, wheelhouse: Path) -> Path:
    """What `nvflare provision` makes in a folder of its own, the wheels named in `project.yml`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    project = (ROOT / "provisioning/project.yml").read_text()
    assert "wheelhouse: null" in project
    (folder / "project.yml").write_text(project.replace("wheelhouse: null", f"wheelhouse: {wheelhouse}"))
    run(folder, installed, "nvflare", "provision", "-p", "project.yml", "-w", "kits", "--force")
    return folder / "kits/flap_sam/prod_00"


def test_the_commands_run_the_wheels_package(tmp_path, installed):
    found = run(tmp_path, installed, "python", "-c", "import flap_sam; print(flap_sam.__file__)")
    assert Path(found.strip()) == installed / "flap_sam/__init__.py"


def test_every_file_of_the_package_is_in_its_wheel(installed):
    def files(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}

    assert files(installed / "flap_sam") == files(ROOT / "custom/flap_sam")


def test_the_kits_hold_the_policies_and_pin_the_wheel(kits, wheelhouse):
    (wheel,) = wheelhouse.iterdir()
    for hospital in HOSPITALS:
        for shipped in (POLICIES / "site").glob("*.json"):
            place = kits / hospital / ("" if shipped.name == "comm_config.json" else "local")
            assert (place / shipped.name).read_bytes() == shipped.read_bytes()
    for kit in (*HOSPITALS, "localhost"):
        assert (kits / kit / LOCK).read_text().startswith(f"flap_sam=={wheel.name.split('-')[1]} --hash=sha256:")


def test_no_hospital_streams_its_logs(kits):
    assert sorted(kit.name for kit in kits.glob("hospital-*")) == HOSPITALS
    for hospital in HOSPITALS:
        for name in ("resources.json", "resources.json.default"):
            assert json.loads((kits / hospital / "local" / name).read_text())["allow_log_streaming"] is False


def test_a_hospital_fills_in_its_kit_from_any_folder(kits, installed, tmp_path):
    job = write(tmp_path / "job", Experiment(rank=4), RunPolicy()).folder
    run(tmp_path, installed, "flap-sam", "stage", job, "--out", "staged")
    kit = kits / "hospital-a"
    told = run(tmp_path, installed, "flap-sam", "kit", kit, "--job", "staged", "--set", "name=A", "--gpus", 2)
    assert Experiment(rank=4).digest()[:12] in told
    assert Agreement.read(kit / "local").experiments == (Experiment(rank=4),)
    resources = json.loads((kit / "local/resources.json").read_text())
    (manager,) = (part for part in resources["components"] if part["id"] == "resource_manager")
    assert manager["args"]["num_of_gpus"] == 2
    assert json.loads((kit / "local/flap_site.json").read_text())["name"] == "A"
