# SPDX-License-Identifier: Apache-2.0
"""What is installed only where it is used: the package's extras, as `pip install 'flap-sam[NAME]'` takes them."""

from importlib.util import find_spec

from flap_sam.errors import FlapSamError, Reason

MODULES = {
    "report": ("matplotlib", "jinja2"),
    "tensorboard": ("tensorboard",),
    "privacy": ("dp_accounting",),
    "masked": ("Crypto",),
    "dicom": ("pydicom", "gdcm"),
    "itk": ("SimpleITK",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
"""The modules that an extra is installed for, by its name in `pyproject.toml`."""


def require(extra: str, what: str, reason: Reason = Reason.STOPPED) -> None:
    """Make sure that an extra is installed.

    Args:
        what: needs it, as the beginning of a sentence.
        reason: the code that stands for the lack outside a site.

    Raises:
        FlapSamError: a module of it is missing; says what to install.
    """
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        raise FlapSamError(
            f"{what} needs {', '.join(missing)}, which this environment lacks; run pip install 'flap-sam[{extra}]'.",
            reason,
        )
