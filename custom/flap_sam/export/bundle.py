# SPDX-License-Identifier: Apache-2.0
"""A MONAI bundle: the network, and a configuration by which `monai.bundle` segments a folder of scans with it."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

import flap_sam
from flap_sam.config.experiment import WINDOW_SLICES, Experiment
from flap_sam.data.intensity import Intensity
from flap_sam.errors import FlapSamError
from flap_sam.export import monai_parts
from flap_sam.export.provenance import closing
from flap_sam.foundation.own_folder import new_folder
from flap_sam.inference.intensities import Conventions
from flap_sam.inference.model import Model

METADATA, INFERENCE, WEIGHTS = "configs/metadata.json", "configs/inference.json", "models/model.pt"
CARD, LICENCE = "docs/README.md", "docs/license.txt"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
NEEDED = {"pytorch-ignite": "0.5", "fire": "0.7"}  # by MONAI's evaluator and its command; not by this package


def write(model: Model, provenance: Mapping[str, str], used: Conventions, folder: Path) -> None:
    """Write the bundle. Its network is the trained one, adapters and all, and gives the same masks.

    Args:
        used: how scans are prepared, as those were that the model was trained on.
        folder: a new one.

    Raises:
        FlapSamError: the folder is there or cannot be written; a class has a name that MONAI would evaluate.
    """
    state = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    texts = {
        METADATA: _json(metadata(model.experiment, provenance, used)),
        INFERENCE: _json(inference(model.experiment, used)),
        CARD: _card(model.experiment, provenance),
        LICENCE: _LICENCE,
    }
    with new_folder(folder) as partial:
        for name, text in texts.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text)
        (partial / WEIGHTS).parent.mkdir()
        with (partial / WEIGHTS).open("wb") as stream:
            torch.save(state, stream)


def metadata(experiment: Experiment, provenance: Mapping[str, str], used: Conventions) -> dict[str, object]:
    """`metadata.json`; what the payload says of itself stays one text, which MONAI does not evaluate."""
    window = [WINDOW_SLICES, experiment.image_size, experiment.image_size]
    classes = {str(k): _inert(name) for k, name in enumerate(["background", *used.names(experiment.classes)])}
    picture = {"type": "image", "num_channels": 1, "spatial_shape": window, "dtype": "float32", "is_patch_data": True}
    return {
        "schema": SCHEMA,
        "version": flap_sam.__version__,
        "changelog": {flap_sam.__version__: "exported by flap-sam"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), **NEEDED, "flap-sam": flap_sam.__version__},
        "name": "FLAP-SAM",
        "task": "Organ segmentation, slice by slice, by SAM fine-tuned in a federation",
        "description": f"SAM ({experiment.backbone}) with method {experiment.method}, trained by FLAP-SAM",
        "authors": "the federation that trained it",
        "copyright": "see docs/license.txt",
        "intended_use": "Research. It is not a medical device.",
        "references": ["arXiv 2407.21739", "arXiv 2304.02643"],
        "network_data_format": {
            "inputs": {
                "image": picture
                | {"format": "magnitude", "modality": "n/a", "value_range": [0, 1], "channel_def": {"0": "image"}}
            },
            "outputs": {
                "pred": picture
                | {
                    "format": "labels",
                    "modality": "n/a",
                    "num_channels": len(classes),
                    "value_range": [],
                    "channel_def": classes,
                }
            },
        },
        "flap_sam": dict(provenance),
    }


def inference(experiment: Experiment, used: Conventions) -> dict[str, object]:
    """`inference.json`: scans of `dataset_dir` to label maps in `output_dir`, on the scans' own grids."""
    read = {
        "_target_": _name(monai_parts.ReadScand),
        "keys": "image",
        "intensity": _built(used.intensity),
        "minimum_side": used.minimum_side,
    }
    write_masks = {"_target_": _name(monai_parts.WriteMaskd), "keys": "pred", "output_dir": "@output_dir"}
    return {
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "data": {"_target_": _name(monai_parts.scans_in), "folder": "@dataset_dir"},
        "network_def": {"_target_": _name(monai_parts.WindowNetwork), "experiment": experiment.to_json()},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [read]},
        "dataset": {"_target_": _name(monai_parts.Scans), "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": _name(monai_parts.VolumeInferer)},
        "postprocessing": {"_target_": "Compose", "transforms": [write_masks]},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": f"$@bundle_root + '/{WEIGHTS}'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": [
            {"_target_": _name(monai_parts.check_scans), "folder": "@dataset_dir"},
            "$@evaluator.run()",
            {"_target_": _name(monai_parts.check_skipped), "dataset": "@dataset"},
        ],
    }


def _inert(name: str) -> str:
    if name.startswith(("$", "@", "%")):
        raise FlapSamError(f"The class name {name!r} would be evaluated by MONAI; rename it in the store's manifest.")
    return name


def _built(value: Intensity) -> dict[str, object]:
    """How MONAI's configuration builds it."""
    return {"_target_": _name(type(value)), **value.model_dump()}


def _name(kind: Callable[..., object]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=4) + "\n"


def _card(experiment: Experiment, provenance: Mapping[str, str]) -> str:
    size = experiment.image_size
    return f"""# SAM ({experiment.backbone}), fine-tuned in a federation

Segments {experiment.classes} classes in volumes, slice by slice. With flap-sam {flap_sam.__version__} installed:

```
pip install {" ".join(NEEDED)}
python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
    --dataset_dir /data/scans --output_dir /data/masks
```

takes every scan of `dataset_dir`, as `flap-sam predict` does, and writes `<scan>_mask.nii.gz`, uint8, on the scan's own
grid. One that is of no use keeps no other from its mask; it is named at the end, in an error.
Scans are clipped as those were that the network was trained on: `ReadScand` in `configs/inference.json`.

The network takes windows of {WINDOW_SLICES} neighbouring slices, {size} x {size} pixels in 0..1, and gives logits of
the background and every class. `models/model.pt` holds tensors alone (`torch.load(weights_only=True)`).

{closing(provenance)}"""


_LICENCE = """The network is SAM's, by Meta Platforms, Inc., under the Apache License 2.0, as are segment_anything and
FLAP-SAM (https://www.apache.org/licenses/LICENSE-2.0). The weights were changed by training on data of the federation's
sites: who passes them on says, with these sites' consent, under which terms.
"""
