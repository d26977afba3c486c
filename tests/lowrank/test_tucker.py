# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.lowrank.tucker import change_factors, tucker2


def site(seed: int, layers: int = 5, d: int = 14, rank: int = 3) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    shapes = ((rank, d), (d, rank), (layers, rank, rank))
    return tuple(torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes)


def change(u, v, cores, scale: float = 1.0) -> torch.Tensor:
    return scale * v @ cores @ u


def test_the_factors_multiply_to_the_change():
    parts = site(0)
    torch.testing.assert_close(change_factors(*parts, 0.5).change(), change(*parts, 0.5))


def test_a_site_alone_gets_its_own_change_back():
    parts = site(1)
    result = tucker2(change(*parts, 2.0), 3, 2.0)
    torch.testing.assert_close(
        change(result.U, result.V, result.cores, 2.0), change(*parts, 2.0), rtol=1e-11, atol=1e-11
    )
    assert result.kept.item() == 1
    assert result.residual.max() < 1e-11


def test_sites_with_common_factors_average_exactly():
    u, v, cores = site(2)
    other = torch.flip(cores, (0,))
    mean = (change(u, v, cores) + 3 * change(u, v, other)) / 4
    result = tucker2(mean, 3, 1.0)
    torch.testing.assert_close(change(result.U, result.V, result.cores), mean, rtol=1e-11, atol=1e-11)


def test_it_is_no_worse_than_any_sites_own_factors():
    sites = [site(k) for k in range(3)]
    mean = sum(change(*parts) for parts in sites) / 3
    result = tucker2(mean, 3, 1.0)
    for u, v, _ in sites:
        left, right = torch.linalg.qr(v)[0], torch.linalg.qr(u.mT)[0]
        own = left @ (left.mT @ mean @ right) @ right.mT
        assert result.residual.square().sum() <= (mean - own).square().sum()
    torch.testing.assert_close(result.kept, 1 - result.residual.square().sum() / mean.square().sum())


def test_factors_are_orthonormal_with_fixed_signs_even_of_no_change():
    for total in (change(*site(4)), torch.zeros(5, 14, 14, dtype=torch.float64)):
        result = tucker2(total, 3, 1.0)
        eye = torch.eye(3, dtype=torch.float64)
        torch.testing.assert_close(result.U @ result.U.mT, eye)
        torch.testing.assert_close(result.V.mT @ result.V, eye)
        assert (result.V.gather(0, result.V.abs().argmax(0, keepdim=True)) > 0).all()
    assert result.kept.item() == 1
    assert not result.cores.any()
