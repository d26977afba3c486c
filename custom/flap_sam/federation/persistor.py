"""Keeps the global payloads among the results of a run."""

from pathlib import Path

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor

from flap_sam.config.experiment import Experiment
from flap_sam.foundation.files import writing
from flap_sam.records.results import PAYLOAD_FILES
from flap_sam.wire import payload


def results_folder(fl_ctx: FLContext) -> Path:
    """Where a run leaves what it made; part of what an admin downloads."""
    run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
    folder = Path(run) / "results"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


class PayloadPersistor(ModelPersistor):
    """Writes `global_final.safetensors` after every round and `global_best.safetensors` at every new best."""

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Nothing: the sites start from the experiment's seed and their own weights."""
        return make_model_learnable(weights={}, meta_props={})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """The learnable's meta holds `kind`, the resolved `experiment` as JSON and `notes`."""
        meta = model[ModelLearnableKey.META]
        path = results_folder(fl_ctx) / PAYLOAD_FILES[meta["kind"]]
        payload.write(path, model[ModelLearnableKey.WEIGHTS], Experiment.from_json(meta["experiment"]), meta["notes"])
