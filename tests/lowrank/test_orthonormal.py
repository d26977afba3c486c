# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.lowrank.orthonormal import orthonormal


@pytest.mark.parametrize("kind", ["random", "graded", "dependent", "zero"])
def test_q_is_orthonormal_and_q_r_is_the_matrix(kind):
    y = torch.randn(3, 50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if kind == "graded":
        y = y * torch.logspace(0, -4, 7, dtype=torch.float64)
    if kind == "dependent":
        y[..., 3] = y[..., 1]
    if kind == "zero":
        y = torch.zeros_like(y)
    q, r = orthonormal(y)
    torch.testing.assert_close(q @ r, y, rtol=0, atol=1e-13)
    torch.testing.assert_close(q.mT @ q, torch.eye(7, dtype=y.dtype).expand(3, 7, 7), rtol=0, atol=1e-13)
