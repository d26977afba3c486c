# SPDX-License-Identifier: Apache-2.0
from flap_sam.federation.tracking import scalars
from flap_sam.records.round_log import RoundRecord, SiteRecord

SITE = SiteRecord(
    slices=3,
    loss=0.5,
    steps=2,
    seconds=1.0,
    validation=[0.25, 0.75],
    demo=False,
    norm=2.0,
    change=0.5,
    counted_slices=3,
    bytes_down=5,
    bytes_up=2_000_000,
)
RECORD = RoundRecord(
    run="run",
    round=3,
    validation=0.5,
    loss=0.25,
    svd_energy_kept=0.9,
    layers={},
    seconds=2.0,
    server_seconds=0.5,
    sites={"A": SITE},
    refused={"B": "why"},
    missing=["C"],
    late=[],
)


def test_a_round_as_scalars():
    found = dict(scalars(RECORD))
    assert (found["loss"], found["validation Dice"], found["SVD energy kept"]) == (0.25, 0.5, 0.9)
    assert (found["sites counted"], found["sites refused"], found["sites missing"]) == (1, 1, 1)
    assert (found["A/validation Dice"], found["A/norm of B A"], found["A/MB up"]) == (0.5, 2.0, 2.0)
    assert all(type(value) is float for value in found.values())


def test_what_is_not_known_is_left_out():
    bare = RECORD.changed(validation=None, svd_energy_kept=None, sites={"A": SITE.changed(validation=[None, None])})
    assert not {"validation Dice", "SVD energy kept", "A/validation Dice"} & dict(scalars(bare)).keys()
