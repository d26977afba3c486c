# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.foundation.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from flap_sam.foundation.lock import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_is_free_when_that_is_killed(tmp_path):
    path = tmp_path / "new" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FlapSamError, match=f"It is in use by process {holder.pid} on "), locked(path, "It"):
            pass
        holder.send_signal(signal.SIGKILL)
        with locked(path, "It", patience=30):
            assert str(os.getpid()) in path.read_text()
    finally:
        holder.kill()
        holder.communicate()
    assert not path.exists()


def test_a_lock_is_waited_for_no_longer_than_said(tmp_path):
    with locked(tmp_path / "lock", "It"):
        began = time.monotonic()
        with pytest.raises(FlapSamError, match="in use"), locked(tmp_path / "lock", "It", patience=0.5):
            pass
        assert 0.5 <= time.monotonic() - began < 30


def test_a_note_that_says_nothing_is_no_holder(tmp_path):
    with locked(tmp_path / "lock", "It"):
        (tmp_path / "lock").write_text("[]")
        with pytest.raises(FlapSamError, match="in use by another process"), locked(tmp_path / "lock", "It"):
            pass


def test_a_lock_in_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FlapSamError, match="lock cannot be written"), locked(tmp_path / "file" / "lock", "It"):
        pass


def test_a_note_that_the_disk_has_no_room_for_leaves_no_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        with (
            pytest.raises(FlapSamError, match=r"lock cannot be written.*No space left"),
            locked(tmp_path / "lock", "It"),
        ):
            pass
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "lock", "It"):
        pass
