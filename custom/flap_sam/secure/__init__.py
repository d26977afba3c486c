# SPDX-License-Identifier: Apache-2.0
"""A sum of updates of which nobody sees a single one: masks, in five steps (docs/explanation/secure-aggregation.md)."""
