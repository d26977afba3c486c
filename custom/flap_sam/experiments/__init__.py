# SPDX-License-Identifier: Apache-2.0
"""Whole experiments: a job's settings read and changed, run without a federation, and compared over a grid."""
