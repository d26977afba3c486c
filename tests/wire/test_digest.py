# SPDX-License-Identifier: Apache-2.0
"""The digest of what has passed."""

import torch
from flap_sam.wire.digest import digest


def test_a_digest_is_of_names_types_shapes_and_numbers():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1.0)}
    same = dict(reversed(tensors.items()))
    assert digest(tensors) == digest(same)
    others = [
        {"a": tensors["a"].reshape(3, 2), "b": tensors["b"]},
        {"a": tensors["a"].bfloat16(), "b": tensors["b"]},
        {"c": tensors["a"], "b": tensors["b"]},
        {"a": tensors["a"] + 1e-6, "b": tensors["b"]},
    ]
    assert len({digest(t) for t in [tensors, *others]}) == 5
    assert digest({"a": tensors["a"].mT.contiguous().mT}) == digest({"a": tensors["a"]})
