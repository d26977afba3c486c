# SPDX-License-Identifier: Apache-2.0
import json
from types import SimpleNamespace

from flap_sam.federation.artifacts import report_best, report_round, write_manifest
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, RESULTS, Scores
from flap_sam.records.scores import Evaluation
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.widgets.metrics_artifact_writer import MetricsArtifactWriter
from nvflare.tool.job.job_cli import _discover_job_download_artifacts

from tests.federation.test_tracking import RECORD, SITE

COUNTS = "validation_cases", "test_cases"
EMPTY = {name: None if name in COUNTS else [None, None] for name in Evaluation.model_fields}


class Run:
    """A component whose events FLARE's writer hears, in a context that knows a run's folder."""

    def __init__(self, folder):
        workspace = SimpleNamespace(get_run_dir=lambda _: str(folder))
        self.context = FLContext()
        self.context.get_engine = lambda: SimpleNamespace(get_workspace=lambda: workspace)
        self.writer = MetricsArtifactWriter()
        self.fire_event(EventType.START_RUN, self.context)

    def fire_event(self, event, context):
        self.writer.handle_event(event, context)


def test_flares_writer_notes_rounds_sites_and_the_best_round(tmp_path):
    run = Run(tmp_path)
    silent = SITE.changed(validation=[None, None], counted_slices=2)
    for number in range(2):
        record = RECORD.changed(round=number, sites={"A": SITE, "B": silent}, validation=0.5 if number else None)
        report_round(run, run.context, record)
    evaluation = Evaluation(**EMPTY | {"test": [0.25, None]})
    scores = Scores(best_round=1, payloads={kind: {"A": evaluation} for kind in (FINAL, BEST)}, departures={})
    report_best(run, run.context, scores)
    run.fire_event(EventType.END_RUN, run.context)

    first, second = [json.loads(line) for line in (tmp_path / "metrics/round_metrics.jsonl").read_text().splitlines()]
    assert first["aggregated_metrics"] == [{"name": "loss", "value": 0.25}]
    assert second["aggregated_metrics"] == [{"name": "loss", "value": 0.25}, {"name": "validation_dice", "value": 0.5}]
    known, unknown = second["sites"]
    assert known["metrics"] == [{"name": "loss", "value": 0.5}, {"name": "validation_dice", "value": 0.5}]
    assert (known["weight"], unknown["weight"], known["weight_key"]) == (3, 2, "slices")
    assert unknown["metrics"] == [{"name": "loss", "value": 0.5}]
    assert not first["skipped_metrics"]
    summary = json.loads((tmp_path / "metrics/metrics_summary.json").read_text())
    assert (summary["final_round"], summary["best_round"]) == (1, 1)
    assert summary["best_metrics"] == [{"name": "test_dice", "value": 0.25}]
    assert summary["key_metric"]["name"] == "validation_dice"


def test_flares_tool_finds_the_best_payload_in_what_it_downloads(tmp_path):
    run_folder = tmp_path / "workspace"
    payload = run_folder / RESULTS / PAYLOAD_FILES[BEST]
    payload.parent.mkdir(parents=True)
    payload.write_bytes(b"weights")
    write_manifest(run_folder)
    found, _ = _discover_job_download_artifacts(str(tmp_path))
    assert found["global_model"] == str(payload)
