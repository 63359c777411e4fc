# SPDX-License-Identifier: Apache-2.0
"""What blocks belong to: facts of the model and its layout, and the weights' fingerprint."""
