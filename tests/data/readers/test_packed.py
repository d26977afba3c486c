# SPDX-License-Identifier: Apache-2.0
"""What is packed is unpacked whole, and never beyond what its header declares."""

import gzip
import io
import zlib

import pytest
from flap_sam.data.readers.packed import (
    PIECE,
    RATIO,
    TRAILING,
    check_declared,
    check_unpacked,
    opened,
)
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

PACKERS = {"gzip": gzip.compress, "zlib": zlib.compress}


@given(content=st.binary(max_size=300))
def test_packed_or_not_the_bytes_are_the_same(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("packed")
    (folder / "plain").write_bytes(b"." + content)
    (folder / "packed").write_bytes(gzip.compress(b"." + content))
    for name in ("plain", "packed"):
        with opened(folder / name, "NIfTI") as stream:
            assert stream.read() == b"." + content


@pytest.mark.parametrize("at", [-8, -1, 12])
def test_a_packed_file_is_read_to_its_checksum_though_nobody_asks_for_its_end(tmp_path, at):
    content = bytearray(gzip.compress(b"header" + bytes(range(256)) * 40))
    content[at] ^= 1
    (tmp_path / "x.gz").write_bytes(content)
    with (
        pytest.raises(FlapSamError, match=r"x\.gz cannot be read as NIfTI"),
        opened(tmp_path / "x.gz", "NIfTI") as stream,
    ):
        stream.read(1)


@pytest.mark.parametrize("beyond", [0, 1])
def test_little_may_follow_the_block_and_no_more(tmp_path, beyond):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"voxels" + bytes(TRAILING + beyond), 1))

    def read() -> bytes:
        with opened(tmp_path / "x.gz", "NIfTI") as stream:
            return stream.read(6)

    if beyond:
        with pytest.raises(FlapSamError, match="unpacks to more than its header declares"):
            read()
    else:
        assert read() == b"voxels"


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ValueError("two\nlines"), r"cannot be read as NRRD \(two lines\); it is damaged"),
        (EOFError("short"), r"cannot be read as NRRD \(short\)"),
        (MemoryError(), "does not fit into this machine's memory"),
        (FlapSamError("as it was said."), "^as it was said"),
    ],
)
def test_whatever_is_raised_inside_is_one_sentence(tmp_path, problem, words):
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(FlapSamError, match=words), opened(tmp_path / "x", "NRRD"):
        raise problem


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(FlapSamError, match=r"gone cannot be opened \(No such file"), opened(tmp_path / "gone", "NRRD"):
        pass


@pytest.mark.parametrize("packed", [False, True])
def test_no_file_is_taken_to_hold_more_than_it_can(tmp_path, packed):
    content = gzip.compress(b"x") if packed else b"voxels"
    (tmp_path / "x").write_bytes(content)
    most = len(content) * (RATIO if packed else 1)
    check_declared(tmp_path / "x", "NIfTI", most)
    with pytest.raises(FlapSamError, match=f"declares {most + 1} bytes, it can hold {most} at most"):
        check_declared(tmp_path / "x", "NIfTI", most + 1)


@pytest.mark.parametrize("length", [0, 5, 10 * PIECE])
def test_the_ratio_is_beyond_what_any_file_unpacks_to(length):
    assert length <= RATIO * len(gzip.compress(bytes(length), 9))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_stream_is_as_long_as_declared(tmp_path, packer):
    content = PACKERS[packer](bytes(1000))
    check_unpacked(tmp_path, io.BytesIO(content), 1000)
    with pytest.raises(EOFError, match="it ends after 1000 of 1001 bytes"):
        check_unpacked(tmp_path, io.BytesIO(content), 1001)
    with pytest.raises(EOFError, match=r"it ends after .* of 1000 bytes"):
        check_unpacked(tmp_path, io.BytesIO(content[:-2]), 1000)
    with pytest.raises(FlapSamError, match="unpacks to more than its header declares"):
        check_unpacked(tmp_path, io.BytesIO(PACKERS[packer](bytes(TRAILING + 1001))), 1000)
    with pytest.raises(zlib.error):
        check_unpacked(tmp_path, io.BytesIO(b"no stream"), 9)
