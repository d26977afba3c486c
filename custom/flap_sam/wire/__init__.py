# SPDX-License-Identifier: Apache-2.0
"""What travels between server and sites: names, shapes and types of a payload, its encodings, and the messages."""
