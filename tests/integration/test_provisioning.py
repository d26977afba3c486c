# SPDX-License-Identifier: Apache-2.0
"""The kits that `provisioning/project.yml` makes."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "provisioning/project.yml"


def test_no_hospital_streams_its_logs(tmp_path):
    nvflare = Path(sys.executable).parent / "nvflare"
    command = [nvflare, "provision", "-p", PROJECT, "-w", tmp_path, "--force"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=120)
    kits = tmp_path / "flap_sam/prod_00"
    hospitals = sorted(kit.name for kit in kits.glob("hospital-*"))
    assert hospitals == [f"hospital-{letter}" for letter in "abcdef"]
    for hospital in hospitals:
        resources = json.loads((kits / hospital / "local/resources.json.default").read_text())
        assert resources["allow_log_streaming"] is False
