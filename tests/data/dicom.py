# SPDX-License-Identifier: Apache-2.0
"""DICOM series for tests, written by SimpleITK."""

import locale
from pathlib import Path

import numpy as np
import SimpleITK

CT = "1.2.840.10008.5.1.4.1.1.2"
POSITION = bytes.fromhex("20003200")  # (0020,0032) as it stands in a file of implicit VR, which SimpleITK writes


def write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    uid: str = "1.2.3",
    leave_out: int | None = None,
) -> Path:
    """A file a slice of an int16 array [columns, rows, slices]; the affine is voxel to patient millimetres (RAS)."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / sizes
    normal = np.cross(axes[:, 0], axes[:, 1])
    axes[:, 2] = normal * np.sign(normal @ axes[:, 2])  # a file knows its plane; that slices are staggered it does not
    folder.mkdir(parents=True, exist_ok=True)
    spoken = locale.setlocale(locale.LC_ALL)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(array.shape[2]):
        if k == leave_out:
            continue
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array[:, :, k : k + 1].T))
        image.SetSpacing(sizes.tolist())
        image.SetOrigin((lps @ [0, 0, k, 1])[:3].tolist())
        image.SetDirection(axes.ravel().tolist())
        number = "\\".join
        for tag, value in {
            "0008|0016": CT,
            "0008|0018": f"{uid}.{k + 1}",
            "0008|0060": "CT",
            "0010|0010": "Doe^Jane",
            "0020|000d": "1.2.9",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": number(f"{x:.6f}" for x in (lps @ [0, 0, k, 1])[:3]),
            "0020|0037": number(f"{x:.6f}" for x in axes[:, :2].T.ravel()),
            "0018|0050": f"{sizes[2]:.6f}",
            "0028|1052": "0",
            "0028|1053": "1",
        }.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{array.shape[2] - k:03}.dcm"))  # names run against the slices
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, spoken)  # writing, not reading, leaves the process in the locale C
    return folder


def without_position(file: Path) -> None:
    """Take the ImagePositionPatient out of a file, which SimpleITK writes of its own accord."""
    content = file.read_bytes()
    start = content.index(POSITION)
    value = start + len(POSITION) + 4
    length = int.from_bytes(content[start + len(POSITION) : value], "little")
    file.write_bytes(content[:start] + content[value + length :])
