import pytest
import torch
from flap_sam.federation.gate.agreement import Privacy
from flap_sam.federation.gate.noise import epsilon, privatised
from scipy.stats import norm

BASE = {"a": torch.zeros(40, 50), "b": torch.ones(300)}


def moved(by: float) -> dict:
    return {name: tensor + by for name, tensor in BASE.items()}


def privacy(**changes) -> Privacy:
    return Privacy(**{"clip": 2.0, "noise_multiplier": 0.5, "epsilon": 8.0, "delta": 1e-5} | changes)


def test_the_noise_has_the_stated_spread_and_no_drift():
    torch.manual_seed(0)
    noised = privatised(BASE, BASE, privacy())
    noise = torch.cat([(noised[name] - BASE[name]).flatten() for name in BASE])
    assert noise.std().item() == pytest.approx(1.0, rel=0.1)
    assert abs(noise.mean().item()) < 0.1
    assert all(tensor.dtype == torch.float32 for tensor in noised.values())


def test_two_releases_are_never_of_the_same_noise():
    torch.manual_seed(0)
    first = privatised(BASE, BASE, privacy())
    torch.manual_seed(0)
    assert not torch.equal(privatised(BASE, BASE, privacy())["a"], first["a"])


@pytest.mark.parametrize(("by", "length"), [(1.0, 2.0), (0.01, 0.01 * 2300**0.5)])
def test_an_update_is_clipped_as_a_whole_and_a_small_one_is_not(by, length):
    noised = privatised(moved(by), BASE, privacy(noise_multiplier=1e-9))
    change = torch.cat([(noised[name] - BASE[name]).flatten() for name in BASE])
    assert change.double().norm().item() == pytest.approx(length, rel=1e-4)


def exact(mu: float, found: float) -> float:
    """delta of a Gaussian mechanism whose sensitivity over its noise is mu: Balle and Wang, arXiv 1805.06530."""
    return norm.cdf(mu / 2 - found / mu) - torch.exp(torch.tensor(found)).item() * norm.cdf(-mu / 2 - found / mu)


@pytest.mark.parametrize("releases", [{4.0: 1}, {4.0: 25}, {4.0: 5, 8.0: 10}])
def test_epsilon_is_that_of_gaussian_mechanisms_of_twice_the_clip(releases):
    mu = sum(count * (2 / multiplier) ** 2 for multiplier, count in releases.items()) ** 0.5
    found = epsilon(releases, 1e-5)
    assert exact(mu, found) <= 1e-5 * 1.01
    assert exact(mu, found * 0.98) > 1e-5, "and not much more than needed"
