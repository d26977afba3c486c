"""From a provisioned federation to running hospitals: policies into kits, jobs to submit, a site's own check."""
