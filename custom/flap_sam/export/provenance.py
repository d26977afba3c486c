# SPDX-License-Identifier: Apache-2.0
"""Where an exported network comes from, as every format carries it."""

import json
from collections.abc import Mapping
from pathlib import Path

from flap_sam.foundation.files import sha256
from flap_sam.inference.model import Model


def provenance(model: Model, payload: Path) -> dict[str, str]:
    """The experiment and the notes of the payload file, in JSON, and the file's SHA-256."""
    return {
        "experiment": model.experiment.to_json(),
        "notes": json.dumps(model.notes),
        "payload_sha256": sha256(payload),
    }


def closing(provenance: Mapping[str, str]) -> str:
    """The end of a model card."""
    return f"""Research software. It is not a medical device.

Trained by FLAP-SAM; payload of sha256 {provenance["payload_sha256"]}. Experiment:

```json
{provenance["experiment"]}
```
"""
