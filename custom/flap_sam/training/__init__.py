# SPDX-License-Identifier: Apache-2.0
"""One site's work: loss, schedule, an epoch of training, Dice. Knows no FLARE."""
