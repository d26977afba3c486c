# SPDX-License-Identifier: Apache-2.0
"""The mathematics of adapters, pure torch: what they do, its weighted sum, its best low-rank form."""
