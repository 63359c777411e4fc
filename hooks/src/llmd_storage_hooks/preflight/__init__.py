# SPDX-License-Identifier: Apache-2.0
"""Preflight: before the install, can this cluster and this storage carry a shared cache at all?"""
