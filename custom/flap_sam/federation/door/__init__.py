# SPDX-License-Identifier: Apache-2.0
"""The hospital's own door: what may reach FLARE's processes at a hospital at all, whoever sends it."""
