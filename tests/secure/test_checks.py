# SPDX-License-Identifier: Apache-2.0
"""Questions are orthonormal up to float32's rounding, keys are distinct, lists are long enough."""

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.checks import check_count, check_distinct, check_question, is_plain
from flap_sam.secure.strings import PublicKeys


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 3), (768, 202), (3072, 202)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_qr_gives_passes_and_what_is_a_thousandth_longer_does_not(rows, columns, dtype):
    found = torch.linalg.qr(torch.randn(rows, columns, dtype=dtype))[0].float()
    check_question({"a.Q": found}, {"a.Q": (rows, columns)})
    with pytest.raises(FlapSamError, match="not orthonormal") as refusal:
        check_question({"a.Q": found * 1.001}, {"a.Q": (rows, columns)})
    assert refusal.value.reason is Reason.PAYLOAD


def test_counts_and_keys():
    check_count(3, 3)
    with pytest.raises(FlapSamError, match="has 2 sites; expected 3 or more"):
        check_count(2, 3)
    one, other = PublicKeys(b"1", b"2", b"3"), PublicKeys(b"4", b"5", b"3")
    check_distinct([one])
    with pytest.raises(FlapSamError, match="A key occurs twice"):
        check_distinct([one, other])


@pytest.mark.parametrize(
    "found",
    [
        None,
        [1, 2],
        torch.zeros(3, dtype=torch.int32),
        torch.zeros(2),
        torch.zeros(2, dtype=torch.int32).to_sparse(),
        torch.zeros(2, dtype=torch.int32, device="meta"),
    ],
)
def test_other_than_dense_tensors_of_the_type_and_shape_are_told_apart(found):
    assert not is_plain(found, torch.int32, (2,))
    assert is_plain(torch.zeros(2, dtype=torch.int32), torch.int32, (2,))
