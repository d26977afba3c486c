# SPDX-License-Identifier: Apache-2.0
"""Records as tables and pages: the closing summary of a run, and a run or a grid of runs as one page of HTML."""
