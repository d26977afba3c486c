# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flap_sam.sam.build import build
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.initial import initial


def initial_state(network, seed):
    return {name: initial(network, name, seed) for name in network.state_dict()}


def test_same_seed_same_start_other_seed_other_start(small):
    network = build(small)
    first, again, other = (initial_state(network, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_tensor_starts_alike_whatever_else_is_in_the_network(small):
    plain = initial_state(build(small.changed(method="fullft")), 1)
    adapted = initial_state(build(small), 1)
    assert all(torch.equal(plain[name], adapted[name]) for name in plain)


DIGESTS = """
import hashlib
from pathlib import Path
import sys
from flap_sam.config.experiment import Experiment
from flap_sam.sam.checkpoint import network_for
experiment = Experiment(image_size=48, adapter="dora", rank=4)
for checkpoint in (None, Path(sys.argv[1])):
    network, _, _ = network_for(experiment, checkpoint)
    print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in network.state_dict().values())).hexdigest())
"""


def start_digests(capability: str, checkpoint: Path) -> list[str]:
    """The digests of a network's start without and with a checkpoint, on a processor of this capability."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    run = [sys.executable, "-c", DIGESTS, str(checkpoint)]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow
def test_every_processor_starts_from_the_same_bits(small, tmp_path):
    """Drawn, resized and DoRA's norms: hospitals' machines differ, their starts may not."""
    network, _, _ = network_for(small.changed(image_size=96, method="fullft"), None)
    torch.save(network.state_dict(), tmp_path / "sam.pth")
    plain, vectorised = (start_digests(capability, tmp_path / "sam.pth") for capability in ("default", "avx2"))
    assert plain == vectorised
    assert len(set(plain)) == 2


def test_b_starts_at_zero_and_a_does_not(small):
    state = initial_state(build(small), 1)
    assert not any(state[name].any() for name in state if name.endswith("adapter_q.B"))
    assert all(state[name].any() for name in state if name.endswith("adapter_q.A"))
