import hashlib

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import new_folder, remove_if_empty, replacing, sha256


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file"
    with replacing(path) as stream:
        stream.write(b"first")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert path.read_bytes() == b"first"
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


def test_checksum(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_only_empty_folders_are_removed(tmp_path):
    (tmp_path / "full/empty").mkdir(parents=True)
    (tmp_path / "full/file").touch()
    remove_if_empty(tmp_path / "full/empty", tmp_path / "full", tmp_path / "none")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]


def _interrupted_folder(path):
    with new_folder(path) as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _interrupted_folder(tmp_path / "deep" / "made")
    assert not list((tmp_path / "deep").iterdir())
    with new_folder(tmp_path / "made") as folder:
        (folder / "whole").touch()
        assert not (tmp_path / "made").exists()
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["whole"]
    with pytest.raises(FlapSamError, match="made is there already"), new_folder(tmp_path / "made"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(FlapSamError, match="file/made cannot be written"), new_folder(tmp_path / "file" / "made"):
        pass
