# SPDX-License-Identifier: Apache-2.0
"""What the probe does on the volume: file operations, the channel between the pods, the steps."""
