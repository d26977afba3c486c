# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.phantoms.mr import BONE, FAT, MUSCLE, WATER, MrBody, MrScanner, Tissue
from flap_sam.data.phantoms.scanner import PhantomSize
from hypothesis import given
from hypothesis import strategies as st

LIMITS = {"field": 200, "heights": (90, 110), "slices": 8, "noise": 10, "grain": 0.6}
times = st.floats(1, 5000)


def scanner(repetition, echo, gain=1000, shading=0.0):
    return MrScanner(repetition=repetition, echo=echo, gain=gain, shading=shading, **LIMITS)


@given(repetition=times, echo=times, t1=times, t2=times, density=st.floats(0, 1))
def test_a_signal_recovers_with_t1_and_decays_with_t2(repetition, echo, t1, t2, density):
    """Against the Bloch equations: longitudinal recovery and transverse decay, in small steps."""
    signal = scanner(repetition, echo).signal(Tissue(density, t1, t2))
    steps = 20_000
    recovered = 1 - (1 - repetition / steps / t1) ** steps if repetition / steps < t1 else 1.0
    decayed = (1 - echo / steps / t2) ** steps if echo / steps < t2 else 0.0
    assert signal == pytest.approx(1000 * density * recovered * decayed, rel=0.01, abs=5)


def test_fat_is_bright_and_water_dark_in_t1_and_water_brightest_in_t2():
    short, long = scanner(450, 10), scanner(4000, 100)
    assert short.signal(FAT) > short.signal(MUSCLE) > short.signal(WATER) > short.signal(BONE)
    assert long.signal(WATER) > long.signal(FAT) > long.signal(MUSCLE) > long.signal(BONE)


@pytest.mark.parametrize("shading", [0.0, 0.1, 0.4])
def test_shading_is_slow_and_bounded(shading):
    site = scanner(450, 10, shading=shading)
    rng = np.random.default_rng(0)
    body = MrBody.on(rng, site, site.grid(rng, PhantomSize(64)), (0.9, 1.1))
    body.fill(np.ones(body.values.shape, bool), FAT)
    body.shade(rng)
    change = np.log(body.values / site.signal(FAT))
    assert np.abs(change).max() <= shading + 1e-5
    assert change.std() >= 0.2 * shading
    assert np.abs(np.diff(change, axis=1)).max() <= shading * 0.15 + 1e-6
