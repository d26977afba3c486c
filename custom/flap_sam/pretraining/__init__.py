# SPDX-License-Identifier: Apache-2.0
"""The bundled small SAM: pretrained promptably, as SAM was, on pictures of drawn shapes."""
