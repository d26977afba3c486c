# SPDX-License-Identifier: Apache-2.0
"""What the round log keeps of a round, from the sites' reports and what the aggregator says of the whole."""

from collections.abc import Iterator, Mapping
from typing import Any

from flap_sam.foundation.means import mean_of_known
from flap_sam.records.candidate import mean_of_sites
from flap_sam.records.round_log import LayerRecord, RoundRecord, SiteRecord
from flap_sam.records.scores import RoundFigures
from flap_sam.rounds.aggregate import Merged
from flap_sam.wire.messages import TrainReport


def site_record(report: TrainReport, bytes_down: int, bytes_up: int) -> SiteRecord:
    """The record of a report; norms and what it counts for come when the round closes."""
    return SiteRecord(
        **{name: getattr(report, name) for name in RoundFigures.model_fields},
        norm=None,
        change=None,
        counted_slices=report.slices,
        bytes_down=bytes_down,
        bytes_up=bytes_up,
    )


def closed(sites: Mapping[str, SiteRecord], merged: Merged) -> dict[str, SiteRecord]:
    """The records of the sites that count, with what the whole round says of them."""
    return {
        site: record.changed(
            norm=merged.norms[site].adapters if merged.kept else None,
            change=merged.norms[site].change,
            counted_slices=merged.counted[site],
        )
        for site, record in sorted(sites.items())
    }


def lines_of_capped(sites: Mapping[str, SiteRecord], largest_share: float) -> Iterator[str]:
    """For the console: which sites count for fewer slices than they have."""
    for site, record in sites.items():
        if record.counted_slices < record.slices:
            yield (
                f"{site} counts for {record.counted_slices} of its {record.slices} slices: one site's share is at most "
                f"{largest_share:g}"
            )


def round_record(sites: Mapping[str, SiteRecord], merged: Merged, **known: Any) -> RoundRecord:
    """The record of a round; `known` are the entries that neither its sites nor the aggregator say."""
    return RoundRecord(
        validation=mean_of_sites(r.validation for r in sites.values()),
        loss=mean_of_known([r.loss for r in sites.values()], [r.counted_slices for r in sites.values()]),
        svd_energy_kept=mean_of_known(merged.kept.values()),
        layers={
            layer: LayerRecord(kept=kept, residual=merged.residual[layer], excess=merged.excess.get(layer))
            for layer, kept in merged.kept.items()
        },
        sites=dict(sites),
        **known,
    )
