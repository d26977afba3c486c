# SPDX-License-Identifier: Apache-2.0
"""From volumes to slice windows: a site's scans become its store, the store becomes windows."""
