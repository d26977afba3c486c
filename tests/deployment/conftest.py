# SPDX-License-Identifier: Apache-2.0
"""One federation for all tests: its start takes longer than most of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.federation import Federation, stage


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("staged"), "job")


@pytest.fixture(scope="session")
def long_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("staged"), "job", rounds=10)


@pytest.fixture(scope="session")
def lasting_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("staged"), "job", rounds=5)


@pytest.fixture(scope="session")
def federation(
    tmp_path_factory: pytest.TempPathFactory, staged: Path, lasting_job: Path, long_job: Path
) -> Iterator[Federation]:
    running = Federation(tmp_path_factory.mktemp("federation"), [staged, lasting_job, long_job])
    with running.at_work():
        yield running
