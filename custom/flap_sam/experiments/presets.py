# SPDX-License-Identifier: Apache-2.0
"""Plans by name."""

from flap_sam.config import paper
from flap_sam.errors import FlapSamError
from flap_sam.experiments.plan import Grid, Plan
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL, Setting

OURS = "flap_sam"
OTHERS = ("loradecft", "pdecft", "loraft", "decft", "attnft", "fullft")

# the paper's Table 1 and Figure 1, Table 2, Tables D and E: what is asked most first, what costs most last
COMPARED = (
    Grid([FEDERATED], {"method": [OURS, *OTHERS]}),
    Grid([LOCAL], {"method": [OURS]}),
    Grid([FEDERATED], {"method": [OURS], "rank": [16, 4]}),
    Grid([FEDERATED], {"method": [OURS], "adapter": ["dora", "mole"]}),
    Grid([LOCAL], {"method": OTHERS}),
    Grid([CENTRALIZED], {"method": [OURS, *OTHERS]}),
)
ALONE: tuple[Setting, ...] = (LOCAL, CENTRALIZED)

PRESETS = {
    "small": Plan(
        grids=(*COMPARED, Grid([FEDERATED, CENTRALIZED], {"method": ["masam"]})), seeds=(1, 2, 3), fixed={"rounds": 10}
    ),
    "paper": Plan(
        grids=(
            *COMPARED,
            Grid([CENTRALIZED], {"method": ["masam"]}),
            Grid(ALONE, {"method": [OURS], "rank": [16, 4]}),  # for the collaborative gain of these too
            Grid(ALONE, {"method": [OURS], "adapter": ["dora", "mole"]}),
        ),
        seeds=(1234,),  # of the paper's published code
        fixed=paper.SETTINGS,
        beside_paper=True,
    ),
}


def preset(name: str) -> Plan:
    """Raises a FlapSamError where there is none of this name."""
    if name not in PRESETS:
        raise FlapSamError(f"There is no preset {name!r}; expected one of {', '.join(PRESETS)}.")
    return PRESETS[name]
