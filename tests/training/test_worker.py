# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.training.worker import _own_device


@pytest.mark.parametrize(("device", "gpus", "own"), [(None, True, "cuda:1"), (None, False, None), ("cpu", True, "cpu")])
def test_each_process_takes_a_gpu_of_its_own(monkeypatch, device, gpus, own):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _own_device(Site(device=device, processes=2)) == Site(device=own)
