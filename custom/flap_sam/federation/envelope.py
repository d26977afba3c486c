# SPDX-License-Identifier: Apache-2.0
"""FLARE's message around a task or a result, taken off before the gate's rules judge what is in it."""

from nvflare.apis.dxo import DataKind, from_shareable
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from flap_sam.gate.rules import Content, check_names, refusal
from flap_sam.wire.messages import clean_reason

HEADERS, CONTENT = "__headers__", "DXO"
RESULT_HEADERS = frozenset(
    {
        ReservedHeaderKey.CONTENT_TYPE,
        ReservedHeaderKey.RC,
        AppConstants.START_ROUND,
        AppConstants.CURRENT_ROUND,
    }
)


def of_task(task: Shareable) -> Content:
    """What a task holds."""
    model = FLModelUtils.from_shareable(task)
    return Content(from_shareable(task).meta, model.current_round, model.params)


def of_result(result: Shareable) -> Content:
    """What a result holds.

    Raises:
        FlapSamError: the message has an entry or a header that an answer of ours does not have.
    """
    check_names("the result's entries", set(result) - {HEADERS}, {CONTENT})
    check_names("the result's further headers", set(result[HEADERS]) - RESULT_HEADERS, set())
    content = from_shareable(result)
    if content.data_kind != DataKind.WEIGHTS:
        raise refusal(f"the result is of kind {clean_reason(content.data_kind)}", DataKind.WEIGHTS)
    return Content(content.meta, result.get_header(AppConstants.CURRENT_ROUND), content.data)
