# SPDX-License-Identifier: Apache-2.0
"""What the tests of several commands look at."""

import nibabel as nib
import numpy as np
import pytest

from tests.data.volumes import save


@pytest.fixture
def odd_volumes(tmp_path):
    """Three cases, of one of which neither file says how the patient lies."""
    folder = tmp_path / "Doe_Jane"
    for seed, case in enumerate("abc"):
        rng = np.random.default_rng(seed)
        save(folder / "images" / f"{case}.nii", rng.integers(0, 900, (6, 8, 9)).astype(np.int16))
        save(folder / "labels" / f"{case}.nii", rng.integers(0, 2, (6, 8, 9), np.uint8))
    for kind in ("images", "labels"):
        path = folder / kind / "b.nii"
        image = nib.load(path)
        image = nib.Nifti1Image(np.asarray(image.dataobj).copy(), None, image.header)
        image.set_sform(None, 0)
        image.set_qform(None, 0)
        nib.save(image, path)
    (folder / "sites.csv").write_text("case;site;split\na;A;train\nb;A;train\nc;A;test\n")
    (folder / "images" / "d.mha").touch()
    return folder
