# SPDX-License-Identifier: Apache-2.0
"""The site's own gate on the wire: what it has agreed to passes, everything else stays where it is."""
