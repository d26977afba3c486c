# SPDX-License-Identifier: Apache-2.0
"""Slices in the patient's order on an even grid; no file is read."""

from pathlib import Path

import numpy as np
import pytest
from flap_sam.data.readers.dicom_grid import grid
from flap_sam.data.readers.dicom_slices import Slice
from flap_sam.errors import FlapSamError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.readers.test_nifti import rotation

CT = Path("ct")


def slices_at(places, along=((0.75, 0), (0, 1.5), (0, 0)), told=None) -> list[Slice]:
    """A slice at each place; `told` is what each says of itself."""
    told = told or [{}] * len(places)
    return [
        Slice(Path(f"{k}.dcm"), 0, np.array(place, float), np.array(along, float), 1.0, 0.0, said)
        for k, (place, said) in enumerate(zip(places, told, strict=True))
    ]


def upright(count, step=3.0):
    return [(-20.0, 10.0, k * step) for k in range(count)]


@settings(max_examples=40)
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.floats(0, 3),
    count=st.integers(2, 9),
    step=st.floats(0.5, 9),
    shuffled=st.randoms(use_true_random=False),
)
def test_every_voxel_keeps_its_place_in_whatever_plane_and_order(axis, angle, count, step, shuffled):
    turn = rotation(axis, angle)
    along = turn[:, :2] * (0.75, 1.5)
    places = [np.array((5.0, -7, 100)) + k * step * turn[:, 2] for k in range(count)]
    slices = slices_at(places, along)
    ordered, affine, notes = grid(CT, shuffled.sample(slices, count))
    assert ordered == slices, "along the normal of rows and columns"
    assert notes == ()
    for k, place in enumerate(places):
        np.testing.assert_allclose(affine @ [2, 3, k, 1], [*(place + along @ (2, 3)), 1], atol=1e-6)


@given(
    step=st.floats(0.5, 6),
    start=st.floats(-500, 500),
    tilt=st.floats(-25, 25),
    count=st.integers(4, 300),
    missing=st.none() | st.floats(0, 1),
    shuffled=st.randoms(use_true_random=False),
)
def test_rounded_places_are_even_and_a_missing_slice_is_not(step, start, tilt, count, missing, shuffled):
    lines = start + np.arange(count) * step
    places = np.round(np.stack([np.full(count, -20.0), lines * np.tan(np.radians(tilt)), lines], axis=1), 1)
    along = np.array([[0.75, 0], [0, 1.5], [0, 0]])
    slices = [Slice(Path(f"{k}.dcm"), 0, place, along, 1.0, 0.0, {}) for k, place in enumerate(places)]
    if missing is not None:
        del slices[1 + int(missing * (count - 3))]
    order = shuffled.sample(slices, len(slices))
    if missing is None:
        ordered, affine, notes = grid(Path("ct"), order)
        assert ordered == slices
        assert notes == ()
        np.testing.assert_allclose(affine[:3, 2], (0, step * np.tan(np.radians(tilt)), step), atol=0.12 / (count - 1))
    else:
        with pytest.raises(FlapSamError, match="fetch the missing slices"):
            grid(Path("ct"), order)


@pytest.mark.parametrize("degrees", [44, 46, 70])
def test_slices_may_be_staggered_as_by_a_gantry_and_no_further(degrees):
    lean = np.tan(np.radians(degrees))
    slices = slices_at([(0, 3 * k * lean, 3 * k) for k in range(5)])
    if degrees < 45:
        assert grid(CT, slices)[0] == slices
    else:
        with pytest.raises(FlapSamError, match=f"staggered by {degrees} degrees, expected at most 45"):
            grid(CT, slices)


def test_a_slice_alone_is_no_volume():
    with pytest.raises(FlapSamError, match="a single slice"):
        grid(CT, slices_at(upright(1)))


def test_two_at_one_place_are_told_apart_by_what_they_say_or_not_at_all():
    places = [*upright(3), upright(3)[1]]
    with pytest.raises(FlapSamError, match=r"4 slices at only 3 places, such as .* nothing tells apart"):
        grid(CT, slices_at(places))
    told = [{}, {"EchoTime": "30"}, {}, {"EchoTime": "90"}]
    with pytest.raises(FlapSamError, match="which differ in EchoTime"):
        grid(CT, slices_at(places, told=told))


def test_a_patients_identifiers_that_differ_are_not_shown():
    told = [{"PatientID": "Doe^Jane"}, {"PatientID": "Roe^Richard"}]
    with pytest.raises(FlapSamError, match="different PatientID, such as") as caught:
        grid(CT, slices_at(upright(2), told=told))
    assert not any(name in str(caught.value) for name in ("Doe", "Roe"))


def test_what_few_slices_say_otherwise_is_mentioned_and_of_many_values_few():
    told = [{"KVP": str(80 + k)} for k in range(6)]
    _, _, notes = grid(CT, slices_at(upright(6), told=told))
    assert notes == ("has slices of different KVP (80, 81, 82 and 3 more).",)
