"""The project image, made without a container engine: the lab and the release make it with this code.

debian   the base: Debian packages, unpacked
project  what the project adds, in two layers: what it depends on, and its own packages
wheels   the project's own packages
oci      folders as layers of an image archive
layout   image archives as an OCI image layout, which is what is published
"""
