# SPDX-License-Identifier: Apache-2.0
"""What the proof asks: pods, model servers, the router, the manifests on the claim."""
