# SPDX-License-Identifier: Apache-2.0
"""One module a hook: collect, check, report. No verdict is made here."""
