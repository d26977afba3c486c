# SPDX-License-Identifier: Apache-2.0
"""TensorBoard scalars of a round, through FLARE's own tracking: the server's figures, sent by no site."""

from collections.abc import Iterator

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, AnalyticsDataType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.widgets.streaming import create_analytic_dxo, send_analytic_dxo

from flap_sam.foundation.means import mean_of_known
from flap_sam.records.round_log import RoundRecord


def track(component: FLComponent, fl_ctx: FLContext, record: RoundRecord) -> None:
    """Hand a round's scalars to the job's receivers, such as FLARE's `TBAnalyticsReceiver`."""
    for tag, value in scalars(record):
        dxo = create_analytic_dxo(tag=tag, value=value, data_type=AnalyticsDataType.SCALAR, global_step=record.round)
        send_analytic_dxo(component, dxo=dxo, fl_ctx=fl_ctx, event_type=ANALYTIC_EVENT_TYPE)


def scalars(record: RoundRecord) -> Iterator[tuple[str, float]]:
    """Tags and values; what a round does not know is left out."""
    whole = {
        "loss": record.loss,
        "validation Dice": record.validation,
        "SVD energy kept": record.svd_energy_kept,
        "seconds": record.seconds,
        "sites counted": float(len(record.sites)),
        "sites refused": float(len(record.refused)),
        "sites missing": float(len(record.missing)),
    }
    yield from ((tag, value) for tag, value in whole.items() if value is not None)
    for site, entry in record.sites.items():
        own = {
            "loss": entry.loss,
            "validation Dice": mean_of_known(entry.validation),
            "norm of B A": entry.norm,
            "MB up": entry.bytes_up / 1e6,
            "seconds": entry.seconds,
        }
        yield from ((f"{site}/{tag}", value) for tag, value in own.items() if value is not None)
