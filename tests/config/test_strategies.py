# SPDX-License-Identifier: Apache-2.0
"""What a strategy says of itself, ours or another package's, and how one of another package is found and refused."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flap_sam.config import strategies
from flap_sam.config.experiment import STRATEGIES, Experiment
from flap_sam.config.strategies import APART, TOGETHER, Roles, StrategyTraits
from flap_sam.errors import FlapSamError, Reason
from flap_sam.lowrank.strategies import OURS, strategy_named
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.methods import parameter_table
from flap_sam.wire.form import summed_pairs, turning_pairs

from tests.packages import DAMPED, install

TRAITS = """
from flap_sam.config.strategies import Roles, StrategyTraits
from flap_sam.lowrank.strategies import Strategy


class Own(Strategy):
    traits = StrategyTraits({})

    def merge(self, group, total):
        raise NotImplementedError
"""


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a package as `packages.install` does, for this process, until the test ends."""
    brought: list[str] = []

    def forget() -> None:
        strategies.installed.cache_clear()
        strategies.load.cache_clear()
        for package in brought:
            sys.modules.pop(package, None)

    def bring(package: str, code: str, **named: str) -> None:
        monkeypatch.syspath_prepend(install(tmp_path / package, package, code, named))
        brought.append(package)
        forget()

    yield bring
    forget()


def test_ours_are_in_both_tables_and_say_the_same():
    assert list(OURS) == list(strategies.OURS) == list(STRATEGIES)
    for name, kind in OURS.items():
        assert kind.traits is strategies.traits(name)
        assert strategy_named(name) is kind


def test_a_strategy_of_another_package_is_one_like_ours(bring, small):
    bring("damped", DAMPED, damped="damped:Damped")
    experiment = small.changed(strategy="damped", split="paper", ranks={"site-1": 2})
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert experiment.digest() != small.digest()
    assert strategy_named("damped").__name__ == "Damped"


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("roles", [TOGETHER, *APART], ids=lambda roles: "-".join(roles))
@pytest.mark.parametrize("reads", [(), ("split",), ("energy",), ("split", "energy"), ("sketch_width",)])
def test_what_travels_and_what_is_read_is_as_its_class_says(bring, small, sums, roles, reads):
    bring("own", TRAITS.format(f"sums_changes={sums}, roles=Roles{tuple(roles)}, reads={reads}"), own="own:Own")
    if sums and roles != TOGETHER:
        with pytest.raises(FlapSamError, match="needs A and B from the sites"):
            small.changed(strategy="own")
        return
    experiment = small.changed(strategy="own")
    network = build(experiment)
    rows = {row.name: row for row in parameter_table(network, experiment.method)}
    for pair in low_rank_pairs(network):
        for name, role in zip(pair, roles, strict=True):
            assert rows[name].sent == (role != "frozen")
            for number in range(4):
                due = role == "trained" or role == ("even", "odd")[number % 2]
                assert rows[name].trains_in(number) == rows[name].leaves_in(number) == due
    assert bool(summed_pairs(network, experiment)) == sums
    assert bool(turning_pairs(network, experiment)) == (roles not in (TOGETHER, Roles(A="frozen")))
    accepted = {*reads, *(["ranks"] if sums else [])}
    for name, value in {"split": "paper", "energy": 0.5, "sketch_width": 9, "ranks": {"site-1": 2}}.items():
        if name in accepted:
            assert getattr(small.changed(strategy="own", **{name: value}), name) == value
        else:
            with pytest.raises(FlapSamError, match=rf"experiment's {name} .* not 'own'"):
                small.changed(strategy="own", **{name: value})


@pytest.mark.parametrize("roles", [("trained", "frozen"), ("even", "odd"), ("odd", "trained"), ("renewed", "even")])
def test_a_round_must_train_something_and_the_first_one_b(roles):
    with pytest.raises(ValueError, match="expected one of the four"):
        StrategyTraits(sums_changes=False, roles=Roles(*roles))


@pytest.mark.parametrize("name", ["dampd", "Damped", "", "damped:Damped", "os:system"])
def test_an_unknown_name_is_refused_with_those_that_are_known(bring, small, name):
    bring("damped", DAMPED, damped="damped:Damped")
    with pytest.raises(
        FlapSamError, match="one of svd, factor-average, freeze-a, residual, alternate, fedsvd, sketch, damped"
    ) as refusal:
        small.changed(strategy=name)
    assert refusal.value.reason is Reason.EXPERIMENT


@pytest.mark.parametrize(
    ("place", "code", "sentence"),
    [
        ("broken:Own", "import a_module_that_nobody_has", "cannot be loaded from broken:Own .ModuleNotFoundError"),
        ("broken:Own", "raise SystemError('no')", "cannot be loaded from broken:Own .SystemError: no"),
        ("broken:Own", "", "cannot be loaded from broken:Own .AttributeError"),
        ("nowhere:Own", "", "cannot be loaded from nowhere:Own .ModuleNotFoundError"),
        ("broken:Own", "class Own: pass", "does not say its traits"),
    ],
)
def test_a_package_that_is_broken_is_refused_by_name(bring, small, place, code, sentence):
    bring("broken", code, own=place)
    with pytest.raises(FlapSamError, match=f"Strategy 'own' .*{sentence}") as refusal:
        small.changed(strategy="own", split="paper")
    assert refusal.value.reason is Reason.EXPERIMENT


def test_what_says_traits_and_is_no_strategy_is_refused(bring):
    code = "from flap_sam.config.strategies import REFACTORISES\nclass Own:\n    traits = REFACTORISES\n"
    bring("broken", code, own="broken:Own")
    with pytest.raises(FlapSamError, match="which is no strategy"):
        strategy_named("own")


@pytest.mark.parametrize(("first", "second"), [("own", "own"), ("svd", "other")])
def test_a_name_belongs_to_one_strategy(bring, small, first, second):
    bring("one", DAMPED, **{first: "one:Damped"})
    bring("two", DAMPED, **{second: "two:Damped"})
    with pytest.raises(FlapSamError, match=f"installed as the strategy '{first}', and so is that of"):
        small.changed(strategy="other")
    assert small.changed(strategy="svd") == small


@pytest.mark.parametrize("reads", [("rank",), ("split", "ranks")])
def test_traits_name_settings_of_a_strategy(reads):
    with pytest.raises(ValueError, match="expected some of split, energy, sketch_width"):
        StrategyTraits(sums_changes=True, reads=reads)


def test_ours_are_known_without_torch():
    code = "import sys\nfrom flap_sam.config.experiment import Experiment\nExperiment(strategy='freeze-a')\n"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
