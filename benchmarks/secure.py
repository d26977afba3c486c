# SPDX-License-Identifier: Apache-2.0
"""What a secure sum costs, in one process: seconds of a site and of the server by step, and bytes.

    python benchmarks/secure.py [--sites 6 24 100] [--dropped 1]

The vector is that of `flap_sam` on vit_b with two classes. The baseline is the same update in the open, float32: its
bytes, and the time of its plain weighted mean. Sites have certificates and keys as FLARE makes them, states and ledger
entries on the disk, and all pairs have masks. `--dropped` sites are gone after the second step, so that their masks are
restored. Times are of the processor; a site's is the median over the sites. The mean is compared with the open one.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from flap_sam.foundation.files import replacing
from flap_sam.secure.certificates import Pinned, UnderRoot
from flap_sam.secure.held import Held
from flap_sam.secure.memory import Memory
from flap_sam.secure.messages import MASKED, STEPS, Message
from flap_sam.secure.ring import Contribution, Ring
from flap_sam.secure.server import SecureSum
from flap_sam.secure.signatures import KitIdentity
from flap_sam.secure.site import SecureSite
from flap_sam.secure.terms import UPDATE, Asked, Terms
from rich.console import Console
from rich.table import Table

NUMBERS = 1_846_384
CLASSES = 2
CAP = 10_000
LARGEST_CHANGE = 1.0
DIGEST = hashlib.sha256(b"benchmark").digest()
ROOT = "root"
UPDATE_0 = np.random.default_rng(0).normal(0, 1e-3, NUMBERS).astype(np.float32)


@dataclass
class File:
    """A ledger of its own on the disk."""

    path: Path
    memory: Memory

    def read(self) -> Memory:
        return self.memory

    def write(self, memory: Memory, is_released: bool) -> None:
        with replacing(self.path, private=True) as stream:
            stream.write(memory.to_json().encode())
        self.memory = memory


def certificate(name: str, key: RSAPrivateKey, issuer: RSAPrivateKey) -> bytes:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(public_key=key.public_key(), serial_number=x509.random_serial_number())
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ROOT)]))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(issuer, SHA256())
        .public_bytes(Encoding.DER)
    )


def change_of(place: int) -> np.ndarray:
    """A site's update, the same each time, and quickly made."""
    return np.roll(UPDATE_0, place)


def size_of(message: Message) -> int:
    return len(message.text) + sum(tensor.nbytes for tensor in message.tensors.values())


def measure(count: int, dropped: int, folder: Path) -> Table:
    """A secure sum of so many sites."""
    names = [f"hospital-{place:03}" for place in range(count)]
    root = generate_private_key(65537, 2048)
    keys = {name: generate_private_key(65537, 2048) for name in names}
    certificates = {name: certificate(name, keys[name], root) for name in names}
    trust = Pinned({name: hashlib.sha256(found).hexdigest() for name, found in certificates.items()}, "server")
    least = count - dropped
    asked = Asked(Terms(DIGEST, dict.fromkeys(names, CAP), 1, least), "run", "job", 0)
    ring = Ring(asked.terms.caps, LARGEST_CHANGE, {"update": (NUMBERS,)}, CLASSES)
    sites = {n: SecureSite(n, KitIdentity(certificates[n], keys[n]), trust, folder / n / "masking") for n in names}
    books = {name: File(folder / name / "ledger.json", Memory()) for name in names}
    encoding: list[float] = []

    def vector(name: str, place: int) -> np.ndarray:
        given = Contribution(place + 1, {"update": change_of(place)}, 0.5, [(0.8, 10)] * CLASSES)
        started = time.process_time()
        found = ring.encode(name, given)
        encoding.append(time.process_time() - started)
        return found

    for place, name in enumerate(names):
        encode = lambda *_, name=name, place=place: vector(name, place)  # noqa: E731
        sites[name].hold(Held("run", 0, DIGEST, {UPDATE: {}}, encode))
    server = SecureSum(asked, UPDATE, names, least, ring.size, UnderRoot(_root(root)))
    site_times, up, down = defaultdict(list), defaultdict(list), defaultdict(list)
    server_times: dict[str, float] = defaultdict(float)
    for step in STEPS:
        started = time.process_time()
        messages = server.messages()
        server_times[step] += time.process_time() - started
        for name in server.sites if step != MASKED else server.sites[: count - dropped]:
            started = time.process_time()
            answer = sites[name].answer(step, asked, messages[name], books[name])
            taken = time.process_time()
            server.take(name, answer)
            server_times[step] += time.process_time() - taken
            site_times[step].append(taken - started)
            up[step].append(size_of(answer))
            down[step].append(size_of(messages[name]))
        started = time.process_time()
        server.close()
        server_times[step] += time.process_time() - started
    started = time.process_time()
    found = ring.decode(server.total, server.survivors)
    decoding = time.process_time() - started
    _compare(found.change["update"], ring, len(server.survivors))
    return _table(count, dropped, site_times, server_times, up, down, statistics.median(encoding), decoding)


def _root(key: RSAPrivateKey) -> x509.Certificate:
    return x509.load_der_x509_certificate(certificate(ROOT, key, key))


def _compare(mean: np.ndarray, ring: Ring, survivors: int) -> None:
    weights = np.arange(1, survivors + 1)
    started, total = 0.0, np.zeros(NUMBERS)
    for place in range(survivors):
        change = change_of(place).astype(np.float64)
        begun = time.process_time()
        total += weights[place] * change
        started += time.process_time() - begun
    error, allowed = np.abs(mean - total / weights.sum()).max(), len(ring.caps) * ring.quantum / weights.sum()
    assert error < allowed * (1 + 2**-20), f"{error} is not below {allowed}"
    print(f"largest error of the mean {error:.2g}, below {allowed:.2g}; the open mean takes {started:.2f} s")


def _table(count, dropped, site_times, server_times, up, down, encoding, decoding) -> Table:
    table = Table("step", "site, s", "server, s", "site up, kB", "site down, kB")
    for step in STEPS:
        table.add_row(
            step,
            f"{statistics.median(site_times[step]):.3f}",
            f"{server_times[step]:.3f}",
            f"{statistics.mean(up[step]) / 1e3:.1f}",
            f"{statistics.mean(down[step]) / 1e3:.1f}",
        )
    total, opened = sum(statistics.mean(sizes) for sizes in up.values()), 4 * NUMBERS
    site = sum(map(statistics.median, site_times.values()))
    table.add_row("all", f"{site:.3f}", f"{sum(server_times.values()):.3f}", f"{total / 1e3:.1f}", "")
    table.title = f"{count} sites, {dropped} dropped after their shares"
    table.caption = (
        f"bytes up {total / opened:.4f} of the open float32 update; of the site's time {encoding:.3f} s encode; "
        f"the server decodes in {decoding:.3f} s"
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[6, 24, 100])
    parser.add_argument("--dropped", type=int, default=1)
    given = parser.parse_args()
    for count in given.sites:
        with tempfile.TemporaryDirectory() as folder:
            Console().print(measure(count, given.dropped, Path(folder)))


if __name__ == "__main__":
    main()
