# SPDX-License-Identifier: Apache-2.0
"""Two jobs on running kits, one of which has a GPU: the hospital gives it to one after the other, all train."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.deployment.federation import FINISHED, HOSPITALS, SECONDS, SERVER, Federation, copy_of, run

pytestmark = pytest.mark.slow

WITH_GPU = "hospital-a"
NVIDIA_SMI = """#!/bin/sh
case "$1" in
--query-gpu=index) printf 'index\\n0\\n' ;;
*) printf 'memory [MiB]\\n81559 MiB\\n' ;;
esac
"""


@pytest.fixture(scope="module")
def with_a_gpu(tmp_path_factory: pytest.TempPathFactory, staged: Path) -> Iterator[Federation]:
    """A federation whose server runs two jobs at a time, on a machine whose `nvidia-smi` lists one GPU."""
    folder = tmp_path_factory.mktemp("gpus")
    (folder / "bin").mkdir()
    (folder / "bin/nvidia-smi").write_text(NVIDIA_SMI)
    (folder / "bin/nvidia-smi").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder / "bin"), prepend=":")
        running = Federation(folder, [staged])
        run("flap-sam", "kit", running.kits / WITH_GPU, "--gpus", 1)
        resources = running.kits / SERVER / "local/resources.json"
        said = json.loads(resources.read_text())
        (scheduler,) = (part for part in said["components"] if part["id"] == "job_scheduler")
        scheduler["args"]["max_jobs"] = 2
        resources.write_text(json.dumps(said))
        with running.at_work():
            yield running


def seen(kits: Path) -> Iterator[tuple[str, str, str]]:
    """Hospital, job and visible GPUs of every job's process of these kits."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if "nvflare.private.fed.app.client.worker_process" in words and any(str(kits) in word for word in words):
                variables = (folder / "environ").read_bytes().decode().split("\0")
                given = [text.partition("=")[2] for text in variables if text.startswith("CUDA_VISIBLE_DEVICES=")]
                yield words[words.index("-c") + 1], words[words.index("-n") + 1], *(given or ["none"])


def test_a_gpu_is_one_jobs_until_it_ends(with_a_gpu: Federation, staged: Path, tmp_path: Path):
    everywhere = []
    for name in ("first", "second"):
        job = copy_of(staged, tmp_path / name)
        meta = json.loads((job / "meta.json").read_text()) | {"min_clients": len(HOSPITALS)}
        (job / "meta.json").write_text(json.dumps(meta))
        everywhere.append(with_a_gpu.submit(job))
    found: set[tuple[str, str, str]] = set()
    end = time.monotonic() + 2 * SECONDS
    while not all(with_a_gpu.status(job).startswith("FINISHED") for job in everywhere):
        assert time.monotonic() < end, found
        now = set(seen(with_a_gpu.kits))
        assert len({job for hospital, job, _ in now if hospital == WITH_GPU}) <= 1
        found |= now
        time.sleep(0.5)
    assert [with_a_gpu.status(job) for job in everywhere] == [FINISHED, FINISHED]
    assert found == {(name, job, "0" if name == WITH_GPU else "none") for name in HOSPITALS for job in everywhere}
