# SPDX-License-Identifier: Apache-2.0
"""What holds for every phantom, whatever it draws."""

import hashlib
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.config.job import Job
from flap_sam.data.demo import demo_sites
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.prepare import PHANTOMS, open_source, prepare
from flap_sam.data.store import SiteStore
from flap_sam.data.volumes import read_pair
from flap_sam.errors import FlapSamError

JOBS = sorted(path for path in (Path(__file__).parents[3] / "jobs").iterdir() if path.is_dir())
TINY = PhantomSize(matrix=24, slices=0.1, minimum_slices=4)
SMALL = PhantomSize(matrix=64)
every_phantom = pytest.mark.parametrize("name", PHANTOMS)
every_site = pytest.mark.parametrize(
    ("name", "site"), [(name, site) for name, phantom in PHANTOMS.items() for site in phantom.scanners]
)


def digests(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.gz")}


@pytest.fixture(scope="module", params=PHANTOMS)
def drawn(request, tmp_path_factory):
    """A phantom's name, its first two sites, and the folder into which these were drawn."""
    folder, sites = tmp_path_factory.mktemp(request.param), list(PHANTOMS[request.param].scanners)[:2]
    PHANTOMS[request.param].generate(folder, sites, seed=3, size=TINY)
    return request.param, sites, folder


def test_the_same_seed_gives_the_same_bytes_and_each_site_alone(drawn, tmp_path, monkeypatch):
    name, sites, folder = drawn
    monkeypatch.setattr(time, "time", lambda: 1e9)
    for site in reversed(sites):
        PHANTOMS[name].generate(tmp_path, [site], seed=3, size=TINY)
    assert digests(tmp_path) == digests(folder)
    assert len(digests(folder)) == 2 * sum(len(PHANTOMS[name].cases[site]) for site in sites)


def test_what_is_there_is_left_alone_and_the_rest_made(drawn, tmp_path):
    name, (site, _), folder = drawn
    phantom = PHANTOMS[name]
    phantom.generate(tmp_path, [site], seed=3, size=TINY)
    (kept, _), (lost, _) = (phantom.files(tmp_path, case) for case in phantom.cases[site][:2])
    kept.write_bytes(b"kept")
    lost.unlink()
    phantom.generate(tmp_path, [site], seed=3, size=TINY)
    assert kept.read_bytes() == b"kept"
    assert lost.read_bytes() == (folder / lost.relative_to(tmp_path)).read_bytes()


def test_prepare_reads_it_as_the_data_set_that_it_stands_for(drawn, tmp_path):
    name, (site, _), folder = drawn
    source, phantom = open_source(name, folder), PHANTOMS[name]
    assert source.sites() == list(phantom.scanners) == demo_sites(name)
    assert source.notes() == []
    prepare(name, folder, tmp_path, [site], workers=1)
    manifest = SiteStore.open(tmp_path, site).manifest
    assert manifest.source == name
    assert {case.split for case in manifest.cases} == {"train", "validation", "test"}
    assert sorted(case.id for case in manifest.cases) == sorted(case.split("/")[-1] for case in phantom.cases[site])
    assert not any(case.notes for case in manifest.cases)


@every_phantom
def test_no_two_cases_have_the_same_name(name):
    cases = [case for site in PHANTOMS[name].cases.values() for case in site]
    assert len(cases) == len(set(cases))
    assert PHANTOMS[name].cases.keys() == PHANTOMS[name].scanners.keys()


@every_phantom
def test_another_seed_and_another_case_are_other_patients(name):
    site, phantom = next(iter(PHANTOMS[name].scanners)), PHANTOMS[name]
    case, other = phantom.cases[site][:2]
    images = [phantom.draw_case(*which, TINY).image for which in ((site, case, 0), (site, case, 1), (site, other, 0))]
    for one, two in ((0, 1), (0, 2)):
        assert images[one].shape != images[two].shape or not np.array_equal(images[one], images[two])


@every_site
def test_files_say_where_the_patient_lies(name, site):
    phantom = PHANTOMS[name]
    scanner, case = phantom.scanners[site], phantom.cases[site][0]
    image, label, affine = phantom.draw_case(site, case, size=TINY)
    assert (image.dtype, label.dtype, image.shape) == (np.int16, np.uint8, label.shape)
    assert nib.aff2axcodes(affine) == tuple(scanner.axes)
    through = next(axis for axis, code in enumerate(scanner.axes) if code in "SI")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    within = np.delete(steps, through)
    assert within[0] == within[1]
    side = round(TINY.matrix * scanner.matrix)
    assert np.delete(image.shape, through).tolist() == [side, side]
    assert scanner.field * 0.94 <= within[0] * side <= scanner.field * 1.06
    assert scanner.heights[0] <= steps[through] * image.shape[through] <= scanner.heights[1]


@every_site
def test_however_a_scanner_files_its_slices_the_patient_lies_as_he_was_painted(name, site, tmp_path):
    """Read back in the store's orientation, an organ has its place: checked against the painted body itself."""
    phantom, painted = PHANTOMS[name], []

    def kept(*given):
        painted.append(phantom.paint(*given))
        return painted[0]

    case = phantom.cases[site][0]
    watched = type(phantom)(phantom.scanners, phantom.cases, phantom.files, kept, phantom.limits)
    watched.generate(tmp_path, [site], size=PhantomSize(matrix=24, slices=0.1, minimum_slices=5))
    classes = len(open_source(name, tmp_path).classes)
    _, label = read_pair(*phantom.files(tmp_path, case), classes, open_source(name, tmp_path).any_label)
    np.testing.assert_array_equal(label, painted[0].label[::-1])  # the store's slices run upwards, painted ones down


@every_site
def test_organs_lie_inside_the_body_and_are_neither_everywhere_nor_nowhere(name, site):
    phantom = PHANTOMS[name]
    for case in phantom.cases[site][:4]:
        rng = np.random.default_rng(len(case))
        scanner = phantom.scanners[site]
        body = phantom.paint(rng, scanner, scanner.grid(rng, SMALL))
        organ = body.label > 0
        assert 0.002 < organ.mean() < 0.3
        air = body.values <= body.values.min()
        assert (organ & air).sum() < 0.02 * organ.sum()
        assert set(np.unique(body.label)) <= set(range(len(open_source(name, ".").classes) + 1))


def best_dice_of_a_threshold(image, organ):
    """The best Dice that all voxels above, or all below, one number reach."""
    values = np.quantile(image, np.linspace(0, 1, 60))
    masks = [mask for value in values for mask in (image >= value, image <= value)]
    return max(2 * (mask & organ).sum() / (mask.sum() + organ.sum()) for mask in masks)


def ring_around(organ, through):
    """The voxels within 3 pixels of an organ in its slices."""
    grown = organ
    for axis in (axis for axis in range(3) if axis != through):
        grown = np.logical_or.reduce([np.roll(grown, shift, axis) for shift in range(-3, 4)])
    return grown & ~organ


def farthest_apart(some, others):
    """Kolmogorov and Smirnov's distance: the greatest difference of two distribution functions."""
    values = np.concatenate((some, others))
    below = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (some, others)]
    return np.abs(below[0] - below[1]).max()


@every_site
def test_an_organ_differs_from_what_lies_around_it_but_no_threshold_finds_it(name, site):
    phantom = PHANTOMS[name]
    through = next(axis for axis, code in enumerate(phantom.scanners[site].axes) if code in "SI")
    for case in phantom.cases[site][:3]:
        image, label, _ = phantom.draw_case(site, case, size=SMALL)
        organ = label > 0
        assert best_dice_of_a_threshold(image, organ) < 0.75
        assert farthest_apart(image[organ], image[ring_around(organ, through)]) > 0.1


@every_phantom
def test_sites_differ_as_scanners_do(name):
    """The spread within sites of the organ's mean intensity is smaller than that between them."""
    phantom, means = PHANTOMS[name], {}
    for site in phantom.scanners:
        drawn = [phantom.draw_case(site, case, size=SMALL) for case in phantom.cases[site][:5]]
        means[site] = [case.image[case.label > 0].mean() for case in drawn]
    within = np.mean([np.std(values) for values in means.values()])
    assert np.std([np.mean(values) for values in means.values()]) > 0.4 * within
    assert len(set(phantom.scanners.values())) == len(phantom.scanners)


@every_phantom
def test_a_site_that_a_phantom_does_not_have_is_refused(name, tmp_path):
    with pytest.raises(FlapSamError, match=f"no site 'Z', expected one of {', '.join(PHANTOMS[name].scanners)}"):
        PHANTOMS[name].generate(tmp_path, ["Z"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", JOBS, ids=lambda path: path.name)
def test_the_demo_of_a_job_has_as_many_classes_as_the_job(folder, tmp_path):
    job = Job.read(folder)
    assert len(open_source(job.demo, tmp_path).classes) == job.experiment().classes
