"""One task for many sites: who answered, who was refused, who was silent or late."""

import time
from collections.abc import Callable, Sequence

from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController

from flap_sam.config.run_policy import Conduct
from flap_sam.errors import FlapSamError, Reason
from flap_sam.federation.console import say
from flap_sam.wire.messages import REASON, clean_reason

CHECK_SECONDS = 0.1

Accept = Callable[[str, FLModel], bool]


class AskingController(ModelController):
    """A controller that asks sites, counts usable answers alone, and goes on while enough sites remain.

    FLARE's own waiting counts every answer, a failed one too.
    """

    conduct: Conduct
    counted: set[str]
    refused: dict[str, str]
    late: list[str]

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, **settings)
        self.counted, self.refused, self.late = set(), {}, []
        self._time_is_over = False
        self._gone: set[str] = set()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Remember whose process has ended; FLARE closes the tasks that wait for nobody else."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.CLIENT_DISCONNECTED:
            self._gone.add(fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME))
        elif event_type == EventType.CLIENT_RECONNECTED:
            self._gone.discard(fl_ctx.get_prop(FLContextKey.RECONNECTED_CLIENT_NAME))

    def ask(self, task_name: str, task: FLModel, asked: Sequence[str], accept: Accept) -> None:
        """Send a task and hand each answer on as it arrives, until all have answered or the time is over.

        Args:
            accept: see `take`.
        """
        self.counted, self.refused = set(), {}

        def on_result(result: FLModel) -> bool:
            return self.take(result.meta["client_name"], result, accept)

        self.send_model(task_name=task_name, data=task, targets=list(asked), callback=on_result)
        self._wait(asked)

    def take(self, site: str, result: FLModel, accept: Accept) -> bool:
        """Whether an answer counts.

        Args:
            accept: counts an answer in, keeps it for later and returns False, or raises to refuse it.
        """
        try:
            if accept(site, result):
                self.counted.add(site)
        except FlapSamError as error:
            self.refuse(site, error)
        except Exception as error:  # a peer's answer may break anything; it must not become "no answer"
            self.refuse(site, f"its answer cannot be used ({type(error).__name__})")
        return site in self.counted

    def _wait(self, asked: Sequence[str]) -> None:
        needed = self._needed(asked)
        began = time.monotonic()
        enough_since, self._time_is_over = None, False
        while self.get_num_standing_tasks():
            now = time.monotonic()
            if enough_since is None and len(self.counted) >= needed:
                enough_since = now
            hopeless = len(asked) - len(self.refused) < needed
            self._time_is_over = self._over(now, began, enough_since)
            if hopeless or self.abort_signal.triggered or self._time_is_over:
                self.cancel_all_tasks()
            time.sleep(CHECK_SECONDS)

    def _over(self, now: float, began: float, enough_since: float | None) -> bool:
        """Whether a task has waited long enough: in all, or since enough sites were counted."""
        timeout, after_min = self.conduct.round_timeout, self.conduct.wait_after_min
        if timeout and now - began >= timeout:
            return True
        return after_min is not None and enough_since is not None and now - enough_since >= after_min

    def _needed(self, asked: Sequence[str]) -> int:
        return min(self.conduct.min_sites or len(asked), len(asked))

    def missing(self, asked: Sequence[str]) -> list[str]:
        """Who was asked and gave no usable answer in time."""
        return [site for site in asked if site not in self.counted and site not in self.refused]

    def require_enough(self, asked: Sequence[str]) -> None:
        """Raise a FlapSamError that names every site that does not count, if too few do."""
        needed = self._needed(asked)
        if len(self.counted) >= needed and not self.abort_signal.triggered:
            return
        reasons = [f"{site}: {reason}" for site, reason in sorted(self.refused.items())]
        silent = "no usable answer in time" if self._time_is_over else "still at work when the run stopped"
        why = dict.fromkeys(self._gone, "its process has ended")
        reasons += [f"{site}: {why.get(site, silent)}" for site in self.missing(asked)]
        raise FlapSamError(
            f"The run stops: {needed} sites are needed, {len(self.counted)} count; {'; '.join(reasons)}."
        )

    def refuse(self, site: str, reason: object) -> None:
        """Name a site that does not count."""
        self.counted.discard(site)
        self.refused[site] = clean_reason(reason)
        say(f"{site} is refused: {self.refused[site]}")

    def _accept_train_result(
        self, client_name: str, result: Shareable, fl_ctx: FLContext, is_unknown_task: bool = False
    ) -> bool:
        """A site that failed says why by a code in a header; FLARE would drop it and end the run."""
        if result.get_return_code() not in (None, ReturnCode.OK):
            code = result.get_header(REASON)
            self.refuse(client_name, Reason.of(code).sentence if code else f"FLARE says {result.get_return_code()}")
            return False
        return super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer that came after its task was closed is named in the log and dropped."""
        self.late.append(client.name)
        say(f"{client.name} answered too late; its answer is dropped")
