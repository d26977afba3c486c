# SPDX-License-Identifier: Apache-2.0
"""The `flap-sam` command."""
