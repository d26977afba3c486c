# SPDX-License-Identifier: Apache-2.0
"""What a payload is good for: segmenting new scans. Speaks to no network."""
