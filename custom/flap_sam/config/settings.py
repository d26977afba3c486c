# SPDX-License-Identifier: Apache-2.0
"""Settings that a job has: a model that says in a sentence of ours which of them is none."""

import reprlib
from typing import Any, ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.limits import limits
from flap_sam.foundation.strict import EXPECTED, UNKNOWN, StrictModel


class Settings(StrictModel):
    """Named settings, each with a default; one that is unknown or not as it may be is a FlapSamError.

    A subclass says what its settings are `called`, and for which `reason` a site refuses them.
    """

    called: ClassVar[str]
    reason: ClassVar[Reason] = Reason.STOPPED

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, found: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(found)
        except ValidationError as error:
            raise cls._error(error, found) from error

    @classmethod
    def refusal(cls, name: str, found: object, expected: str) -> FlapSamError:
        """The error of a setting that is not as it may be."""
        return FlapSamError(f"The {cls.called}'s {name} is {reprlib.repr(found)}; expected {expected}.", cls.reason)

    @classmethod
    def _error(cls, error: ValidationError, found: Any) -> FlapSamError:
        faults = error.errors(include_url=False)
        if unknown := sorted(str(fault["loc"][0]) for fault in faults if fault["type"] in UNKNOWN):
            told = f"has unknown settings {reprlib.repr(unknown)}; known are {', '.join(cls.model_fields)}"
            return FlapSamError(f"The {cls.called} {told}.", cls.reason)
        if not faults[0]["loc"]:
            told = f"is {type(found).__name__}; expected an object of named settings"
            return FlapSamError(f"The {cls.called} {told}.", cls.reason)
        name, *inside = map(str, faults[0]["loc"])
        return cls.refusal(name, found[name], cls._expected(name, "dict_type" if inside else faults[0]["type"]))

    @classmethod
    def _expected(cls, name: str, fault: str) -> str:
        """What a setting may be: its limits, and before them its type where that was wrong and they do not say it."""
        kind, within = EXPECTED.get(fault), limits(cls.model_fields[name])
        return f"{kind}, {within}" if kind and within and fault != "string_type" else within or kind or ""
