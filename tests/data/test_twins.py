# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.twins import ALIKE, Prints, alike, patients
from hypothesis import given
from hypothesis import strategies as st


def scan(seed: int, shape=(9, 20, 23)) -> np.ndarray:
    """Smooth anatomy that all patients share, and noise that they do not."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    anatomy = 200 * np.exp(-(grid**2).sum(0) * 3)
    return np.rint(anatomy + np.random.default_rng(seed).normal(0, 15, shape))


def prints(image: np.ndarray) -> Prints:
    return Prints.of(image, np.zeros(image.shape, np.uint8))


@given(
    slope=st.floats(0.1, 20),
    shift=st.floats(-2000, 2000),
    dtype=st.sampled_from((np.float32, np.float64)),
    seed=st.integers(0, 99),
)
def test_no_linear_change_of_intensities_hides_a_scan(slope, shift, dtype, seed):
    assert alike(prints(scan(seed).astype(np.int16)), prints((scan(seed) * slope + shift).astype(dtype))) > 0.99


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_two_scans_of_one_grid_and_one_anatomy_are_two(seed, step):
    assert alike(prints(scan(seed)), prints(scan(seed + step))) is None


def test_a_number_format_changes_no_print():
    assert prints(scan(0).astype(np.int16)).image == prints(scan(0).astype(np.float64)).image
    assert prints(scan(0)).image != prints(scan(0).reshape(9, 23, 20)).image


def test_the_share_is_that_of_all_neighbours_where_all_are_sampled():
    one, other = scan(0, (5, 8, 9)), scan(0, (5, 8, 9))
    other[:, :2] = scan(1, (5, 8, 9))[:, :2]
    a, b = np.sign(np.diff(one, axis=2)), np.sign(np.diff(other, axis=2))
    expected = (a == b)[(a != 0) & (b != 0)].mean()
    assert expected > ALIKE
    assert alike(prints(one), prints(other)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["a1_pre", "a1_post", "a2_pre"], [{"a1_pre", "a1_post"}]),
        (["P1-visit1", "P1-visit2", "p1_v3", "P2-visit1"], [{"P1-visit1", "P1-visit2", "p1_v3"}]),
        (["sub7_20190102", "sub7_2020-03-04", "x"], [{"sub7_20190102", "sub7_2020-03-04"}]),
        (["pat03_1", "pat03_2", "pat04_1"], [{"pat03_1", "pat03_2"}]),
        (["p12a", "p12b", "p13a"], [{"p12a", "p12b"}]),
        (["case_00", "case_01", "case_02"], []),
        (["LUNG1-001", "LUNG1-002", "LUNG2-001"], []),
        (["IXI002-Guys-0828", "IXI012-HH-1211"], []),
        (["Case00", "Case01", "Case10"], []),
        ([f"KiTS19_{k}" for k in range(9)] + ["other"], []),
        ([f"case_{k:05d}" for k in range(9)], []),
    ],
)
def test_patients_by_name(names, families):
    found: dict[str, set[str]] = {}
    for name, patient in patients(names).items():
        found.setdefault(patient, set()).add(name)
    assert [*found.values()] == families
