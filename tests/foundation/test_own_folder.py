# SPDX-License-Identifier: Apache-2.0
"""A command deletes what it has made, and nothing else."""

import ast
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import flap_sam
import pytest
from flap_sam.commands.comparison import published
from flap_sam.config.job import Job
from flap_sam.data import store as stores
from flap_sam.errors import FlapSamError
from flap_sam.experiments import alone, compare
from flap_sam.experiments.plan import Grid, Plan
from flap_sam.federation import environment
from flap_sam.foundation.lock import NAME, locked
from flap_sam.foundation.own_folder import MARK, fresh, new_folder
from flap_sam.records.results import TEST_DICE
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.training import embeddings

PACKAGE = Path(flap_sam.__file__).parent
JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
DELETES = {"rmtree", "unlink", "rmdir", "removedirs", "remove_tree", "rename", "renames", "move", "copyfile"}
ALLOWED = {
    ("foundation/files.py", "replacing"): "the file that is written, and its .partial",
    ("foundation/files.py", "remove_if_empty"): "empty folders alone",
    ("foundation/own_folder.py", "fresh"): "a marked folder",
    ("foundation/own_folder.py", "new_folder"): "a marked folder, to a name that was free",
    ("foundation/lock.py", "locked"): "the lock file that it holds",
    ("foundation/lock.py", "_sign"): "the lock file that it holds",
    ("foundation/children.py", "_guard"): "temporary folders of its parent",
    ("inference/finished.py", "remove"): "a note of its own",
    ("experiments/alone.py", "_unfinished"): "the files of a run of the same kind that had not closed a round",
    ("experiments/compare.py", "_federate"): "within a fresh folder",
    ("deployment/stage.py", "stage"): "within the copy that it has just made",
    ("data/prepare.py", "run"): "the manifest of an older version of the store",
    ("data/store.py", "settle"): "an array that a preparation has written, to its place",
    ("data/store.py", "_clear"): "arrays and notes by the names of a preparation",
    ("pretraining/pretrain.py", "pretrain"): "the state that it has just written",
    ("training/embeddings.py", "_clear"): "a cache's files by their suffix",
    ("training/embeddings.py", "_remove_unless_used"): "a folder that holds a cache's lock",
    ("training/site_state.py", "save"): "a site's states by their names",
    ("training/site_state.py", "close"): "a site's states by their names",
    ("training/site_state.py", "_forget_claim"): "the note of a site's data",
    ("training/site_state.py", "_forget_training"): "a site's states by their names",
    ("training/together.py", "_run"): "a file in a temporary folder",
    ("secure/state.py", "remove"): "the state of a secure sum, by its run",
    ("secure/state.py", "remove_old"): "states of secure sums, in a folder of their own",
    ("rounds/run_state.py", "save"): "the note that the run is over",
    ("rounds/run_state.py", "_forget"): "the note that a run is over",
    ("rounds/run_state.py", "_keep"): "a run's states by their names",
}


def deletions(path: Path) -> set[str]:
    """Functions of a module that delete, replace or move a file."""

    def deletes(call: ast.Call) -> bool:
        name = getattr(call.func, "attr", None)
        owner = getattr(getattr(call.func, "value", None), "id", None)
        replaces = name == "replace" and (owner == "os" or (len(call.args) == 1 and not call.keywords))
        return name in DELETES or replaces or (name == "remove" and owner == "os")

    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any(isinstance(n, ast.Call) and deletes(n) for n in ast.walk(f))}


def test_every_place_that_deletes_is_known_and_says_why_it_may():
    found = {(str(path.relative_to(PACKAGE)), name) for path in PACKAGE.rglob("*.py") for name in deletions(path)}
    assert found == ALLOWED.keys()


def simulate(tmp_path: Path, job: Job, _) -> Iterator[Path]:
    folder = tmp_path / "work" / JOB.name
    yield folder
    environment.simulate(job.folder, folder.parent, 2, 2)


def compare_cell(tmp_path: Path, job: Job, monkeypatch) -> Iterator[Path]:
    comparison = published(job, tmp_path / "out", Plan([Grid(["centralized"], {})], [1], {}))
    names: list[Path] = []
    monkeypatch.setattr(compare, "fresh", lambda folder: names.append(folder) or stop())
    with pytest.raises(KeyboardInterrupt):
        comparison.run(["centralized"], None, lambda _: None)
    monkeypatch.setattr(compare, "fresh", fresh)
    yield names[0]
    (failure,) = comparison.run(["centralized"], None, lambda _: None)
    raise FlapSamError(failure)


def stop() -> None:
    raise KeyboardInterrupt


def cache(tmp_path: Path, *_) -> Iterator[Path]:
    folder = tmp_path / "state/embeddings/A/other"
    yield folder
    embeddings._remove_unless_used(folder)
    raise FlapSamError("it was made by nobody")


def unfinished_site(tmp_path: Path, *_) -> Iterator[Path]:
    folder = tmp_path / "STORE/A/arrays"
    yield folder
    stores.discard(folder, [])
    raise FlapSamError("it was made by nobody")


def export(tmp_path: Path, *_) -> Iterator[Path]:
    yield tmp_path / "out.partial"
    with new_folder(tmp_path / "out"):
        pass
    raise FlapSamError("it was made by nobody")


@pytest.mark.parametrize("command", [simulate, compare_cell, cache, unfinished_site, export])
@pytest.mark.parametrize("theirs", ["A/manifest.json", "notes.txt", "in/deep/scan.nii.gz"])
def test_a_folder_that_others_have_made_is_not_emptied(tmp_path, store, monkeypatch, command: Callable, theirs):
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    monkeypatch.setattr(environment.SimEnv, "deploy", lambda *_: pytest.fail("FLARE would empty it"))
    going = command(tmp_path, Job.read(JOB), monkeypatch)
    path = next(going) / theirs
    path.parent.mkdir(parents=True)
    path.write_text("a patient's")
    with pytest.raises(FlapSamError, match=r"made by"):
        next(going)
    assert path.read_text() == "a patient's"


def test_a_link_to_a_folder_is_not_emptied_nor_is_a_file(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(FlapSamError, match="is no folder"):
            fresh(tmp_path / name)


def test_what_was_made_is_made_anew(tmp_path):
    (fresh(tmp_path / "made") / "half").mkdir()
    assert [path.name for path in fresh(tmp_path / "made").iterdir()] == [MARK]
    (tmp_path / "empty").mkdir()
    fresh(tmp_path / "empty")


@pytest.mark.parametrize("steps", range(4))
def test_who_is_interrupted_while_a_folder_is_emptied_can_begin_again(tmp_path, monkeypatch, steps):
    folder = fresh(tmp_path / "made")
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / f"{name}.txt").touch()
    left = iter(range(steps))

    def counted(function):
        return lambda path, *words, **more: stop() if next(left, None) is None else function(path, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        patch.setattr(type(tmp_path), "unlink", counted(type(tmp_path).unlink))
        with pytest.raises(KeyboardInterrupt):
            fresh(folder)
    assert [path.name for path in fresh(folder).iterdir()] == [MARK]


def test_a_workspace_is_used_again_until_it_holds_results(tmp_path, monkeypatch):
    deployed = []
    monkeypatch.setattr(environment.SimEnv, "deploy", lambda *_: deployed.append(1))
    workspace = environment.simulate(JOB, tmp_path, 2, 2)
    (workspace / "server").mkdir()
    assert environment.simulate(JOB, tmp_path, 2, 2) == workspace
    (workspace / "server" / TEST_DICE).touch()
    with pytest.raises(FlapSamError, match="holds the results of a finished run"):
        environment.simulate(JOB, tmp_path, 2, 2)
    assert len(deployed) == 2
    assert (workspace / "server" / TEST_DICE).exists()


def test_the_policies_of_a_simulation_may_be_anybodys(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.SimEnv, "deploy", lambda *_: None)
    (tmp_path / JOB.name / "local").mkdir(parents=True)
    assert environment.simulate(JOB, tmp_path, 2, 2)


def test_a_folder_in_use_is_left_alone(tmp_path, store, monkeypatch):
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    job, out = Job.read(JOB), tmp_path / "out"
    comparison = published(job, out, Plan([Grid(["centralized"], {})], [1], {}))
    with locked(out / NAME, "it"), locked(tmp_path / f".{JOB.name}.lock", "it"):
        for command in (
            lambda: alone.train(job.experiment(), out),
            lambda: comparison.run(["centralized"], None, print),
            lambda: environment.simulate(JOB, tmp_path, 2, 2),
        ):
            with pytest.raises(FlapSamError, match=rf"is in use by process {os.getpid()} on \S+ since 2"):
                command()
    assert not (out / ROUND_LOG).exists()


def _interrupted_folder(path):
    with new_folder(path) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt


def test_a_new_folder_that_a_killed_writer_has_left_half_made_goes(tmp_path):
    (fresh(tmp_path / "made.partial") / "half").touch()
    with new_folder(tmp_path / "made") as folder:
        (folder / "whole").touch()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["made", "made/whole"]


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _interrupted_folder(tmp_path / "deep" / "made")
    assert not list((tmp_path / "deep").iterdir())
    with new_folder(tmp_path / "made") as folder:
        (folder / "whole").touch()
        assert not (tmp_path / "made").exists()
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["whole"]
    with pytest.raises(FlapSamError, match="made is there already"), new_folder(tmp_path / "made"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(FlapSamError, match=r"file/made\S* cannot be written"), new_folder(tmp_path / "file" / "made"):
        pass
