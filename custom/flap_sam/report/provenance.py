# SPDX-License-Identifier: Apache-2.0
"""What left the sites, with which settings, by which software, into which files."""

from collections.abc import Mapping, Sequence

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.foundation.text import figure, megabytes
from flap_sam.records.run_record import FEDERATED
from flap_sam.report.page import Section, Table
from flap_sam.report.run import FinishedRun
from flap_sam.sam.inventory import inventory


def privacy(run: FinishedRun) -> Section:
    """All that left a site, and what never does."""
    if run.record.setting != FEDERATED:
        return Section(
            "privacy", "What left the sites", ["Nothing: this run was made in one place, without a federation."]
        )
    groups = {group: count.sent for group, count in inventory(run.experiment).groups.items() if count.sent}
    return Section(
        "privacy",
        "What left the sites",
        points=[
            "In a round: the tensors below, and one report: the experiment, number of training slices, loss, steps, "
            "seconds, Dice by class, whether the site works on the demo, what kind of weights its network starts "
            "from, a hash of its classes' names and one of its network's start.",
            "After the last round: mean Dice by class on validation and test cases, the spread over the test cases, "
            "and how many cases these are"
            + (", and the surface measures." if run.experiment.surface_tolerance else "."),
            "Never: images, masks, case names, paths."
            + (" The pictures above were collected from the sites' own folders." if run.pictures else ""),
        ],
        tables=[
            Table(
                "Tensors that travel, by part of the network",
                ["part", "numbers"],
                [[group.replace("_", " "), f"{sent:,}"] for group, sent in groups.items()],
                foot=[["all", f"{sum(groups.values()):,}"]],
                note=f"As {run.experiment.payload_dtype}."
                + (" Sites of a lower rank send less." if run.experiment.ranks else "")
                + (
                    " Of lora even and lora odd a round sends one; half of each counts." if "lora_odd" in groups else ""
                ),
            )
        ],
    )


def configuration(experiment: Experiment, policy: Mapping[str, object] | None, without: Sequence[str] = ()) -> Section:
    """Settings of experiment and policy, some perhaps left out, beside their defaults."""
    usual = dict(Experiment())
    settings = {name: value for name, value in dict(experiment).items() if name not in without}
    tables = [_settings("Experiment", settings, usual)]
    if policy is not None:
        tables.append(_settings("RunPolicy", policy, dict(RunPolicy())))
    sentence = (
        "Where a setting is not the default, the default stands beside it; an experiment's defaults are the paper's. "
        "Backbone and image size are as the sites found them."
    )
    return Section("configuration", "Configuration", [sentence], tables=tables)


def _settings(title: str, settings: Mapping[str, object], usual: Mapping[str, object]) -> Table:
    """Settings by name; the default stands beside those that differ."""
    rows = []
    for name, value in settings.items():
        differs = value != usual.get(name)
        rows.append([name, _plain(value), _plain(usual.get(name)) if differs else ""])
    return Table(title, ["setting", "value", "default"], rows, words=3)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    return "none" if value is None else str(value)


def files(run: FinishedRun) -> Section:
    """Payloads with their hashes, and versions."""
    payloads = [
        [kind, file.name, str(file.round), figure(file.validation), megabytes(file.size), file.sha256]
        for kind, file in run.payloads.items()
    ]
    return Section(
        "provenance",
        "Versions and files",
        [f"The experiment, resolved, has the digest {run.experiment.digest()}."],
        tables=[
            Table(
                "Payloads",
                ["payload", "file", "round", "validation Dice", "MB", "sha256"],
                payloads,
                words=2,
                note="Round is the one that would start from it; its validation Dice is known once it was scored.",
            ),
            versions([attempt.versions for attempt in run.record.attempts]),
        ],
    )


def versions(found: Sequence[Mapping[str, str]]) -> Table:
    """Every version that took part, by name."""
    names = dict.fromkeys(name for versions in found for name in versions)
    rows = [[name, ", ".join(dict.fromkeys(versions.get(name, "-") for versions in found))] for name in names]
    return Table("Software", ["", "version"], rows, words=2)
