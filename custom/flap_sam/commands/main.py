# SPDX-License-Identifier: Apache-2.0
"""The entry point: every panel of commands, and how the command ends."""

import errno
import sys
from io import TextIOWrapper

from rich.console import Console

# isort: off
from flap_sam.commands import data, training, deploy, results, export  # noqa: F401 - the help shows them in this order

# isort: on
from flap_sam.commands.app import app
from flap_sam.errors import FlapSamError
from flap_sam.foundation.children import Interrupted, interruptible

REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO}
)
"""What a system says of a full disk and of folders that cannot be written; any other error of it is a fault of ours."""


def main() -> None:
    """Run the command; an error that a person is meant to read, or an interruption, ends it with one sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such character
    try:
        with interruptible():
            app()
    except Interrupted as end:
        _tell(f"interrupted by {end.name}; what was finished before is kept.")
        raise
    except FlapSamError as error:
        _tell(str(error))
        sys.exit(1)
    except OSError as problem:
        if problem.errno not in REFUSALS:
            raise
        _tell(f"The system refuses a file ({problem}); make room there, or choose another folder.")
        sys.exit(1)


def _tell(sentence: str) -> None:
    from flap_sam.foundation.text import harmless

    text = harmless(f"flap-sam: {sentence}")
    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(text, markup=False)
