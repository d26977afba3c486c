# SPDX-License-Identifier: Apache-2.0
"""A knock tells a door that holds from one that does not, and leaves this process as it was.

`tests/deployment/test_check.py` has the doors that do not hold.
"""

import logging

import pytest
from flap_sam.federation.door.knock import knock
from nvflare.fuel.f3.cellnet.core_cell import CoreCell


@pytest.mark.parametrize("relays", [(), ("relay-a",)])
def test_a_door_that_holds_is_found_shut_and_nothing_stays_behind(relays, caplog):
    before = CoreCell.process_message, dict(CoreCell.ALL_CELLS)
    for _ in range(2):
        knock(relays)
    assert (CoreCell.process_message, dict(CoreCell.ALL_CELLS)) == before
    assert not caplog.records
    assert logging.root.manager.disable == logging.NOTSET
