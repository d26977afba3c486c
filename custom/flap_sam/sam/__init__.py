# SPDX-License-Identifier: Apache-2.0
"""The network: SAM with adapters and the 16x decoder. Knows neither data nor FLARE."""
