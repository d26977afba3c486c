# SPDX-License-Identifier: Apache-2.0
"""FLARE's message taken off a task or a result: what is in it reaches the rules, and nothing may lie beside it."""

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.federation.envelope import CONTENT, HEADERS, of_result, of_task
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

TENSORS = {"a": torch.ones(2), "b": torch.zeros(3)}


def message(**said) -> Shareable:
    model = FLModel(params_type=ParamsType.FULL, params=dict(TENSORS), current_round=3, meta=said)
    return FLModelUtils.to_shareable(model)


def result() -> Shareable:
    made = DXO(DataKind.WEIGHTS, dict(TENSORS), meta={"report": {"loss": 0.5}}).to_shareable()
    made.set_header(AppConstants.CURRENT_ROUND, 3)
    made.set_return_code(ReturnCode.OK)
    return made


def test_a_task_holds_what_the_server_laid_in_it():
    content = of_task(message(experiment="{}", run="run-1"))
    assert (content.round, content.meta["experiment"], content.meta["run"]) == (3, "{}", "run-1")
    assert content.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(content.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_result_holds_what_the_site_laid_in_it():
    content = of_result(result())
    assert (content.round, content.meta["report"]) == (3, {"loss": 0.5})
    assert content.tensors.keys() == TENSORS.keys()


def test_a_result_without_a_round_is_one_without_and_no_fault():
    made = result()
    del made[HEADERS][AppConstants.CURRENT_ROUND]
    assert of_result(made).round is None


@pytest.mark.parametrize("name", ["images", "__headers", "DXO2", "", "peer_props"])
def test_an_entry_beside_is_refused(name):
    made = result()
    made[name] = b"voxels"
    with pytest.raises(FlapSamError, match="The result's entries are") as refused:
        of_result(made)
    assert refused.value.reason == Reason.RESULT


@pytest.mark.parametrize("name", ["images", "client_name", "task_id", "__cookie_jar__"])
def test_a_header_that_no_answer_of_ours_has_is_refused(name):
    made = result()
    made.set_header(name, "Doe^Jane")
    with pytest.raises(FlapSamError, match="The result's further headers are") as refused:
        of_result(made)
    assert refused.value.reason == Reason.RESULT
    assert "Doe" not in str(refused.value)


@pytest.mark.parametrize("kind", [DataKind.WEIGHT_DIFF, DataKind.METRICS, DataKind.ANALYTIC])
def test_what_are_no_weights_is_refused(kind):
    made = DXO(kind, dict(TENSORS)).to_shareable()
    with pytest.raises(FlapSamError, match=f"The result is of kind {kind}; expected DataKind.WEIGHTS") as refused:
        of_result(made)
    assert refused.value.reason == Reason.RESULT


def test_the_names_are_flares_own():
    assert set(result()) == {HEADERS, CONTENT}
