"""A real two-node Kubernetes with a real shared filesystem on one machine, for the tests and the demo.

Run it as ``python -m tests.lab``; README.md beside this file says what it is made of.
"""
