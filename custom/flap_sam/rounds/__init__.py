# SPDX-License-Identifier: Apache-2.0
"""The rounds of a run: what the server checks, adds up and remembers."""
