# SPDX-License-Identifier: Apache-2.0
"""FLAP-SAM on NVIDIA FLARE: hospitals fine-tune the Segment Anything Model together (arXiv 2407.21739)."""

__version__ = "0.1.0"
