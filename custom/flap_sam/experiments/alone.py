# SPDX-License-Identifier: Apache-2.0
"""The experiment without a federation: one site alone, or all data in one place, in this process."""

from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.data.demo import demo_sites
from flap_sam.data.store import sites
from flap_sam.errors import FlapSamError
from flap_sam.foundation import lock
from flap_sam.foundation.files import writing
from flap_sam.foundation.lock import locked
from flap_sam.records import run_record
from flap_sam.records.results import PAYLOAD_FILES, TEST_DICE
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.records.run_record import CENTRALIZED, LOCAL, RUN_RECORD, Setting
from flap_sam.rounds.in_process import InProcess
from flap_sam.rounds.loop import Run, Surroundings
from flap_sam.rounds.run_state import RunStore
from flap_sam.training.member import Member
from flap_sam.training.participant import Assignment, Participant, assign
from flap_sam.training.progress import Say, silent

MADE = (*PAYLOAD_FILES.values(), ROUND_LOG)


def assignments(site: Site, demo: str | None) -> dict[str, Assignment]:
    """Every site's data by its name in the store: the configured store's, or else the demo's.

    Raises:
        FlapSamError: no data is configured and there is no demo.
    """
    unnamed = site.changed(name=None)
    names = sites(site.data) if site.data else demo_sites(demo) if demo else ["?"]
    return {name: assign(unnamed, name, demo) for name in names}


def train(
    experiment: Experiment,
    out: Path | str,
    *,
    site: Site | None = None,
    policy: RunPolicy | None = None,
    demo: str | None = None,
    say: Say = silent,
) -> Path:
    """Run an experiment as a federation of one, in this process; leaves the files of a federated run in a folder.

    A run that was interrupted in `out` goes on after the last round that had closed.

    Args:
        site: with a `name`, the data of that site of the store alone, as the store names it or `site-2` for its
            second; without one, those of all sites in one place. None means as the environment says.
        policy: how the run is conducted, where one site can do so; None means the defaults.
        demo: the phantom that is drawn where no data is configured.
        say: takes lines on the progress.

    Returns:
        `out`: payloads, round log and test Dice, on the test cases of every site (see `records.results`).

    Raises:
        FlapSamError: settings, data or checkpoint cannot be used, or `out` holds another run.
    """
    site, out = site or Site.read(None), Path(out)
    everyone = assignments(site, demo)
    setting: Setting = LOCAL if site.name else CENTRALIZED
    chosen = _one(everyone, site.name) if site.name else everyone
    name = ", ".join(chosen)
    data = Assignment(tuple(found.store for found in chosen.values()), any(found.demo for found in chosen.values()))
    own_name = CENTRALIZED if setting == CENTRALIZED else name

    def join(joined: Experiment, run: str) -> Participant:
        return Participant(joined, site, data, own_name, run)

    with locked(out / lock.NAME, str(out)):
        conducted = (policy or RunPolicy()).for_one(_unfinished(out, setting, name, site.state_root))
        around = Surroundings(out, site.state_root, site.payloads, setting, deployed=False, say=say)
        stores = {other: found.store for other, found in everyone.items()}
        Run(experiment, conducted, InProcess(name, Member(join), stores, out, say), around).run()
    return out


def _one(everyone: dict[str, Assignment], wanted: str) -> dict[str, Assignment]:
    names = list(everyone)
    numbered = {f"site-{i}": name for i, name in enumerate(names, 1)}
    name = wanted if wanted in everyone else numbered.get(wanted)
    if name is None:
        raise FlapSamError(f"There is no site {wanted!r}; there are {', '.join(names)}.")
    return {name: everyone[name]}


def _unfinished(out: Path, setting: str, name: str, state: Path) -> str | None:
    """The run in a folder that was interrupted after a round, and can go on; None where there is none.

    Raises:
        FlapSamError: the folder holds another run.
    """
    if not any((out / made).exists() for made in MADE):
        return None
    if (out / TEST_DICE).exists() or not (out / RUN_RECORD).exists():
        raise FlapSamError(f"{out} holds a run already; choose another folder.")
    record = run_record.read(out)
    if (record.setting, *record.attempts[0].sites) != (setting, name):
        raise FlapSamError(f"{out} holds another run already; choose another folder.")
    if RunStore(state, record.run).standing():
        return record.run
    with writing(out):  # it had not closed a round
        for made in MADE:
            (out / made).unlink(missing_ok=True)
    return None
