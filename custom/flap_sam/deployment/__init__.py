# SPDX-License-Identifier: Apache-2.0
"""From a provisioned federation to running hospitals: policies into kits, jobs to submit, a site's own check."""
