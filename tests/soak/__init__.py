# SPDX-License-Identifier: Apache-2.0
"""Hours of bad days in minutes: `python -m tests.soak` (needs the engine environment, root and /dev/fuse)."""
