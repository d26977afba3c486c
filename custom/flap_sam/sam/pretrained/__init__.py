# SPDX-License-Identifier: Apache-2.0
"""The bundled small SAM. README.md beside this file says what it is, how it was made and what it is not."""

from pathlib import Path
from typing import Final

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import sha256

BACKBONE: Final = "vit_tiny"
FILE = Path(__file__).with_name(f"{BACKBONE}.safetensors")
SHA256 = "3531cfff834b2f4b4a65839048cbd62d620b0eef03f921afc7dd01e6ac401dc2"


def checked() -> Path:
    """The file, as the package came with it.

    Raises:
        FlapSamError: it is missing or has another hash.
    """
    if not FILE.is_file() or sha256(FILE) != SHA256:
        raise FlapSamError(
            f"The bundled small SAM {FILE} is missing, or its sha256 is not {SHA256}; install the package again.",
            Reason.CHECKPOINT,
        )
    return FILE
