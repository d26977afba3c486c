# SPDX-License-Identifier: Apache-2.0
"""A console that a person can follow: our lines, warnings and errors; FLARE's own chatter stays in its log files."""

import logging
from copy import deepcopy
from typing import Any

from nvflare.fuel.utils.log_utils import LoggerNameFilter, concise_log_dict

LOGGER = "flap_sam.console"
OURS_OR_SERIOUS = LoggerNameFilter([LOGGER])


def quiet() -> None:
    """Keep FLARE's information lines off this process's console."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(OURS_OR_SERIOUS)


def quiet_config() -> dict[str, Any]:
    """FLARE's own configuration of its logs, with a console that is quiet from a process's first line on."""
    config = deepcopy(concise_log_dict)
    kind = f"{LoggerNameFilter.__module__}.{LoggerNameFilter.__qualname__}"
    config["filters"]["OursOrSerious"] = {"()": kind, "logger_names": [LOGGER]}
    config["handlers"]["consoleHandler"]["filters"] = ["OursOrSerious"]
    return config


def say(text: str) -> None:
    """A line, or a block of lines, for the person at the console."""
    logging.getLogger(LOGGER).info(text)
