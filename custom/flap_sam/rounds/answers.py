# SPDX-License-Identifier: Apache-2.0
"""The answers to one task: who counts, who is refused, who is silent."""

import time
from collections.abc import Callable, Collection, Sequence

from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.training.progress import Say
from flap_sam.wire.exchange import Answer
from flap_sam.wire.messages import clean_reason

Accept = Callable[[str, Answer], bool]


class Answers:
    """The answers to a task; the run goes on while enough sites count.

    Args:
        asked: the sites.
        timeout: seconds after which the task closes; 0 means never.
        accept: counts a site's answer in, keeps it for later and returns False, or raises to refuse it.
        stopped: says whether the run is to end; gone: whose process has ended.
        say: takes a line for the person at the console.
    """

    def __init__(
        self,
        asked: Sequence[str],
        policy: RunPolicy,
        timeout: float,
        accept: Accept,
        stopped: Callable[[], bool],
        gone: Callable[[], Collection[str]],
        say: Say,
    ) -> None:
        self.asked, self._accept, self._stopped, self._gone, self._say = asked, accept, stopped, gone, say
        self._timeout, self._wait_after_min = timeout, policy.wait_after_min
        self._needed = min(policy.min_sites or len(asked), len(asked))
        self._began = time.monotonic()
        self._enough_since: float | None = None
        self._time_is_over = False
        self.counted: set[str] = set()
        self.refused: dict[str, str] = {}

    def take(self, site: str, answer: Answer) -> bool:
        """Whether a site's answer counts."""
        try:
            if self._accept(site, answer):
                self.counted.add(site)
        except FlapSamError as error:
            self.refuse(site, error)
        except Exception as error:  # a peer's answer may break anything; it must not become "no answer"
            self.refuse(site, f"its answer cannot be used ({type(error).__name__})")
        return site in self.counted

    def refuse(self, site: str, reason: object) -> None:
        """Name a site that does not count."""
        self.counted.discard(site)
        self.refused[site] = clean_reason(reason)
        self._say(f"{site} is refused: {self.refused[site]}")

    def is_over(self) -> bool:
        """Whether to close the task: time is over, too few sites can still count, or the run is to end."""
        now = time.monotonic()
        if self._enough_since is None and len(self.counted) >= self._needed:
            self._enough_since = now
        self._time_is_over = self._waited(now)
        hopeless = len(self.asked) - len(self.refused) < self._needed
        return self._time_is_over or hopeless or self._stopped()

    def _waited(self, now: float) -> bool:
        """Whether the task has waited long enough: in all, or since enough sites were counted."""
        if self._timeout and now - self._began >= self._timeout:
            return True
        after_min, since = self._wait_after_min, self._enough_since
        return after_min is not None and since is not None and now - since >= after_min

    def missing(self) -> list[str]:
        """Who was asked and gave no usable answer in time."""
        return [site for site in self.asked if site not in self.counted and site not in self.refused]

    def require_enough(self) -> None:
        """Raise a FlapSamError that names every site that does not count, if too few do."""
        if len(self.counted) >= self._needed and not self._stopped():
            return
        reasons = [f"{site}: {reason}" for site, reason in sorted(self.refused.items())]
        silent = "no usable answer in time" if self._time_is_over else "still at work when the run stopped"
        ended = dict.fromkeys(self._gone(), "its process has ended")
        reasons += [f"{site}: {ended.get(site, silent)}" for site in self.missing()]
        raise FlapSamError(
            f"The run stops: {self._needed} sites are needed, {len(self.counted)} count; {'; '.join(reasons)}."
        )
