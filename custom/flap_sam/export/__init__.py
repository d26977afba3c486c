# SPDX-License-Identifier: Apache-2.0
"""A trained network for other tools: SAM's weights merged, PEFT, a MONAI bundle, ONNX."""
