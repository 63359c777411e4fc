# SPDX-License-Identifier: Apache-2.0
"""llmd-kv: the command line. One file a command."""
