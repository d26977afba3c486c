# SPDX-License-Identifier: Apache-2.0
"""Check the network and the aggregation against a kit of golden numbers from an independent implementation.

A kit is a folder with `golden.json` (cases and aggregation) and `logits.npz`. Every case's weights, image
and labels are drawn again from their names; the worst differences are printed, and the exit status is 1
where one is beyond tolerance.

    python benchmarks/golden.py KIT
"""

import argparse
import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.lowrank.aggregate import RunningSum
from flap_sam.lowrank.factors import Factors
from flap_sam.lowrank.refactorise import refactorise
from flap_sam.sam.build import Backbone, build
from flap_sam.sam.network import FlapSam
from flap_sam.training.loss import segmentation_loss
from torch import Tensor

TOLERANCE = {"logits": 2e-4, "loss": 1e-5, "gradients": 1e-3, "aggregation": 1e-9}
STORED_STRIDE = 4  # of the pixels of cases whose logits are too many to keep

RENAMED = [
    (r"^sam\.", ""),
    (r"^FacT([uv])\.weight$", r"image_encoder.FacT\1.weight"),
    (r"image_encoder\.FacTu\.weight", "image_encoder.fact.U"),
    (r"image_encoder\.FacTv\.weight", "image_encoder.fact.V"),
    (r"\.(ImageEncoderViT|Block|Attention)\.", "."),
    (r"\.attn\.qkv\.qkv\.", ".attn.qkv."),
    (r"\.attn\.qkv\.([qv])_FacTs\.weight", r".attn.adapter_\1.core"),
    (r"\.adapter_(?:linear_)?(down|up|conv|norm)_2\.", r".mlp_slices.\1."),
    (r"\.adapter_(?:linear_)?(down|up|conv|norm)\.", r".attention_slices.\1."),
    (r"\.lora_scale(?:\.weight)?$", ".gate.logits"),
]
LORA = re.compile(r"\.lora_w_([ab])_([qv])\.(\d+)\.weight$")


def our_name(name: str, experts: int) -> str:
    """That implementation's name of a tensor in our network."""
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)

    def low_rank(match: re.Match) -> str:
        factor, projection, expert = match[1].upper(), match[2], match[3]
        return f".adapter_{projection}{f'.experts.{expert}' if experts > 1 else ''}.{factor}"

    return LORA.sub(low_rank, name)


def draw(tag: str, *shape: int) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(tag.encode())).standard_normal(shape)


def weight(name: str, shape: list[int]) -> Tensor:
    w = draw(name, *shape)
    if len(shape) >= 2:
        w = w * 1.5 / np.sqrt(w.size / shape[0])
    else:
        w = 0.1 * w + (1.0 if name.endswith(".weight") else 0.0)
    return torch.from_numpy(w).float()


def network(case: dict) -> FlapSam:
    sizes = case["encoder"]
    backbone = Backbone(
        width=sizes["embed_dim"],
        depth=sizes["depth"],
        heads=sizes["heads"],
        global_attention=tuple(sizes["global_attn"]),
        window=sizes["window"],
        image_size=case["image_size"],
    )
    experiment = Experiment(
        classes=case["classes"],
        image_size=case["image_size"],
        method="flap_sam" if case["experts"] else "masam",
        rank=case["rank"],
        alpha=case["scale"],
        **({"adapter": "mole", "experts": case["experts"]} if case["experts"] > 1 else {}),
    )
    model = build(experiment, backbone)
    state = {our_name(name, case["experts"]): weight(name, shape) for name, shape in case["state"].items()}
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: t.shape for name, t in state.items()} != expected:
        different = sorted(n for n in {*state, *expected} if n not in state or expected.get(n) != state[n].shape)
        raise SystemExit(f"case {case['tag']}: tensors differ in name or shape, first {different[:3]}")
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(True).eval()


def check_case(case: dict, stored: np.ndarray) -> dict[str, float]:
    """Worst differences: logits over their scale, losses, gradients relative to their norm."""
    model = network(case)
    shape = (case["batch"], 5, case["image_size"], case["image_size"])
    tag, crc = case["tag"], zlib.crc32
    image = np.random.RandomState(crc(f"image.{tag}".encode())).random_sample(shape)
    label = np.random.RandomState(crc(f"label.{tag}".encode())).randint(0, case["classes"] + 1, int(np.prod(shape)))
    logits = model(torch.from_numpy(image).float())
    loss = segmentation_loss(logits, torch.from_numpy(label).reshape(shape))
    loss.total.backward()

    ours = logits.detach().flatten(0, 1).numpy()
    if ours.size != stored.size:
        ours = ours[..., ::STORED_STRIDE, ::STORED_STRIDE]
    stored = stored.reshape(ours.shape)
    losses = {"ce": loss.cross_entropy, "dice": loss.dice, "loss": loss.total}
    parameters = dict(model.named_parameters())
    return {
        "logits": float(np.abs(ours - stored).max() / np.abs(stored).max()),
        "loss": max(abs(losses[name].item() - case[name]) for name in losses),
        "gradients": max(
            _gradient_difference(name, parameters[our_name(name, case["experts"])].grad, *expected)
            for name, expected in case["grads"].items()
        ),
    }


def _gradient_difference(name: str, gradient: Tensor, norm: float, probe: float) -> float:
    gradient = gradient.double().flatten().numpy()
    direction = draw(f"probe.{name}", gradient.size)
    scale = norm if norm > 0 else 1.0
    return max(abs(np.linalg.norm(gradient) - norm) / scale, abs(gradient @ direction - probe) / scale)


def check_aggregation(case: dict) -> dict[str, float]:
    """Worst relative difference of the aggregated change, its spectrum and its truncation."""
    tag, rank, weights = case["tag"], case["rank"], case["weights"]
    updates = [
        Factors(
            torch.from_numpy(draw(f"{tag}.A.{k}", rank, case["d_in"])),
            torch.from_numpy((1 + 0.3 * k) * draw(f"{tag}.B.{k}", case["d_out"], rank)),
        )
        for k in range(case["sites"])
    ]
    running = RunningSum()
    running.add(updates, weights)
    result = refactorise(running.total(), rank, scale=1.0)
    approximation = result.factors.change().numpy()
    spectrum = torch.linalg.svdvals(running.total().dense()).numpy()
    ours = {
        "singular_values": spectrum[: len(case["singular_values"])],
        "delta_norm": np.linalg.norm(spectrum),
        "truncated_norm": np.linalg.norm(approximation),
        "error": result.residual.item(),
        "probe": (approximation * draw(f"{tag}.probe", case["d_out"], case["d_in"])).sum(),
    }
    return {"aggregation": max(float(np.max(np.abs(ours[k] / np.array(case[k]) - 1))) for k in ours)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kit", type=Path, help="folder with golden.json and logits.npz")
    kit = parser.parse_args().kit
    golden = json.loads((kit / "golden.json").read_text())
    failed = False
    with np.load(kit / "logits.npz", allow_pickle=False) as logits:
        results = [(case["tag"], check_case(case, logits[case["tag"]])) for case in golden["cases"]]
    results += [(case["tag"], check_aggregation(case)) for case in golden["aggregation"]]
    for tag, differences in results:
        beyond = [name for name, value in differences.items() if not value <= TOLERANCE[name]]
        failed |= bool(beyond)
        figures = "  ".join(f"{name} {value:.1e} (<= {TOLERANCE[name]:.0e})" for name, value in differences.items())
        print(f"{'FAIL' if beyond else 'ok':4}  {tag:12}  {figures}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
