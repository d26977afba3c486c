# SPDX-License-Identifier: Apache-2.0
"""What every room stands on: files, locks, child processes, strict models, tables and text."""
