# SPDX-License-Identifier: Apache-2.0
"""What a SAM checkpoint is, and what the network takes from it."""

from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.foundation.files import sha256
from flap_sam.foundation.text import as_text
from flap_sam.sam import pretrained
from flap_sam.sam.checkpoint import network_for

KNOWN = {
    "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912": "the official sam_vit_b_01ec64.pth",
    pretrained.SHA256: "the bundled small SAM",
}


def describe(path: Path, experiment: Experiment) -> str:
    """Hash, backbone and the fate of every tensor of the experiment's network.

    Raises:
        FlapSamError: as `network_for`.
    """
    _, resolved, report = network_for(experiment, path)
    digest = sha256(path)
    known = f", {KNOWN[digest]}" if digest in KNOWN else ""
    fates = {"loaded": report.loaded, "resized": report.resized, "started anew": report.started_anew}
    return as_text(
        f"sha256 {digest}{known}",
        f"{resolved.backbone} for {resolved.image_size} px, method {resolved.method}: "
        + ", ".join(f"{len(names)} tensors {fate}" for fate, names in fates.items()),
        *(f"{fate:12}  {name}" for fate, names in fates.items() for name in names),
    )
