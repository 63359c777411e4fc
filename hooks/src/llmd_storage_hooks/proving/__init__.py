# SPDX-License-Identifier: Apache-2.0
"""The proof: wait for the servers, ask A, see storage written, ask B, ask the router."""
