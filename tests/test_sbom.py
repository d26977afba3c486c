# SPDX-License-Identifier: Apache-2.0
import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import flap_sam

ROOT = Path(__file__).parents[1]


def test_make_sbom_lists_the_package_and_what_it_needs_with_their_versions(tmp_path):
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.ready", "sbom"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout
    tool, *arguments, interpreter = shlex.split(told.splitlines()[-1])
    assert (tool, interpreter) == (".venv/bin/cyclonedx-py", ".venv/bin/python")
    out = tmp_path / "sbom.cdx.json"
    arguments = [str(out) if argument == out.name else argument for argument in arguments]
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *arguments, "--no-validate", sys.executable],
        capture_output=True,
        check=True,
    )
    found = json.loads(out.read_text())
    assert found["bomFormat"] == "CycloneDX"
    versions = {component["name"]: component["version"] for component in found["components"]}
    assert versions["flap-sam"] == flap_sam.__version__
    assert versions["torch"] == version("torch")
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in found["dependencies"]}
    assert f"torch=={version('torch')}" in needs[f"flap-sam=={flap_sam.__version__}"]
