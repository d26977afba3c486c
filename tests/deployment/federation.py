# SPDX-License-Identifier: Apache-2.0
"""A federation on this machine: kits as provisioned, each in processes of its own, mutual TLS between them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from flap_sam.gate.audit import FILE_NAME, AuditLog
from flap_sam.records.results import FINAL, PAYLOAD_FILES
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from tests.conftest import write_site
from tests.deployment.cable import Cable

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SERVER, LEAD, MEMBER, ADMIN = "localhost", "lead@federation.org", "member@federation.org", "admin@federation.org"
FINISHED = "FINISHED:COMPLETED"
HOSPITALS = {"hospital-a": "A", "hospital-b": "B", "hospital-c": "C"}
QUICK = {"image_size": 32, "rank": 4, "batch_size": 4, "backbone": "vit_tiny", "rounds": 2}
MOST_SLICES = 100
SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def run(*words: object, **options) -> subprocess.CompletedProcess:
    """One of this environment's commands, ended without an error."""
    command = [str(BIN / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def provision(folder: Path, port: int, ends: Mapping[str, int]) -> Path:
    """The kits of the project's own project.yml, on another port, some hospitals at the end of a cable."""
    project = (ROOT / "provisioning/project.yml").read_text().replace("8002", str(port))
    for hospital, end in ends.items():
        named = f"{{ name: {hospital}, "
        project = project.replace(named, f"{named}connect_to: {{ host: localhost, port: {end} }}, ")
    (folder / "project.yml").write_text(project)
    run("nvflare", "provision", "-p", folder / "project.yml", "-w", folder / "kits", "--force")
    return folder / "kits/flap_sam/prod_00"


def stage(folder: Path, name: str, **settings) -> Path:
    """A job to submit, of short rounds."""
    changes = [f"--set={key}={json.dumps(value)}" for key, value in {**QUICK, **settings}.items()]
    run("flap-sam", "stage", ROOT / "jobs/flap_sam_nifti", "--out", folder / name, *changes)
    conducted(folder / name, largest_slices=dict.fromkeys(HOSPITALS, MOST_SLICES))
    return folder / name


class Federation:
    """A server and three hospitals with data, the third at the end of a cable, all agreed on some jobs.

    Args:
        folder: everything lies below it.
        jobs: the staged jobs that the hospitals agree to.
    """

    def __init__(self, folder: Path, jobs: Sequence[Path]) -> None:
        self.folder, self.port = folder, free_port()
        self.cable = Cable(self.port)
        self.kits = provision(folder, self.port, {"hospital-c": self.cable.end})
        self.store = folder / "patients"
        self._processes: dict[str, subprocess.Popen] = {}
        agreed = [f"--job={job}" for job in jobs]
        for i, (hospital, site) in enumerate(HOSPITALS.items()):
            splits = {"train": [(2 + i, 20, 28)], "validation": [(2, 24, 20)], "test": [(3, 20, 20)]}
            write_site(self.store, site, splits)
            own = {"data": self.store, "name": site, "checkpoint": "random", "checkpoint_sha256": "null"}
            settings = [f"--set={name}={value}" for name, value in own.items()]
            run("flap-sam", "kit", self.kits / hospital, *agreed, *settings)
            self.change(hospital, "flap_gate.json", largest_update=1.0, runs=100, repeats=10)
        self.change("hospital-c", "resources.json", client={"retry_timeout": 30, "communication_timeout": 20.0})

    def change(self, kit: str, file: str, **settings) -> None:
        """Change settings in a file of a kit's local folder."""
        path = self.kits / kit / "local" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    def environment(self, kit: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FLAP_SAM_", "NVFL", "CUDA_"))}
        own = {"HOME": str(self.folder / "homes" / kit), "OMP_NUM_THREADS": "1"}
        return {**clean, **own, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def start(self, *kits: str) -> None:
        """Start kits by their own script, and wait until the hospitals among them are connected."""
        self.start_without_waiting(*kits)
        self.wait_until_connected(*(kit for kit in kits if kit in HOSPITALS))

    def wait_until_connected(self, *hospitals: str) -> None:
        """Wait until the server knows these hospitals."""
        self._wait(lambda: set(hospitals) <= self.connected(), f"{hospitals} are not connected")

    def start_without_waiting(self, *kits: str) -> None:
        for kit in kits:
            Path(self.environment(kit)["HOME"]).mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{kit}.out").open("a") as out:
                self._processes[kit] = subprocess.Popen(
                    ["bash", str(self.kits / kit / "startup/sub_start.sh")],
                    env=self.environment(kit),
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            if kit == SERVER:
                self._wait(self._listens, "the server does not listen")

    def wait_for(self, kit: str, words: str) -> None:
        """Wait until a kit's log says something."""
        self._wait(lambda: words in self.log(kit), f"{kit} never says {words!r}")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All of it runs, and nothing of it afterwards."""
        try:
            self.start(SERVER, *HOSPITALS)
            yield
        finally:
            self.stop()
            self.cable.close()

    def stop(self, *kits: str) -> None:
        """Kill kits with all their processes, as a power cut does."""
        for kit in kits or list(self._processes):
            self.kill(f"{self.kits / kit}/")
            self._processes.pop(kit).wait()
            for file in (self.kits / kit).glob("*.fl"):
                file.unlink()

    def kill(self, *words: str) -> None:
        """Kill the processes that have all these words in their command lines."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (folder / "cmdline").read_text().replace("\0", "/")
                if all(word in line for word in words):
                    os.kill(int(folder.name), signal.SIGKILL)

    def session(self, person: str = LEAD) -> Session:
        """The FLARE API of one person."""
        return new_secure_session(person, str(self.kits / person), timeout=60.0)

    def connected(self) -> set[str]:
        session = self.session(ADMIN)
        try:
            return {client.name for client in session.get_system_info().client_info}
        finally:
            session.close()

    def finish(self, job: str) -> str:
        """Wait for a job; its status."""
        session = self.session()
        try:
            session.monitor_job(job, timeout=SECONDS)
        finally:
            session.close()
        return self.status(job)

    def status(self, job: str) -> str:
        """A job's status, as the server says it."""
        session = self.session()
        try:
            return session.get_job_meta(job)["status"]
        finally:
            session.close()

    def submit(self, job: Path, person: str = LEAD) -> str:
        """Submit a job through the FLARE API; its id."""
        session = self.session(person)
        try:
            return session.submit_job(str(job))
        finally:
            session.close()

    def download(self, job: str) -> Path:
        """A finished job's results folder, fetched once."""
        folder = self.folder / "downloads" / job
        if not folder.exists():
            session = self.session()
            try:
                session.download_job_result(job, str(folder))
            finally:
                session.close()
        return next(folder.rglob(PAYLOAD_FILES[FINAL])).parent

    def wait_for_round(self, hospital: str, job: str, number: int) -> None:
        """Wait until a hospital has answered a round of a job."""
        self._wait(
            lambda: any(line["job"] == job and line["round"] == number for line in self.releases(hospital)),
            f"{hospital} does not answer round {number}",
        )

    def releases(self, hospital: str) -> list[dict]:
        """All that has left a hospital, from its audit log."""
        return [line for line in self.audit(hospital) if "sha256" in line]

    def audit(self, hospital: str) -> list[dict]:
        """What the audit log of a hospital tells."""
        return list(self.audit_log(hospital).entries())

    def audit_log(self, hospital: str) -> AuditLog:
        """The audit log of a hospital."""
        state = self.folder / "homes" / hospital / ".local/state/flap-sam"
        return AuditLog(self.kits / hospital / FILE_NAME, state / "gate" / hospital)

    def log(self, kit: str) -> str:
        """All that a kit has written to its logs and its console."""
        files = [self.folder / f"{kit}.out", *(self.kits / kit).rglob("*log*")]
        return "".join(f.read_text(errors="replace") for f in files if f.is_file())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("localhost", self.port)) == 0

    def _wait(self, there: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + SECONDS
        while not there():
            assert time.monotonic() < end, otherwise + "".join(self.log(kit)[-2000:] for kit in self._processes)
            time.sleep(0.5)


def copy_of(job: Path, folder: Path, **policy) -> Path:
    """A staged job to tamper with, conducted otherwise; what an earlier submission signed is left behind."""
    copy = shutil.copytree(job, folder, ignore=shutil.ignore_patterns(".__nvfl*"))
    conducted(copy, **policy)
    return copy


def conducted(job: Path, **policy) -> None:
    """Change how a staged job is conducted."""
    path = job / "app/config/config_fed_server.json"
    config = json.loads(path.read_text())
    config["run_policy"] |= policy
    path.write_text(json.dumps(config))
