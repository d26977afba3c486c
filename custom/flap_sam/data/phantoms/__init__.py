# SPDX-License-Identifier: Apache-2.0
"""Drawn scans in place of patients, for demonstrations and tests: an abdomen in CT, a head and a pelvis in MR."""
