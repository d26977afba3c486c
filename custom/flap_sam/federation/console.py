"""A console that a person can follow: our lines, warnings and errors; FLARE's own chatter stays in its log files."""

import logging

LOGGER = "flap_sam.console"


class _OursOrSerious(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or record.name == LOGGER


def quiet() -> None:
    """Keep FLARE's information lines off this process's console."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler and not any(isinstance(f, _OursOrSerious) for f in handler.filters):
            handler.addFilter(_OursOrSerious())


def say(text: str) -> None:
    """A line, or a block of lines, for the person at the console."""
    logging.getLogger(LOGGER).info(text)
