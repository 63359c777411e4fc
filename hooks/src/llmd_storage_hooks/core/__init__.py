# SPDX-License-Identifier: Apache-2.0
"""What all four hooks share. It knows none of them."""
