# SPDX-License-Identifier: Apache-2.0
"""What a server sees that conspires with one site: uniform noise, but for the sum. The test fails without either mask.

The adversary has all messages, the conspirator's secrets, and every seed that shares restore. From each honest vector
it takes away all masks that it can compute. What is left must be uniform, also in every sum of some of the honest
vectors but all, and must not depend on which of two honest sites has which input. It keeps a vector back in each of two
exchanges, and says that its site has dropped out: so it has the seed m of one in the first, and its b in the second.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pytest
from flap_sam.secure import keys, masks, shamir, strings
from flap_sam.secure.keys import Secrets
from flap_sam.secure.messages import STEPS, Message
from flap_sam.secure.strings import Card, Exchange, PublicKeys
from scipy.stats import chi2_contingency, chisquare

from tests.secure import federation as harness
from tests.secure.federation import NAMES, Federation

A, B, C, D, E = NAMES[:5]
CONSPIRATOR = A
NUMBERS = 2**14
SHAPE = np.linspace(0, 2**30, NUMBERS).astype(np.uint32)
INPUTS = {A: SHAPE * 0, B: SHAPE, C: SHAPE[::-1].copy(), D: SHAPE * 0 + 1, E: SHAPE // 2}
SWAPPED = INPUTS | {D: INPUTS[E], E: INPUTS[D]}
SMALLEST_P = 1e-8  # a hundred chi-squares an attack: a false alarm in a million runs


@dataclass
class Seen:
    """One exchange, as the server sees it.

    Args:
        exchange: as in what is signed; names: with keys, U1 and U2; survivors: U3.
        public: keys by site; vectors: of all of U2, also of those that the server kept back.
        shares: of each site's seeds, by the site that gave them out.
    """

    exchange: Exchange
    survivors: tuple[str, ...]
    public: dict[str, PublicKeys] = field(default_factory=dict)
    certificates: dict[str, bytes] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.public)

    @property
    def roster(self) -> bytes:
        cards = [Card(name, self.certificates[name], self.public[name]) for name in self.names]
        return strings.roster(self.exchange, cards)

    def watch(self, step: str, site: str, answer: Message) -> None:
        found = json.loads(answer.text)
        if step == "keys":
            public = (bytes.fromhex(found[name]) for name in ("share_key", "mask_key", "commitment"))
            self.public[site], self.certificates[site] = PublicKeys(*public), bytes.fromhex(found["certificate"])
        elif step == "masked":
            self.vectors[site] = answer.tensors["masked"].numpy().view(np.uint32).copy()
        elif step == "unmask":
            self.shares[site] = {entry["site"]: entry["share"] for entry in found["shares"]}

    def restored(self) -> Iterator[bytes]:
        """Every seed that the shares restore, not told whether it is an m or a b."""
        for name in self.names:
            places = {self.names.index(giver) + 1: bytes.fromhex(s[name]) for giver, s in self.shares.items()}
            yield shamir.restore(places, len(places))

    def left(self, site: str, seeds: set[bytes]) -> np.ndarray:
        """A vector less all masks that some seeds give."""
        found, view = self.vectors[site].copy(), strings.view(self.roster, self.names)
        for seed in seeds:
            if keys.commitment(seed) == self.public[site].commitment:
                masks.apply(found, [], [keys.own_mask(seed, self.roster)])
        known = {name: s for name in self.names for s in seeds if keys.mask_key(s) == self.public[name].mask_key}
        for peer in set(self.names) - {site}:
            if site in known:
                key = keys.pair_mask(known[site], self.public[peer].mask_key, view, (site, peer))
            elif peer in known:
                key = keys.pair_mask(known[peer], self.public[site].mask_key, view, (site, peer))
            else:
                continue
            masks.apply(found, *(([], [key]) if peer > site else ([key], [])))
        return found


def attack(folder, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What is left in two exchanges of each honest vector and of each sum of some of them."""
    federation = Federation(5, folder, least_sites=4)
    federation.vectors = inputs
    seen, seeds = [], set()
    for number, kept_back in enumerate((E, D)):
        federation.asked = replace(federation.asked, round=number)
        federation.train()
        server = federation.server()
        survivors = tuple(name for name in federation.names if name != kept_back)
        question = hashlib.sha256().digest()
        now = Seen(Exchange(harness.EXPERIMENT, "run", "job", number, "update", harness.BASE, question), survivors)
        for step in STEPS:
            if step == "masked":
                secrets = federation.hospitals[CONSPIRATOR].site._open["run"].opened.secrets
                late = federation.hospitals[kept_back].answer(step, federation.asked, server.messages()[kept_back])
                now.watch(step, kept_back, late)
            federation.step(server, (kept_back,) if STEPS.index(step) > 1 else (), now.watch)
        assert (server.total == federation.expected(survivors)).all()
        seen.append(now)
        seeds |= {secrets.m, secrets.b, *now.restored()}
    return [vector for now in seen for vector in _views(now, seeds, inputs)]


def _views(now: Seen, seeds: set[bytes], inputs: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    left = {name: now.left(name, seeds) for name in now.names if name != CONSPIRATOR}
    honest = [name for name in now.survivors if name != CONSPIRATOR]
    assert (sum(left[name] for name in honest) == sum(inputs[name] for name in honest)).all()
    for count in range(1, len(honest)):
        for names in combinations(honest, count):
            yield sum(left[name] for name in names)
    for name in set(left) - set(honest):
        yield left[name]
        yield left[name] + left[honest[0]]


def is_uniform(vector: np.ndarray) -> bool:
    """Whether the high, low and middle bytes of a vector are, by chi-square."""
    counts = [np.bincount((vector >> shift) & 255, minlength=256) for shift in (24, 12, 0)]
    return all(chisquare(count).pvalue > SMALLEST_P for count in counts)


def are_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the high bytes of two vectors are distributed alike, by chi-square."""
    counts = np.array([np.bincount(vector >> 24, minlength=256) for vector in (one, other)])
    return bool(chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue > SMALLEST_P)


def check_secrecy(folder) -> None:
    views, swapped = attack(folder / "one", INPUTS), attack(folder / "other", SWAPPED)
    assert len(views) == 2 * (6 + 2)
    assert all(map(is_uniform, views + swapped)), "what the server sees is not uniform"
    assert all(map(are_alike, views, swapped)), "it depends on who has which input"


@pytest.fixture(autouse=True)
def _size(monkeypatch):
    monkeypatch.setattr(harness, "SIZE", NUMBERS)


def test_a_server_that_conspires_with_a_site_sees_noise_and_the_sum(tmp_path):
    check_secrecy(tmp_path)


OFF = b"\0" * 31 + b"\1"


def without(patch: pytest.MonkeyPatch, name: str) -> None:
    """Masks of a kind that add nothing, at the sites, the server and the adversary."""
    apply = masks.apply
    for module in (keys, masks):
        patch.setattr(module, name, lambda *_: OFF)
    patch.setattr(
        masks, "apply", lambda v, added, taken: apply(v, *([k for k in ks if k != OFF] for ks in (added, taken)))
    )


def keys_used_twice(patch: pytest.MonkeyPatch) -> None:
    """Each site draws its secrets once and uses them in every exchange."""
    draw, drawn = Secrets.draw, []
    calls = iter(range(10**6))

    def again() -> Secrets:
        place = next(calls)
        if place % 10 < 5:
            drawn.append(draw())
        return drawn[5 * (place // 10) + place % 5]

    patch.setattr(Secrets, "draw", again)


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "pair masks off": lambda patch: without(patch, "pair_mask"),
    "own masks off": lambda patch: without(patch, "own_mask"),
    "keys used twice": keys_used_twice,
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_protocol_does_not_pass(tmp_path, monkeypatch, broken):
    """The test above sees what it is there to see."""
    BROKEN[broken](monkeypatch)
    with pytest.raises(AssertionError, match="not uniform"):
        check_secrecy(tmp_path)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_protocol_tells_who_has_which_input(tmp_path, monkeypatch, broken):
    BROKEN[broken](monkeypatch)
    views, swapped = attack(tmp_path / "one", INPUTS), attack(tmp_path / "other", SWAPPED)
    assert not all(map(are_alike, views, swapped))
