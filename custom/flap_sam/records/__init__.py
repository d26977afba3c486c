# SPDX-License-Identifier: Apache-2.0
"""What a run leaves on disk, each with its one reader and writer."""
