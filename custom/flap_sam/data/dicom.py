"""DICOM series, by SimpleITK, and distrusted like `nifti`."""

from pathlib import Path

import numpy as np

from flap_sam.errors import FlapSamError

PREAMBLE = 128
MAGIC = b"DICM"
POSITION = "0020|0032"
UNEVEN = 0.02  # of the distance between two slices
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes run to the patient's left and back


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with path.open("rb") as stream:
        return stream.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC


def series_in(folder: Path) -> list[list[Path]]:
    """The files of every DICOM series in a folder, each in the order of its slices along the patient."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    identifiers = sorted(reader.GetGDCMSeriesIDs(str(folder)))
    return [[Path(f) for f in reader.GetGDCMSeriesFileNames(str(folder), uid)] for uid in identifiers]


def read_series(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read one series whole.

    Args:
        files: a file a slice, in order, or one file of many slices.

    Returns:
        As `nifti.read_nifti`: the array [columns, rows, slices] in the series' own unit (CT: HU), and its affine.

    Raises:
        FlapSamError: a file cannot be read, the slices differ in size, are no grey images, are fewer than two, do not
            say where they lie, or do not lie at even distances: one is missing, or there are two at one place.
    """
    import SimpleITK

    where = files[0].parent
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.GlobalWarningDisplayOff()  # uneven slices are an error here, not a line on the console
    try:
        image = reader.Execute()
    except RuntimeError as problem:
        reason = str(problem).strip().splitlines()[-1]
        raise FlapSamError(f"The DICOM series in {where} cannot be read ({reason}); export it again.") from problem
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise FlapSamError(f"The DICOM series in {where} holds coloured pictures, expected grey ones; choose another.")
    if image.GetDimension() != 3 or image.GetDepth() < 2:
        raise FlapSamError(
            f"The DICOM series in {where} has a single slice, expected a volume; point to the folder of all slices."
        )
    affine = _affine(image)
    if len(files) > 1:
        affine[:3, 2] = _even_step(where, np.stack([_place(reader, k, file) for k, file in enumerate(files)]))
    return SimpleITK.GetArrayFromImage(image).T, TO_RAS @ affine


def _place(reader: "SimpleITK.ImageSeriesReader", k: int, file: Path) -> np.ndarray:  # noqa: F821
    """Where the first voxel of a slice lies, [3] in mm along DICOM's axes."""
    try:
        return np.array(reader.GetMetaData(k, POSITION).split("\\"), dtype=float).reshape(3)
    except (RuntimeError, ValueError) as problem:
        raise FlapSamError(
            f"The DICOM series in {file.parent} has a slice, {file.name}, that does not say where it lies in the "
            "patient; export it again."
        ) from problem


def _even_step(where: Path, places: np.ndarray) -> np.ndarray:
    """From a slice to the next, in mm; of a tilted gantry not along the slices' normal."""
    steps = np.diff(places, axis=0)
    usual = np.median(steps, axis=0)
    apart = np.linalg.norm(steps - usual, axis=1) / max(np.linalg.norm(usual), 1e-9)
    if apart.max() > UNEVEN:
        worst = int(apart.argmax())
        raise FlapSamError(
            f"The DICOM series in {where} has slices {worst + 1} and {worst + 2} "
            f"{np.linalg.norm(steps[worst]):g} mm apart, the others {np.linalg.norm(usual):g} mm; fetch the missing "
            "slices, or export the series alone."
        )
    return steps.mean(axis=0)


def _affine(image: "SimpleITK.Image") -> np.ndarray:  # noqa: F821
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine
