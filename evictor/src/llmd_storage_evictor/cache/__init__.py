# SPDX-License-Identifier: Apache-2.0
"""The shared cache directory: what is in it, and every system call on it."""
