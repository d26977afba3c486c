# SPDX-License-Identifier: Apache-2.0
"""The pages of the tutorial that are written in Python, run as a reader runs them, from the first to the last."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.records import round_log
from flap_sam.wire import payload
from safetensors import safe_open
from safetensors.torch import load_file

TUTORIAL = Path(__file__).parents[1] / "docs/tutorial"
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


class Block(NamedTuple):
    """A block of code of a page; `file` is where a reader writes it, where the page says so."""

    language: str
    file: str
    code: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall((TUTORIAL / f"{page}.md").read_text())]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """Runs pages in one folder, each once: files written, commands called, the Python of a page as one script.

    pip works as a reader's, but for a network, and into a folder of its own.
    """
    folder = tmp_path_factory.mktemp("tutorial")
    installed = folder / "installed"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLAP_SAM_")}
    paths = [str(installed), *filter(None, [clean.get("PYTHONPATH")])]
    clean |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    clean |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    clean |= {"PIP_TARGET": str(installed), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    said: dict[str, str] = {}

    def call(words: list[str]) -> str:
        run = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, timeout=500, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def script(page: str) -> list[str]:
        code = [block.code for block in blocks(page) if block.language == "python" and not block.file]
        (folder / f"{page}.py").write_text("\n".join(code))
        return [sys.executable, f"{page}.py"]

    def read(page: str) -> tuple[Path, str]:
        if page not in said:
            for block in (block for block in blocks(page) if block.file):
                (folder / block.file).parent.mkdir(exist_ok=True)
                (folder / block.file).write_text(block.code)
            commands = [["bash", "-ec", block.code] for block in blocks(page) if not block.language]
            order = [*commands, script(page)] if any(b.file for b in blocks(page)) else [script(page), *commands]
            said[page] = "".join(call(words) for words in order)
        return folder, said[page]

    return read


def test_every_block_is_of_a_kind_that_is_run():
    pages = sorted(TUTORIAL.glob("python-*.md"))
    assert len(pages) == 4
    for page in pages:
        found = blocks(page.stem)
        assert len(found) == page.read_text().count("\n```") / 2, page
        assert all(block.language in ("python", "") or block.file for block in found), page


def test_the_store_is_what_the_page_says(read):
    folder, said = read("python-prepare")
    assert [line for line in said.splitlines() if line.endswith("training slices")] == [
        "A ('organ',) 12 training slices",
        "B ('organ',) 12 training slices",
    ]
    assert said.count("test: ") == said.count("validation: ") == 2
    assert (folder / "doctor/contact_sheet.png").stat().st_size > 1000


def test_the_federation_runs_and_is_compared_with_a_site_alone(read):
    read("python-prepare")
    folder, said = read("python-simulate")
    assert "expected one of svd, factor-average, freeze-a, residual" in said
    assert re.findall(r"^round (\d): loss", said, flags=re.MULTILINE) == ["0", "1"]
    assert len(re.findall(r"^site-[12]: Dice \d", said, flags=re.MULTILINE)) == 2
    assert len(re.findall(r"^A alone, on the test case of [AB]: Dice \d", said, flags=re.MULTILINE)) == 2
    assert list(round_log.read(folder / "alone")[-1].sites) == ["A"]


def test_the_scan_is_segmented_on_its_own_grid(read):
    for page in ("python-prepare", "python-simulate"):
        read(page)
    folder, said = read("python-segment")
    assert "(32, 32, 6) uint8 {'organ': " in said
    assert len(re.findall(r"^case_[67]: \(32, 32, 6\), organ at most [01]\.\d\d$", said, flags=re.MULTILINE)) == 2
    assert (folder / "mask.nii.gz").exists()


def test_a_strategy_of_another_package_is_found_in_the_processes_of_flare(read):
    for page in ("python-prepare", "python-simulate"):
        read(page)
    folder, said = read("python-strategy")
    assert "written: ['global_best.safetensors', 'global_final.safetensors']" in said
    runs = {name: folder / name / "flap_sam/server/simulate_job/results" for name in ("work", "work_damped")}
    files = {name: run / "global_final.safetensors" for name, run in runs.items()}
    settings = {name: experiment_of(file) for name, file in files.items()}
    assert settings["work_damped"] == settings["work"] | {"strategy": "damped"}
    norms = {name: norm(load_file(file)) for name, file in files.items()}
    assert 0 < norms["work_damped"] < norms["work"]
    with pytest.raises(FlapSamError, match="strategy is 'damped'; expected one of svd"):
        payload.read(files["work_damped"])  # this process does not have the package
    losses = {name: [record.loss for record in round_log.read(run)] for name, run in runs.items()}
    assert losses["work_damped"][0] == losses["work"][0], "the first round trains from the same start"
    assert losses["work_damped"][1] != losses["work"][1]
    record = json.loads((runs["work_damped"] / "run.json").read_text())
    assert len(record["attempts"][0]["sites"]) == 2


def experiment_of(file: Path) -> dict:
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["experiment"])


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Of all changes B A together."""
    pairs = [(tensors[name[:-1] + "B"], tensors[name]) for name in tensors if name.endswith(".A")]
    return float(np.sqrt(sum((b @ a).square().sum().item() for b, a in pairs)))
