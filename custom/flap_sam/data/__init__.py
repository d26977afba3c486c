# SPDX-License-Identifier: Apache-2.0
"""From volumes to slice windows: a site's scans become its store, the store becomes windows."""

from flap_sam.foundation.lazy_package import without_init

without_init("nibabel")  # it imports pydicom and scipy, which a training process has no use for
