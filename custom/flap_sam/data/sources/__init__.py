# SPDX-License-Identifier: Apache-2.0
"""Where volumes come from: one module a public layout."""
