# SPDX-License-Identifier: Apache-2.0
"""What crosses the wire. The only room that knows NVFlare."""
