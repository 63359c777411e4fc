# SPDX-License-Identifier: Apache-2.0
"""`python -m llmd_storage_hooks`: the same command line as the installed script."""

from llmd_storage_hooks.cli import main

main()
