# SPDX-License-Identifier: Apache-2.0
"""FLAP-SAM's jobs from Python: simulated here, submitted to a federation, or exported as the folders beside this file.

python jobs/job.py                                             simulates flap_sam_kits
python jobs/job.py flap_sam_nifti --env poc                    runs it in services on this machine
python jobs/job.py flap_sam_nifti --env prod --startup-kit KIT submits it
python jobs/job.py flap_sam_nifti --export --export-dir jobs   writes its folder
"""

import argparse
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.federation.recipe import FlapSamRecipe
from nvflare.recipe import PocEnv, ProdEnv, SimEnv
from nvflare.recipe.spec import ExecEnv

SMALL = {"rounds": 10, "batch_size": 4, "learning_rate": 0.002, "warmup_steps": 10, "augmentation": "none"}
JOBS = {
    "flap_sam_kits": (Experiment.from_dict({"dataset": "kits19", "classes": 2, **SMALL}), "phantom"),
    "flap_sam_ixi": (Experiment.from_dict({"dataset": "ixi", "classes": 1, **SMALL}), "phantom-head"),
    "flap_sam_prostate": (Experiment.from_dict({"dataset": "prostate", "classes": 1, **SMALL}), "phantom-pelvis"),
    "flap_sam_nifti": (Experiment.from_dict({"dataset": "nifti", "classes": 2, **SMALL}), "phantom"),
}
LOGIN_SECONDS = 60.0


def environment(asked: argparse.Namespace) -> ExecEnv:
    """FLARE's environment that the words ask for."""
    if asked.env == "prod":
        kit = Path(asked.startup_kit)
        return ProdEnv(startup_kit_location=str(kit), username=kit.resolve().name, login_timeout=LOGIN_SECONDS)
    if asked.env == "poc":
        return PocEnv(num_clients=asked.sites, extra={"login_timeout": LOGIN_SECONDS})
    return SimEnv(num_clients=asked.sites, workspace_root=str(Path(asked.work).absolute()))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("job", nargs="?", default="flap_sam_kits", choices=JOBS)
    words.add_argument("--env", default="sim", choices=("sim", "poc", "prod"))
    words.add_argument("--sites", type=int, default=6)
    words.add_argument("--work", default="work", help="folder for the simulation's workspace")
    words.add_argument("--startup-kit", help="of the person who submits, as `nvflare provision` made it")
    asked = words.parse_args()
    if asked.env == "prod" and not asked.startup_kit:
        words.error("--env prod needs --startup-kit")
    experiment, demo = JOBS[asked.job]
    run = FlapSamRecipe(asked.job, experiment, demo=demo).execute(environment(asked))
    print("results:", run.get_result(clean_up=False))


if __name__ == "__main__":
    main()
