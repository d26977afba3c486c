# SPDX-License-Identifier: Apache-2.0
"""A state is kept for this user alone, and is used with its own entry of the ledger alone."""

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.memory import OLDEST, RunMemory
from flap_sam.secure.messages import RosterEntry
from flap_sam.secure.state import HeldShares, Saved, Store
from flap_sam.secure.strings import Exchange

ENTRY = RosterEntry(
    site="a", certificate=b"", share_key=b"1" * 32, mask_key=b"2" * 32, commitment=b"3" * 32, signature=b""
)
EXCHANGE = Exchange(b"e" * 32, "run", "job", 4, "update", b"b" * 32, b"q" * 32)
SAVED = Saved(
    **vars(EXCHANGE),
    opened=100.0,
    number="17",
    step="masked",
    roster=(ENTRY,),
    view=b"v" * 32,
    shares=(HeldShares(site="a", m=b"m" * 16, b=None),),
)
MEMORY = RunMemory(
    experiment="ee" * 32,
    job="job",
    round=4,
    exchanges=("update",),
    number="17",
    step="masked",
    opened=100.0,
    seen=100.0,
)


def test_a_state_is_read_as_it_was_written(tmp_path):
    store = Store(tmp_path / "masking")
    assert store.read("run", MEMORY) is None
    store.write(SAVED)
    [file] = (tmp_path / "masking").iterdir()
    assert file.name == "run.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert store.read("run", MEMORY) == SAVED
    assert SAVED.of == EXCHANGE
    assert SAVED.masked == ("a",)
    store.remove("run")
    store.remove("run")
    assert store.read("run", MEMORY) is None


@pytest.mark.parametrize("change", [{"number": "18"}, {"step": "consistency"}])
def test_a_state_that_the_ledger_does_not_tell_of_is_none(tmp_path, change):
    Store(tmp_path).write(SAVED)
    assert Store(tmp_path).read("run", MEMORY.model_copy(update=change)) is None
    (tmp_path / "run.json").rename(tmp_path / "other.json")
    assert Store(tmp_path).read("other", MEMORY) is None


@pytest.mark.parametrize(
    ("now", "stays"), [(99.0, False), (100.0, True), (100.0 + OLDEST, True), (101.0 + OLDEST, False)]
)
def test_what_is_old_or_of_the_future_is_removed(tmp_path, now, stays):
    store = Store(tmp_path)
    store.remove_old(now)
    store.write(SAVED)
    (tmp_path / "damaged.json").write_text("{}")
    store.remove_old(now)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"] * stays


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "masking").write_text("a file")
    with pytest.raises(FlapSamError, match="masking cannot be written") as refusal:
        Store(tmp_path / "masking").write(SAVED)
    assert refusal.value.reason is Reason.STATE
