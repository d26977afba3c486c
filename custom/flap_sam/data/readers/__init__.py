# SPDX-License-Identifier: Apache-2.0
"""Readers of volumes: one module a kind of file, and `read`, which chooses among them."""
