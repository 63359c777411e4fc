# SPDX-License-Identifier: Apache-2.0
"""Pure checks: facts in, findings out. Siblings do not know each other."""
