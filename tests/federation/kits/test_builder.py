# SPDX-License-Identifier: Apache-2.0
"""The builder among FLARE's own, as `nvflare provision` runs them: what the kits hold, and that it is signed."""

import json
import re
from pathlib import Path

import pytest
import yaml
from flap_sam.federation.kits.policy import HOSPITAL, LOCK, POLICIES, SERVER
from flap_sam.gate.agreement import FILE_NAME
from nvflare.lighter.constants import CtxKey, ProvFileName
from nvflare.lighter.prov_utils import prepare_builders
from nvflare.lighter.provision import prepare_project
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.spec import Builder
from nvflare.lighter.utils import verify_folder_signature

PROJECT = Path(__file__).parents[3] / "provisioning/project.yml"
KITS = {"localhost": SERVER, "hospital-a": HOSPITAL}
SIGNED = {"encrypted": ("startup", "local"), "confidential": (".",)}


class Encrypted(Builder):
    """As FLARE's HEBuilder: with its context in a kit, FLARE signs `startup/` and `local/`."""

    def build(self, project, ctx):
        for participant in project.get_all_participants():
            Path(ctx.get_kit_dir(participant), ProvFileName.CLIENT_CONTEXT_TENSEAL).write_bytes(b"context")


class Confidential(Builder):
    """As FLARE's builder for confidential computing: FLARE signs the whole kit."""

    def build(self, project, ctx):
        for participant in project.get_all_participants():
            participant.set_prop("cc_enabled", True)


KINDS = {"encrypted": Encrypted, "confidential": Confidential}


def project() -> dict:
    """The project's own file, of a server and one hospital."""
    found = yaml.safe_load(PROJECT.read_text())
    return found | {"participants": [one for one in found["participants"] if one["name"] in KITS]}


def places(found: dict) -> list[str]:
    return [builder["path"].rpartition(".")[2] for builder in found["builders"]]


def provisioned(folder: Path, found: dict, *further: tuple[int, Builder]) -> tuple[Path | None, list[str]]:
    """The kits that FLARE makes, None where it fails, and what it says."""
    said: list[str] = []
    logger = type("Logger", (), dict.fromkeys(("info", "debug", "warning", "error"), lambda _, text: said.append(text)))
    builders = prepare_builders(found)
    for place, builder in further:
        builders.insert(place, builder)
    made = Provisioner(str(folder), builders).provision(prepare_project(found), logger=logger())
    return (None if made.get(CtxKey.BUILD_ERROR) else Path(made[CtxKey.CURRENT_PROD_DIR])), said


def test_every_kit_gets_the_policy_of_its_role_and_an_empty_agreement(tmp_path):
    kits, _ = provisioned(tmp_path, project())
    for name, role in KITS.items():
        for shipped in (POLICIES / role).glob("*.json"):
            laid = kits / name / ("" if shipped.name == "comm_config.json" else "local") / shipped.name
            assert laid.read_bytes() == shipped.read_bytes()
        assert not (kits / name / LOCK).exists()
    assert json.loads((kits / "hospital-a/local" / FILE_NAME).read_text())["experiments"] == []
    assert not list(kits.rglob(ProvFileName.SIGNATURE_JSON)), "signed, a hospital could not fill in its local/"


def test_the_wheels_are_pinned_in_every_kit(tmp_path):
    (tmp_path / "house").mkdir()
    (tmp_path / "house/flap_sam-0.2.0-py3-none-any.whl").write_bytes(b"ours")
    found = project()
    found["builders"][places(found).index("PolicyBuilder")]["args"] = {"wheelhouse": str(tmp_path / "house")}
    kits, _ = provisioned(tmp_path, found)
    assert all((kits / name / LOCK).read_text().startswith("flap_sam==0.2.0 --hash=sha256:") for name in KITS)


@pytest.mark.parametrize("kind", KINDS)
def test_where_flare_signs_kits_it_signs_our_files_with_its_own(tmp_path, kind):
    kits, _ = provisioned(tmp_path, project(), (-1, KINDS[kind]()))  # where FLARE's own commands insert theirs
    for name in KITS:
        root = kits / name / "startup/rootCA.pem"
        for folder in SIGNED[kind]:
            assert verifies(kits / name / folder, root)
        (kits / name / "local/authorization.json").write_text("{}")
        assert not verifies(kits / name / SIGNED[kind][-1], root)


def verifies(folder: Path, root: Path) -> bool:
    return verify_folder_signature(folder, root, single_signer=True, signature_file=ProvFileName.SIGNATURE_JSON)


@pytest.mark.parametrize(
    ("beside", "offset", "sentence"),
    [
        ("StaticFileBuilder", 0, "too early in .* behind StaticFileBuilder"),
        ("SignatureBuilder", 1, "too late in .* before SignatureBuilder"),
    ],
)
def test_in_another_place_it_refuses(tmp_path, beside, offset, sentence):
    found = project()
    ours = found["builders"].pop(places(found).index("PolicyBuilder"))
    found["builders"].insert(places(found).index(beside) + offset, ours)
    kits, said = provisioned(tmp_path, found, (places(found).index("SignatureBuilder"), Encrypted()))
    assert kits is None
    assert any(re.search(sentence, text) for text in said)


def test_a_wheelhouse_without_the_package_makes_no_kits(tmp_path):
    found = project()
    found["builders"][places(found).index("PolicyBuilder")]["args"] = {"wheelhouse": str(tmp_path)}
    kits, said = provisioned(tmp_path / "work", found)
    assert kits is None
    assert any("holds no wheel of flap_sam" in text for text in said)
    assert not list((tmp_path / "work/flap_sam").glob("prod_*"))
