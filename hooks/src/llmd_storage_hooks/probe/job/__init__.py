# SPDX-License-Identifier: Apache-2.0
"""`probe --claim`: the Job that a person starts without the chart, from its manifest to its removal."""
