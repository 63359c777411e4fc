# SPDX-License-Identifier: Apache-2.0
"""`python -m llmd_storage_evictor`: the same command line as the installed script, llmd-kv."""

from llmd_storage_evictor.cli.app import main

main()
