# SPDX-License-Identifier: Apache-2.0
"""The steps that both pods run, each in its own role. They observe; the checks judge."""
