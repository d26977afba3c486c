# SPDX-License-Identifier: Apache-2.0
"""What is trained, how a run is conducted, and where things lie at a site."""
