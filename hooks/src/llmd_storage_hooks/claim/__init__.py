# SPDX-License-Identifier: Apache-2.0
"""Claim: watches the claim from outside until it is bound and mounted, and says why it is not."""
