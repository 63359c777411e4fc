# SPDX-License-Identifier: Apache-2.0
"""What connector, hooks and evictor have in common, and no more: no dependency, no knowledge of any of them.

settings    JSON objects to frozen dataclasses, strictly; their JSON Schema
publish     how a finished file gets its name
"""
