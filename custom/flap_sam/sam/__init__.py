# SPDX-License-Identifier: Apache-2.0
"""The network: SAM with adapters and the 16x decoder. Knows neither data nor FLARE."""

from flap_sam.foundation.lazy_package import without_init

without_init("segment_anything")  # its predictor imports torchvision, and with it torch's compiler: seconds a process
