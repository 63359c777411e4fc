# SPDX-License-Identifier: Apache-2.0
"""The storage tier without vLLM. Its face is engine.StorageEngine."""
