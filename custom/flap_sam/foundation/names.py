# SPDX-License-Identifier: Apache-2.0
"""Names that become folders and files here, while others have chosen them: of runs, of sites and cases."""

import re
from typing import TypeGuard

BESIDE_RUNS = ("gate", "embeddings")  # other folders of a site's state


def is_run_name(found: object) -> TypeGuard[str]:
    """Whether it can name a run, and the folder of its state: 1 to 64 small letters, digits and dashes."""
    whole = isinstance(found, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", found) is not None
    return whole and found not in BESIDE_RUNS


def is_name(found: object) -> bool:
    """Whether it can name a site or a case, and the files of it: letters, digits, '.', '_', '-' and blanks."""
    return isinstance(found, str) and re.fullmatch(r"\w[\w. -]*", found) is not None
