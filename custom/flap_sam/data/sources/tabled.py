# SPDX-License-Identifier: Apache-2.0
"""Sources whose cases a table deals to sites."""

from abc import abstractmethod

from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.sources.source import Source, SourceCase, checked
from flap_sam.data.workers import Each, in_turn


class Tabled(Source):
    """A layout of your own data; of its scans nothing is known, so each is clipped at its own percentiles."""

    @property
    @abstractmethod
    def rows(self) -> list[dict[str, str]]:
        """What `read_table` read; "site" is one of its columns."""

    @abstractmethod
    def located(self, row: dict[str, str]) -> SourceCase:
        """The case of a row of the table."""

    def sites(self) -> list[str]:
        return sorted({row["site"] for row in self.rows})

    def cases(self, site: str) -> list[SourceCase]:
        return checked([self.located(row) for row in self.rows if row["site"] == site], site)

    def intensity(self, site: str, each: Each = in_turn) -> VolumeIntensity:
        return VolumeIntensity(low_percentile=0.5, high_percentile=99.5)
