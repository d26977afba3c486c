# SPDX-License-Identifier: Apache-2.0
"""What binds a startup kit: the package's policies, and the builder that lays them during `nvflare provision`."""
