# SPDX-License-Identifier: Apache-2.0
"""What every slice says of itself is used, refused or mentioned, whichever slice says it."""

import numpy as np
import pydicom
import pytest
from flap_sam.data.geometry import voxel_millilitres
from flap_sam.data.readers.dicom import read_series
from flap_sam.data.readers.read import read
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data import dicom_objects as objects
from tests.data.dicom_objects import PATIENT, enhanced, save, series

SHAPE = (6, 4, 5)
HEIGHTS = np.arange(6) * 3.0 - 20
STORED = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 7) % 900
ODD = 3


def setting(**values):
    def change(made, number):
        if number == ODD:
            for keyword, value in values.items():
                setattr(made, keyword, value)

    return change


def shifted(made, number):
    if number == ODD:
        made.ImagePositionPatient[0] += 2


def without(*keywords):
    def change(made, number):
        if number == ODD:
            for keyword in keywords:
                delattr(made, keyword)

    return change


def wider(made, number):
    if number == ODD:
        objects.with_pixels(made, np.zeros((5, 5), np.int16))


REFUSED = {
    "ImageOrientationPatient": setting(ImageOrientationPatient=[0, 1, 0, -1, 0, 0]),
    "ImageOrientationPatient by 2 mrad": setting(ImageOrientationPatient=[1, 0.002, 0, -0.002, 1, 0]),
    "PixelSpacing": setting(PixelSpacing=[1.5, 1.5]),
    "Rows": wider,
    "Modality": setting(Modality="MR"),
    "SOPClassUID": setting(SOPClassUID=objects.MR),
    "FrameOfReferenceUID": setting(FrameOfReferenceUID="1.2.88"),
    "PatientID": setting(PatientID="Roe^Richard"),
    "StudyInstanceUID": setting(StudyInstanceUID="1.2.99"),
    "RescaleType": setting(RescaleType="US"),
    "Units": lambda made, number: setattr(made, "Units", "BQML" if number == ODD else "CNTS"),
    "PhotometricInterpretation": setting(PhotometricInterpretation="MONOCHROME1"),
    "aside of the line of the others": shifted,
    "coloured": setting(PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0),
    "highest at 11": setting(HighBit=11),
    "slope other than 0": setting(RescaleSlope=0),
    "Modality LUT": setting(ModalityLUTSequence=objects.group(LUTExplanation="table")),
    "right-angled": setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    "positive distances": setting(PixelSpacing=[1.5, 0]),
    "where it lies": without("ImagePositionPatient"),
    "where it lies, without orientation": without("ImageOrientationPatient"),
    "where it lies, without spacing": without("PixelSpacing"),
    "does not describe an image": without("Rows"),
    "cannot be read as DICOM": without("PixelData"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_one_slice_may_not_say(tmp_path, what):
    series(tmp_path / "ct", STORED, HEIGHTS, REFUSED[what])
    with pytest.raises(FlapSamError, match=what.split(" by ")[0].split(",")[0]) as caught:
        read(tmp_path / "ct")
    assert "\n" not in str(caught.value)
    assert not any(name in str(caught.value) for name in (PATIENT, "Roe", "1.2.88", "1.2.99"))


MENTIONED = {
    "ImageType": ["DERIVED", "SECONDARY"],
    "SliceThickness": 5,
    "SpacingBetweenSlices": 3,
    "GantryDetectorTilt": 0,
    "KVP": 80,
    "ConvolutionKernel": "B70s",
    "EchoTime": 90,
    "RepetitionTime": 1000,
    "InversionTime": 5,
    "FlipAngle": 12,
    "DiffusionBValue": 800.0,
    "TemporalPositionIdentifier": 2,
    "AcquisitionNumber": 2,
    "ContrastBolusAgent": "agent",
    "LossyImageCompression": "01",
    "PixelPaddingValue": -2000,
    "PatientPosition": "FFS",
}


@pytest.mark.parametrize("keyword", MENTIONED)
def test_what_one_slice_may_say_otherwise_is_mentioned(tmp_path, keyword):
    plain = read(series(tmp_path / "plain", STORED, HEIGHTS))
    odd = read(series(tmp_path / "odd", STORED, HEIGHTS, setting(**{keyword: MENTIONED[keyword]})))
    assert plain.notes == ()
    assert any(f"slices of different {keyword} (" in note for note in odd.notes)
    assert all(note.startswith("odd ") for note in odd.notes)
    np.testing.assert_array_equal(odd.array, plain.array)
    np.testing.assert_array_equal(odd.affine, plain.affine)


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "RescaleType", "PatientID"])
def test_what_one_slice_does_not_say_is_mentioned(tmp_path, keyword):
    raw = read(series(tmp_path / "ct", STORED, HEIGHTS, without(keyword)))
    assert raw.notes == (f"ct has 1 of 6 slices that do not say their {keyword}.",)


def test_what_the_whole_series_says_against_its_places_is_mentioned(tmp_path):
    def change(made, _):
        made.SpacingBetweenSlices, made.GantryDetectorTilt, made.PhotometricInterpretation = 5, 12, "MONOCHROME1"

    notes = " ".join(read(series(tmp_path / "ct", STORED, HEIGHTS, change)).notes)
    for words in ("3 mm apart by their places, but 5 by", "tilted by 12 degrees, but", "shown inverted (MONOCHROME1)"):
        assert words in notes


SIGNED = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),  # PixelRepresentation
        st.sampled_from([12, 16]),  # BitsStored
        st.sampled_from(["1", "0.5", "2.25", "0.0001220703125", "3"]),
        st.sampled_from(["0", "-1024", "12.5", "-8192"]),
    ),
    min_size=4,
    max_size=4,
)


@settings(max_examples=30)
@given(said=SIGNED, seed=st.integers(0, 99))
def test_every_slice_is_scaled_by_itself(tmp_path_factory, said, seed):
    """Against pydicom's own rescaling, in float64."""
    folder = tmp_path_factory.mktemp("pet")
    stored = np.random.default_rng(seed).integers(0, 2**11, (4, 3, 5))

    def change(made, number):
        made.PixelRepresentation, made.BitsStored, made.RescaleSlope, made.RescaleIntercept = said[number]
        made.HighBit = made.BitsStored - 1

    series(folder, stored, range(4), change)
    raw = read(folder)
    expected = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    values = np.stack([d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in expected])
    np.testing.assert_allclose(raw.array.T, values, rtol=1e-6, atol=1e-3)
    whole = all(float(slope) % 1 == 0 and float(inter) % 1 == 0 for _, _, slope, inter in said)
    assert raw.array.dtype == (np.int16 if whole else np.float32)


def test_whole_numbers_beyond_16_bits_stay_whole(tmp_path):
    raw = read(series(tmp_path, STORED, HEIGHTS, setting(RescaleSlope=1000)))
    assert raw.array.dtype == np.int32
    assert raw.array.max() == STORED[ODD].max() * 1000 - 1024


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(FlapSamError, match="finite"):
        read(series(tmp_path, STORED, HEIGHTS, setting(RescaleSlope="1e308")))


@settings(max_examples=20)
@given(order=st.permutations(range(6)))
def test_an_enhanced_image_is_what_its_slices_are(tmp_path_factory, order):
    """Frames in any order, each with its own slope."""
    folder = tmp_path_factory.mktemp("mf")
    slopes = [1.0, 2.0, 0.5, 1.5, 3.0, 0.25]
    save(enhanced(STORED[order], HEIGHTS[order], [slopes[k] for k in order]), folder / "mf.dcm")

    def change(made, number):
        made.RescaleSlope, made.RescaleIntercept = slopes[number], 0

    plain = read(series(folder / "plain", STORED, HEIGHTS, change))
    raw = read(folder / "mf.dcm")
    np.testing.assert_array_equal(raw.array, plain.array)
    np.testing.assert_allclose(raw.affine, plain.affine)
    assert raw.notes == ()


def turned(frame, number):
    if number == ODD:
        frame.PlaneOrientationSequence = objects.group(ImageOrientationPatient=[0, 1, 0, -1, 0, 0])


def unplaced(frame, number):
    if number == ODD:
        del frame.PlanePositionSequence


def closer(frame, number):
    if number == ODD:
        frame.PixelMeasuresSequence = objects.group(PixelSpacing=[1, 1])


@pytest.mark.parametrize(
    ("change", "words"), [(turned, "ImageOrientationPatient"), (unplaced, "where it lies"), (closer, "PixelSpacing")]
)
def test_frames_are_looked_at_one_by_one(tmp_path, change, words):
    save(enhanced(STORED, HEIGHTS, change=change), tmp_path / "mf.dcm")
    with pytest.raises(FlapSamError, match=words):
        read(tmp_path / "mf.dcm")


def test_two_phases_in_one_enhanced_image(tmp_path):
    def change(frame, number):
        frame.FrameContentSequence = objects.group(TemporalPositionIndex=1 + number // 3)

    save(enhanced(STORED, [*HEIGHTS[:3], *HEIGHTS[:3]], change=change), tmp_path / "mf.dcm")
    with pytest.raises(FlapSamError, match=r"6 slices at only 3 places.*differ in TemporalPositionIndex"):
        read(tmp_path / "mf.dcm")


def test_frames_without_places(tmp_path):
    made = enhanced(STORED, HEIGHTS)
    del made.PerFrameFunctionalGroupsSequence
    save(made, tmp_path / "mf.dcm")
    with pytest.raises(FlapSamError, match="frames that do not say where they lie"):
        read(tmp_path / "mf.dcm")


def test_a_tilted_gantry_is_mentioned_and_its_millilitres_are_right(tmp_path):
    def change(made, number):
        made.ImagePositionPatient[1] += number * 3 * np.tan(np.radians(15))
        made.GantryDetectorTilt = -15

    volume = read_volume(series(tmp_path / "ct", STORED, HEIGHTS, change))
    assert volume.notes == (
        "ct has axes 15.0 degrees off a right angle, as of a tilted gantry, and is not resampled: volumes in ml are "
        "right, distances in mm are those of upright slices.",
    )
    assert voxel_millilitres(volume.affine) == pytest.approx(1.5 * 0.75 * 3 / 1000)


TOLD_APART = {
    "TemporalPositionIdentifier": lambda number: number // 3,
    "EchoTime": lambda number: 30 + number // 3,
    "DiffusionBValue": lambda number: 800.0 * (number // 3),
    "ImageType": lambda number: ["DERIVED", "PRIMARY", "WATER" if number < 3 else "FAT"],
    "TriggerTime": lambda number: 100 * (number // 3),
}


@pytest.mark.parametrize("keyword", TOLD_APART)
def test_several_volumes_in_a_series_are_told_from_missing_slices(tmp_path, keyword):
    def change(made, number):
        setattr(made, keyword, TOLD_APART[keyword](number))

    series(tmp_path, STORED, [*HEIGHTS[:3], *HEIGHTS[:3]], change)
    with pytest.raises(FlapSamError, match=f"6 slices at only 3 places.*differ in {keyword}.*several time points"):
        read(tmp_path)


def test_copies_under_other_names_are_told(tmp_path):
    series(tmp_path, np.concatenate([STORED[:3]] * 2), [*HEIGHTS[:3], *HEIGHTS[:3]])
    with pytest.raises(FlapSamError, match=r"6 slices at only 3 places.*nothing tells apart; remove the copies"):
        read(tmp_path)


def test_a_declared_size_has_a_limit_before_it_is_unpacked(tmp_path):
    made = enhanced(STORED, HEIGHTS)
    made.Rows, made.Columns = 32768, 32767
    save(made, tmp_path / "mf.dcm")
    with pytest.raises(FlapSamError, match="expected at most"):
        read_series([tmp_path / "mf.dcm"])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.102"])
def test_a_packing_that_is_not_read_is_named(tmp_path, syntax):
    """High-throughput JPEG 2000, and a film."""
    made = objects.slice_of(STORED[0], 0)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = pydicom.encaps.encapsulate([b"packed"])
    made["PixelData"].VR = "OB"
    with pytest.raises(FlapSamError, match=r"slice\.dcm is packed as .*, which is not read here"):
        read(save(made, tmp_path / "slice.dcm"))


def test_more_frames_than_are_described(tmp_path):
    made = enhanced(STORED, HEIGHTS)
    made.NumberOfFrames = 2**31 - 1
    with pytest.raises(FlapSamError, match=r"it has 2147483647 frames, but describes 6"):
        read(save(made, tmp_path / "mf.dcm"))


def test_frames_in_several_files(tmp_path):
    """A concatenation."""
    for name, part in (("a", slice(3, 6)), ("b", slice(0, 3))):
        save(enhanced(STORED[part], HEIGHTS[part]), tmp_path / "mf" / name)
    raw = read(tmp_path / "mf")
    np.testing.assert_array_equal(raw.array.T, STORED)
    np.testing.assert_allclose(raw.affine[2], (0, 0, 3, HEIGHTS[0]))
