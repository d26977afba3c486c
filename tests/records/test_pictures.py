# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.data.picture import CLASS_COLOURS
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.records.pictures import EACH, FOLDER, Gallery, pictures_below, read
from flap_sam.training.evaluate import score
from flap_sam.training.participant import Assignment, Participant
from PIL import Image

from tests.training.networks import Threshold

SPACING = (3.0, 1.0, 2.0)


def add(gallery: Gallery, dice: tuple, slices: int = 4) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (slices, 20, 30), np.uint16)
    truth = np.zeros((slices, 20, 30), np.uint8)
    truth[1, 5:15, 5:15] = 1
    gallery.add(image, truth, np.roll(truth, 6, axis=2), SPACING, dice)


def test_the_best_and_the_worst_are_kept_the_best_first(tmp_path):
    gallery = Gallery(tmp_path / "site-1" / FOLDER, "site-1", ["kidney", "tumour"], 7)
    for value in (0.5, 0.1, 0.9, 0.3, 0.7, 0.8):
        add(gallery, (value, None))
    add(gallery, (None, None))
    gallery.write()
    found = [read(path)[0] for path in pictures_below(tmp_path, 7)]
    assert [caption.dice for caption in found] == [[0.9, None], [0.8, None], [0.3, None], [0.1, None]]
    assert {(c.site, c.round, c.slice, c.slices, tuple(c.classes)) for c in found} == {
        ("site-1", 7, 2, 4, ("kidney", "tumour"))
    }
    assert pictures_below(tmp_path, 6) == []


@pytest.mark.parametrize("cases", range(1, 2 * EACH))
def test_few_cases_are_shown_once_each(tmp_path, cases):
    gallery = Gallery(tmp_path / FOLDER / "A", "A", ["organ"], 1)
    for number in range(cases):
        add(gallery, (number / 10,))
    gallery.write()
    assert [read(path)[0].mean for path in pictures_below(tmp_path, 1)] == [n / 10 for n in reversed(range(cases))]


def test_the_truth_is_filled_and_the_prediction_outlined(tmp_path):
    gallery = Gallery(tmp_path / FOLDER, "A", ["organ"], 1)
    add(gallery, (0.5,))
    gallery.write()
    with Image.open(pictures_below(tmp_path, 1)[0]) as picture:
        pixels = np.asarray(picture)
    line = pixels[len(pixels) // 2].tolist()
    edges = [x for x, pixel in enumerate(line) if tuple(pixel) == CLASS_COLOURS[0]]
    step = len(line) / 30
    assert edges[0] == pytest.approx(11 * step, abs=1.5), "the prediction lies 6 columns to the side"
    assert edges[-1] == pytest.approx(21 * step, abs=1.5)
    assert len(set(line[round(7 * step)])) == 3, "the truth is tinted"
    assert len(set(line[round(18 * step)])) == 1, "inside the prediction alone the picture stays grey"


def test_scoring_takes_a_picture_of_every_case_of_the_split(small, store, tmp_path):
    site = SiteStore.open(store, "C")
    gallery = Gallery(tmp_path / FOLDER, "C", site.manifest.classes, 0)
    scores = score(Threshold(), site, "test", small, torch.device("cpu"), "float32", gallery=gallery)
    gallery.write()
    captions = [read(path)[0] for path in pictures_below(tmp_path, 0)]
    assert sorted(c.dice for c in captions) == sorted(list(s.dice) for s in scores if any(s.dice))
    everything = b"".join(path.read_bytes() for path in pictures_below(tmp_path, 0))
    assert b"case_" not in everything, "no case's name is in a picture"


@pytest.mark.parametrize(
    ("pictures", "demo", "shown"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_site_draws_its_cases_only_if_it_says_so_or_they_are_drawn_anyway(
    small, store, tmp_path, pictures, demo, shown
):
    site = Site(data=store, device="cpu", state=tmp_path, pictures=pictures)
    participant = Participant(small, site, Assignment((SiteStore.open(store, "A"),), demo), "site-1", "run")
    assert (participant.gallery(tmp_path, 0) is not None) == shown


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_picture_of_ours_is_one_sentence(tmp_path, content):
    path = tmp_path / FOLDER / "round_00001_1.png"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FlapSamError, match=r"Picture .* cannot be read"):
        read(path)
    Image.new("RGB", (3, 3)).save(path)
    with pytest.raises(FlapSamError, match=r"Picture .* cannot be read"):
        read(path)
