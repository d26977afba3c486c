# SPDX-License-Identifier: Apache-2.0
"""Commands that are interrupted: nothing is lost, nothing is left running, and the same command goes on."""

import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.commands.main import app
from flap_sam.config.job import Job
from flap_sam.errors import FlapSamError
from flap_sam.experiments.alone import train
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE
from flap_sam.wire import payload
from typer.testing import CliRunner, Result

from tests.conftest import write_site
from tests.integration.interrupted import contents, running, small_disk
from tests.integration.test_simulator import environment, staged

pytestmark = pytest.mark.slow

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rank": 4, "rounds": 4, "batch_size": 2, "backbone": "vit_tiny"}
CHANGES = [f"--set={name}={value}" for name, value in QUICK.items()]
SITES, CASES = "AB", 6
ENDINGS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9}


@dataclass(frozen=True)
class World:
    """What all runs of this module work on: raw volumes, a store of two sites and a payload trained on them."""

    raw: Path
    store: Path
    payload: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    names = [(site, f"{site}{n}") for site in SITES for n in range(CASES)]
    for _, name in names:
        label = np.zeros((80, 80, 12), np.uint8)
        label[20:40, 20:40, 3:9], label[25:30, 25:30, 4:7] = 1, 2
        for kind, array in (("images", rng.integers(0, 1000, label.shape).astype(np.int16)), ("labels", label)):
            path = folder / "raw" / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    lines = [f"{name},{site},{'test' if name.endswith('5') else 'train'}\n" for site, name in names]
    (folder / "raw/sites.csv").write_text("case,site,split\n" + "".join(lines))
    (folder / "raw/classes.txt").write_text("organ\nlesion\n")
    for site in SITES:
        write_site(folder / "store", site, {"train": [(3, 24, 30)], "validation": [(2, 24, 30)], "test": [(2, 24, 30)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAP_SAM_DATA", str(folder / "store"))
        patch.setenv("FLAP_SAM_DEVICE", "cpu")
        out = train(Job.read(JOB).experiment(QUICK), folder / "run", policy=Job.read(JOB).policy)
    return World(folder / "raw", folder / "store", out / PAYLOAD_FILES[FINAL])


@dataclass(frozen=True)
class Command:
    """A command as the tests run it.

    Args:
        words: of the command that makes a folder from the world.
        half_done: a file in the folder, by pattern, that is there in the middle of the work.
        result: what stands in the folder in the end, without what differs between two runs.
    """

    words: Callable[[World, Path], list[object]]
    half_done: str
    result: Callable[[Path], object] = contents


def results(out: Path) -> object:
    """The results of a run by what does not tell the time."""
    files = [payload.read(out / PAYLOAD_FILES[kind]) for kind in (FINAL, BEST)]
    numbers = [{name: tensor.numpy().tobytes() for name, tensor in file.tensors.items()} for file in files]
    notes = [file.notes | {"run": None} for file in files]  # its name tells when it began
    return sorted(contents(out)), numbers, notes, (out / TEST_DICE).read_bytes()


def cells(out: Path) -> object:
    """The results of a comparison's cells."""
    return sorted(contents(out)), {path.parent.name: results(path.parent) for path in out.glob(f"*/{TEST_DICE}")}


COMMANDS = {
    "prepare": Command(
        lambda world, out: ["prepare", "pairs", "--source", world.raw, "--out", out, "--workers", "2"],
        "B/arrays/*.image.npy",
    ),
    "train": Command(
        lambda _, out: ["train", JOB, "--out", out, "--setting", "centralized", *CHANGES],
        PAYLOAD_FILES[BEST],
        results,
    ),
    "compare": Command(
        lambda _, out: ["compare", JOB, "--out", out, "--settings", "local", *CHANGES],
        f"local_B*/{PAYLOAD_FILES[BEST]}",
        cells,
    ),
    "predict": Command(
        lambda world, out: [
            *("predict", "--payload", world.payload, "--input", world.raw / "images", "--output", out),
            *("--site", "A", "--clip", "0", "1000"),
        ],
        "A3_mask.nii.gz",
    ),
}


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Callable[[str], object]:
    """The result of a command that nothing interrupts, by its name."""
    known: dict[str, object] = {}

    def of(name: str) -> object:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            finish(name, world, folder / "out")
            known[name] = COMMANDS[name].result(folder / "out")
        return known[name]

    return of


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, of a short path: that of a socket has a limit."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def settings(world: World, folder: Path, temporary: Path) -> dict[str, str]:
    own = {"FLAP_SAM_DATA": str(world.store), "FLAP_SAM_DEVICE": "cpu", "TMPDIR": str(temporary)}
    return environment(folder, **own)


def finish(name: str, world: World, out: Path) -> str:
    """Run a command to its end, in this process; its output."""
    ended = invoke(name, world, out)
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


def invoke(name: str, world: World, out: Path) -> Result:
    words = [str(word) for word in COMMANDS[name].words(world, out)]
    return CliRunner().invoke(app, words, env={"FLAP_SAM_DATA": str(world.store), "FLAP_SAM_DEVICE": "cpu"})


def complete(out: Path) -> dict[str, bytes]:
    """The files under final names, but for locks."""
    return {name: content for name, content in contents(out).items() if not name.endswith((".partial", ".lock"))}


CHOSEN = [
    *(("prepare", "SIGINT"), ("prepare", "child"), ("train", "SIGKILL"), ("compare", "SIGHUP")),
    *(("predict", "SIGTERM"), ("predict", "SIGKILL")),
]
"""Others end like these: a signal is handled in one place for all commands."""


@pytest.mark.parametrize(("name", "kind"), CHOSEN, ids=lambda word: word)
def test_an_interrupted_command_goes_on(world, whole, tmp_path, temporary, name, kind):
    command, out = COMMANDS[name], tmp_path / "out"
    with running(command.words(world, out), settings(world, tmp_path, temporary)) as run:
        run.until(lambda: list(out.glob(command.half_done)))
        before = complete(out)
        if kind == "child":
            run.kill("spawn_main")
        else:
            run.send(getattr(signal, kind))
        status, told = run.end()
    assert "Traceback" not in told
    if kind == "child":
        assert (status, told.count("flap-sam: ")) == (1, 1)
    else:
        assert status == ENDINGS[kind]
        assert (f"flap-sam: interrupted by {kind}" in told) == (kind != "SIGKILL")
    assert not list(temporary.iterdir())
    after = complete(out)
    kept = [file for file in before if not file.endswith((".jsonl", ".md"))]
    assert kept
    assert all(after[file] == before[file] for file in kept)
    finish(name, world, out)
    assert command.result(out) == whole(name)


ROOM = {"prepare": 2_000_000, "train": 900_000, "compare": 1_500_000, "predict": 400_000}


@pytest.mark.parametrize("name", ROOM)
def test_a_full_disk_is_one_sentence_and_no_loss(world, whole, tmp_path, name):
    disk = tmp_path / "disk"
    with small_disk(disk, ROOM[name]) as enlarge:
        told = refused(name, world, disk / "out")
        assert re.search(rf"{disk}/\S+ cannot be written \(.*(No space left|requested and \d+ written)", told), told
        assert not list(disk.rglob("*.partial"))
        enlarge()
        finish(name, world, disk / "out")
        assert COMMANDS[name].result(disk / "out") == whole(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_is_one_sentence(world, tmp_path, name):
    (tmp_path / "file").touch()
    assert re.search(
        rf"{tmp_path}/file/out\S* cannot be written \(.*Not a directory", refused(name, world, tmp_path / "file/out")
    )


def refused(name: str, world: World, out: Path) -> str:
    """What a command says that fails in a way that is foreseen."""
    ended = invoke(name, world, out)
    assert ended.exit_code == 1
    assert isinstance(ended.exception, FlapSamError | SystemExit), ended.exception
    return f"{ended.output}\n{ended.exception}"


def test_a_simulation_whose_site_is_killed_ends_with_a_sentence(world, tmp_path, temporary):
    job = staged("flap_sam_nifti", tmp_path, **QUICK)
    words = ["simulate", job, "--sites", "2", "--work", tmp_path / "work"]
    with running(words, settings(world, tmp_path, temporary)) as run:
        run.until(lambda: list((tmp_path / "state").glob("*/server/round_00001.sha256")))
        run.kill("-m nvflare.private.fed.app.simulator.simulator_worker")
        status, told = run.end(90)
    assert status == 1
    assert "Traceback" not in told
    assert "flap-sam: The simulation failed: The run stops: 2 sites are needed, 1 count; site-" in told
    assert told.rstrip().endswith("its process has ended.")
    assert not list(temporary.iterdir())
