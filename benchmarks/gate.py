# SPDX-License-Identifier: Apache-2.0
"""What a hospital's gate costs of a round, without `privacy`: its CPU seconds beside those of the round itself.

    python benchmarks/gate.py [--rounds 3] [--image-size 64]

One site of the main job trains on the bundled phantom; every task and every answer passes a gate that has agreed to the
job, with its ledger and its audit log on the disk. In turn, round by round:

    training        the site's round: validation, local epoch, the canonical form of its adapters
    canonical form  the part of it that is there for the gate
    gate, in        a task is judged: experiment, payload, norm, ledger, audit line
    gate, out       an answer is judged: tensors, canonical form, norm, ledger, audit line, digests

The first round also loads the network that updates are measured from; it is shown apart.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from flap_sam.config.job import Job
from flap_sam.config.site import FILE_NAME as SITE_FILE
from flap_sam.config.site import Site
from flap_sam.federation.gate_component import Gate
from flap_sam.gate.agreement import FILE_NAME
from flap_sam.training.member import train_round
from flap_sam.training.participant import Participant, assign
from flap_sam.wire.form import in_canonical_form
from flap_sam.wire.messages import EXPERIMENT, METRICS, REPORT, RUN, SPOKEN, TASK_TRAIN, VERSION, to_meta
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ProcessType, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from rich.console import Console
from rich.table import Table

JOB = Path(__file__).parents[1] / "jobs" / "flap_sam_kits"
SITE = "site-1"


def context(kit: Path) -> FLContext:
    """FLARE's context of one task in a kit's folder."""
    workspace = SimpleNamespace(get_site_config_dir=lambda: str(kit / "local"), get_root_dir=lambda: str(kit))
    engine = SimpleNamespace(get_workspace=lambda: workspace)
    manager = FLContextManager(engine=engine, identity_name=SITE, job_id="job", public_stickers={}, private_stickers={})
    fl_ctx = manager.new_context()
    for key, value in ((ReservedKey.PROCESS_TYPE, ProcessType.CLIENT_JOB), (FLContextKey.TASK_NAME, TASK_TRAIN)):
        fl_ctx.set_prop(key, value, private=True, sticky=False)
    return fl_ctx


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process, and the result."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-size", type=int, help="the job's own if left out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seconds = rounds(Path(name), asked.rounds + 1, asked.image_size)
    size = f"{asked.image_size} px" if asked.image_size else "the job's own size"
    table = Table(title=f"CPU seconds of a round at {size}, one site of the main job")
    for column in ("", "first round", "median of the others", "share of training"):
        table.add_column(column, justify="right" if column else "left")
    training = statistics.median(seconds["training"][1:])
    for part, values in seconds.items():
        median = statistics.median(values[1:])
        table.add_row(part, f"{values[0]:.3f}", f"{median:.3f}", f"{100 * median / training:.2f} %")
    Console().print(table)


def rounds(folder: Path, number: int, image_size: int | None) -> dict[str, list[float]]:
    """CPU seconds by part, round by round."""
    (folder / "local").mkdir()
    site = {"state": str(folder / "state")}
    (folder / "local" / SITE_FILE).write_text(json.dumps(site))
    experiment = Job.read(JOB).experiment().changed(image_size=image_size, rounds=number)
    agreed = {"experiments": [dict(experiment)], "metrics": list(METRICS), "runs": 1, "repeats": 0, "evaluations": 0}
    limits = {"largest_update": 1e6, "largest_payload": 1e6}
    (folder / "local" / FILE_NAME).write_text(json.dumps(agreed | limits))
    own = Site.from_plain(site)
    participant = Participant(experiment, own, assign(own, SITE, "phantom"), SITE, "run")
    gate, received = Gate(), {}
    seconds: dict[str, list[float]] = {"training": [], "canonical form": [], "gate, in": [], "gate, out": []}
    for current in range(number):
        fl_ctx = context(folder)
        meta = {EXPERIMENT: experiment.to_json(), RUN: "run", VERSION: SPOKEN}
        task = _message(received, current, meta)
        fl_ctx.set_prop(FLContextKey.TASK_DATA, task, private=True, sticky=False)
        seconds["gate, in"].append(timed(lambda c=fl_ctx: gate.handle_event(EventType.AFTER_TASK_DATA_FILTER, c))[0])
        cost, (sent, report) = timed(lambda n=current: train_round(participant, n))
        seconds["training"].append(cost)
        seconds["canonical form"].append(timed(lambda t=sent: in_canonical_form(t, participant._pairs))[0])
        result = _message(sent, current, {REPORT: to_meta(report), VERSION: SPOKEN})
        fl_ctx.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        out = timed(lambda c=fl_ctx: gate.handle_event(EventType.AFTER_TASK_RESULT_FILTER, c))[0]
        seconds["gate, out"].append(
            out + timed(lambda c=fl_ctx: gate.handle_event(EventType.BEFORE_SEND_TASK_RESULT, c))[0]
        )
        received = FLModelUtils.from_shareable(result).params
        participant.receive(received)
    return seconds


def _message(tensors: dict, number: int, meta: dict) -> Shareable:
    return FLModelUtils.to_shareable(
        FLModel(params_type=ParamsType.FULL, params=dict(tensors), current_round=number, meta=meta)
    )


if __name__ == "__main__":
    main()
