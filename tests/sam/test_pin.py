# SPDX-License-Identifier: Apache-2.0
"""A pinned file gives the pinned tensors or none, whoever changes it at whatever moment."""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import sha256
from flap_sam.sam.checkpoint import read
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.sam.mapping import is_mapped

SIZE = 70_001  # no multiple of a page
GOOD = {"a": torch.full((SIZE,), 1.0), "b": torch.arange(SIZE, dtype=torch.float32)}
EVIL = {name: -tensor for name, tensor in GOOD.items()}
SUFFIXES = (".pth", ".safetensors")


def by_rename(path: Path, other: Path) -> None:
    other.replace(path)


def by_link(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(other)


def by_writing(path: Path, other: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(other.read_bytes())


def by_emptying(path: Path, _: Path) -> None:
    os.truncate(path, 0)


SWAPS = (by_rename, by_link, by_writing, by_emptying)


def written(folder: Path, suffix: str) -> tuple[Path, Path]:
    """The good file and, as large as it, the one that somebody puts in its place."""
    paths = folder / f"sam{suffix}", folder / f"evil{suffix}"
    for path, tensors in zip(paths, (GOOD, EVIL), strict=True):
        save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    return paths


def disturbed_at(moment: int | None, work, disturb) -> tuple[object, int]:
    """What `work` returns while `disturb` comes at one of its calls and returns, Python's and C's; and their number."""
    count = 0

    def watch(*_: object) -> None:
        nonlocal count
        count += 1
        if count == moment:
            sys.setprofile(None)
            disturb()
            sys.setprofile(watch)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        result = work()
    finally:
        sys.setprofile(before)
    return result, count


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("swap", SWAPS)
@settings(max_examples=60)
@given(share=st.floats(0, 1))
def test_a_file_that_is_swapped_at_any_moment_gives_the_pinned_tensors_or_none(suffix, swap, share):
    with tempfile.TemporaryDirectory() as folder:
        path, other = written(Path(folder), suffix)
        pin = sha256(path)
        _, moments = disturbed_at(None, lambda: read(path, pin), lambda: None)
        with suppress(FlapSamError):
            found, _ = disturbed_at(1 + int(share * (moments - 1)), lambda: read(path, pin), lambda: swap(path, other))
            assert all(torch.equal(found[name], tensor) for name, tensor in GOOD.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("swap", SWAPS)
def test_what_becomes_of_the_file_later_changes_nothing(tmp_path, suffix, swap):
    path, other = written(tmp_path, suffix)
    found = read(path, sha256(path))
    swap(path, other)
    assert all(torch.equal(found[name], tensor) for name, tensor in GOOD.items())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_swap_before_it_is_read_is_refused(tmp_path, suffix):
    path, other = written(tmp_path, suffix)
    pin = sha256(path)
    other.replace(path)
    with pytest.raises(FlapSamError, match=f"its sha256 is {sha256(path)}, the site pins {pin}") as told:
        read(path, pin)
    assert told.value.reason == Reason.CHECKPOINT


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_pinned_tensors_are_mapped_from_a_file_that_has_no_name(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path, _ = written(tmp_path, suffix)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    found = read(path, sha256(path))
    assert all(is_mapped(tensor, "(deleted)") for tensor in found.values())
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_copy_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    path, _ = written(tmp_path, ".pth")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(FlapSamError, match=r"sam\.pth cannot be copied to .*nowhere .*TMPDIR") as told:
        read(path, sha256(path))
    assert told.value.reason == Reason.CHECKPOINT
