# SPDX-License-Identifier: Apache-2.0
"""Every Python file says under which licence it may be used, as the package does."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LICENCE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
FOLDERS = ("benchmarks", "custom", "docs", "jobs", "provisioning", "tests")


def test_every_python_file_begins_with_the_licence_of_the_package():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert Path(__file__) in files
    header = f"# SPDX-License-Identifier: {LICENCE}"
    assert [file for file in files if file.read_text().partition("\n")[0] != header] == []
