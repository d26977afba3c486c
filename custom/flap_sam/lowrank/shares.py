# SPDX-License-Identifier: Apache-2.0
"""What a site may weigh: by its training slices, and no more than a share of all."""

import math
from collections.abc import Mapping
from fractions import Fraction

FEWEST_SITES = 3


def capped(slices: Mapping[str, int], largest_share: float) -> dict[str, int]:
    """The slices that each site counts for, so that none has more than the share of the sum.

    Who is above the share counts for the most whole slices that keep it within; whatever that raises the others'
    shares above is lowered in turn, the others keep their own. Sites too few for the share to be met all count
    alike. Fewer than `FEWEST_SITES` keep theirs: one site alone is everything, and of two each steers the sum
    whatever it weighs.

    Args:
        slices: 1 or more, by the site's name.
        largest_share: above 0, up to 1.
    """
    share = Fraction(str(largest_share))
    if len(slices) < FEWEST_SITES:
        return dict(slices)
    if share * len(slices) <= 1:
        return dict.fromkeys(slices, min(slices.values()))
    ordered = sorted(slices.values(), reverse=True)
    rest = sum(ordered)
    for above, largest in enumerate(ordered):
        limit = share * rest / (1 - share * above) if share * above < 1 else Fraction(0)
        if largest <= limit:
            break
        rest -= largest
    return {site: min(own, math.floor(limit)) for site, own in slices.items()}


def most_capped(largest_share: float) -> int:
    """How many sites can be above the share at most."""
    return 0 if largest_share >= 1 else math.floor(1 / Fraction(str(largest_share)))
