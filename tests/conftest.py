# SPDX-License-Identifier: Apache-2.0
"""What several tests need: a small experiment, a small store, both odd in shape."""

import gc
import os
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.manifest import Draft, Manifest, Recipe
from flap_sam.data.store import ARRAYS, write_case, write_manifest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
os.environ["OMP_NUM_THREADS"] = "1"  # the networks are small: more threads only get in each other's way
torch.set_num_threads(1)
for interruption, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(interruption) is signal.SIG_IGN:  # after a shell's `nohup` or `&`, and so in every child
        signal.signal(interruption, usual)

RECIPE = Recipe(
    source="made",
    classes=("organ", "lesion"),
    any_label=False,
    minimum_side=0,
    intensity=SiteIntensity(low=0.0, high=1.0, mean=0.5, std=0.2),
)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests (`make test`), each takes whole files, and one takes all on running kits.

    What takes long begins first, so that the processes end together.
    """
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        group = "kits" if "federation" in item.fixturenames else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: "slow" not in item.keywords)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves a run's state in the user's home, or waits for a disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("FLAP_SAM_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def small() -> Experiment:
    """Two classes on 2 x 2 tokens; a step takes milliseconds."""
    return Experiment(
        backbone="vit_tiny",
        image_size=32,
        rank=4,
        augmentation="none",
        rounds=2,
        batch_size=3,
        learning_rate=2e-3,
        warmup_steps=0,
        seed=7,
    )


def write_site(store: Path, site: str, splits: dict[str, list[tuple[int, int, int]]], seed: int = 0) -> None:
    """A site whose organ is a bright box with a brighter corner, the second class; the second slice has neither."""
    rng = np.random.default_rng([seed, *site.encode()])
    cases = []
    for split, shapes in splits.items():
        for shape in shapes:
            label = np.zeros(shape, np.uint8)
            rows, columns = shape[1] // 4, shape[2] // 4
            top, left = rng.integers(1, shape[1] // 2), rng.integers(1, shape[2] // 2)
            label[:, top : top + rows, left : left + columns] = 1
            label[:, top : top + rows // 2, left : left + columns // 2] = 2
            label[1:2] = 0
            image = 0.2 + 0.3 * label + 0.05 * rng.standard_normal(shape)
            codes = (image.clip(0, 1) * 65535).astype(np.uint16)
            draft = Draft(
                id=f"case_{len(cases)}",
                split=split,
                shape=shape,
                spacing=(3.0, 1.0, 1.0),
                affine=((0, 0, -1.0, 0), (0, -1.0, 0, 0), (3.0, 0, 0, 0), (0, 0, 0, 1.0)),
                original_shape=shape,
                minimum=0.0,
                maximum=1.0,
            )
            cases.append(write_case(store / site / ARRAYS, draft, codes, label, RECIPE))
    write_manifest(store, Manifest(**dict(RECIPE), site=site, cases=tuple(cases)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three sites of unlike size, slice shape and number of slices."""
    return write_store(tmp_path / "store")


def write_store(folder: Path) -> Path:
    """What `store` is, for fixtures that several tests share."""
    write_site(folder, "A", {"train": [(4, 24, 30)], "validation": [(3, 24, 30)], "test": [(7, 24, 30)]})
    write_site(folder, "B", {"train": [(6, 40, 28), (1, 20, 36)], "validation": [(5, 33, 20)], "test": [(2, 40, 28)]})
    write_site(folder, "C", {"train": [(3, 30, 30)], "test": [(6, 30, 30), (1, 17, 19)]})
    return folder
