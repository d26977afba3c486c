# SPDX-License-Identifier: Apache-2.0
"""What FLARE's own tools show of a run: its metrics by round and site, and which of its files is the model.

FLARE's `MetricsArtifactWriter` makes `metrics_summary.json` and `round_metrics.jsonl` of them; `nvflare job download`
finds both, and the model by `artifact_manifest.json`.
"""

import json
from pathlib import Path

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.records.results import BEST, PAYLOAD_FILES, RESULTS, Scores
from flap_sam.records.round_log import RoundRecord

MANIFEST = "artifact_manifest.json"
SOURCE = "flap_sam"
KEY_METRIC = {"name": "validation_dice", "mode": "max", "mode_source": SOURCE}


def report_round(component: FLComponent, fl_ctx: FLContext, record: RoundRecord) -> None:
    """Give a round's metrics to the job's components, as FLARE's own workflows do after an aggregation."""
    sites = [
        {
            "name": name,
            "metrics": _known(loss=entry.loss, validation_dice=mean_of_known(entry.validation)),
            "weight": entry.counted_slices,
            "weight_key": "slices",
        }
        for name, entry in record.sites.items()
    ]
    merged = FLModel(
        metrics=_known(loss=record.loss, validation_dice=record.validation),
        current_round=record.round,
        meta={
            AppConstants.METRICS_AGGREGATION_INFO: {"sites": sites, "key_metric": KEY_METRIC, "metric_source": SOURCE}
        },
    )
    fl_ctx.set_prop(AppConstants.AGGREGATION_RESULT, merged, private=True, sticky=False)
    component.fire_event(AppEventType.AFTER_AGGREGATION, fl_ctx)


def report_best(component: FLComponent, fl_ctx: FLContext, scores: Scores) -> None:
    """Say which round starts from the best payload, and its test Dice, a mean over sites and classes."""
    dice = [value for report in scores.payloads[BEST].values() for value in report.test or []]
    told = {
        "best_round": scores.best_round,
        "best_metrics": _known(test_dice=mean_of_known(dice)),
        "key_metric": KEY_METRIC,
        "source": SOURCE,
    }
    fl_ctx.set_prop(AppConstants.METRICS_SELECTION_INFO, told, private=True, sticky=False)
    component.fire_event(AppEventType.GLOBAL_BEST_MODEL_AVAILABLE, fl_ctx)


def _known(**metrics: float | None) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if value is not None}


def write_manifest(run_folder: Path) -> None:
    """Name the best payload as the model of the run, at the place where `nvflare job download` looks."""
    told = {"schema_version": "1", "artifacts": {"global_model": f"{RESULTS}/{PAYLOAD_FILES[BEST]}"}}
    with replacing(run_folder / MANIFEST) as stream:
        stream.write(json.dumps(told, indent=2).encode())
