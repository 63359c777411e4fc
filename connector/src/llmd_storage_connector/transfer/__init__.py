# SPDX-License-Identifier: Apache-2.0
"""Blocks on their way between chunks of the CPU tier and storage. Its face is scheduler.TransferScheduler."""
