# SPDX-License-Identifier: Apache-2.0
"""torch's AdamW as eager training needs it."""

import inspect

import torch


class AdamW(torch.optim.AdamW):
    """torch.optim.AdamW without the wrappers by which its methods step out of torch.compile.

    Each wrapper imports torch's compiler when it is first called, which takes longer than a small site's round.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
