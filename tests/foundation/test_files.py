# SPDX-License-Identifier: Apache-2.0
import errno
import hashlib
import os

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import UnwritableError, remove_if_empty, replacing, sha256


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file"
    with replacing(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert path.read_bytes() == b"first"
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    (path.parent / "file.partial").write_bytes(b"of one that was killed")
    with replacing(path) as stream:
        stream.write(b"third")
    assert path.read_bytes() == b"third"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def _interrupted(path):
    with replacing(path) as stream:
        stream.write(b"sec")
        raise KeyboardInterrupt


def test_a_link_that_somebody_puts_in_the_way_is_not_followed(tmp_path, monkeypatch):
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"mine")
    unlink = type(path).unlink

    def raced(partial, missing_ok=False):
        unlink(partial, missing_ok=missing_ok)
        partial.symlink_to(victim)

    monkeypatch.setattr(type(path), "unlink", raced)
    with pytest.raises(FlapSamError, match="cannot be written"), replacing(path) as stream:
        stream.write(b"yours")
    assert victim.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FlapSamError, match="file/below cannot be written"), replacing(tmp_path / "file" / "below"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, number, call):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, call) if call == "fsync" else (type(path), call)), refuse)
    sentence = rf"{path} cannot be written .*{os.strerror(number)}"
    with pytest.raises(UnwritableError, match=sentence), replacing(path) as stream:
        stream.write(b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"old"}


def test_checksum(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_only_empty_folders_are_removed(tmp_path):
    (tmp_path / "full/empty").mkdir(parents=True)
    (tmp_path / "full/file").touch()
    remove_if_empty(tmp_path / "full/empty", tmp_path / "full", tmp_path / "none")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
