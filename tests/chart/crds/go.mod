// CRDs of optional kinds that the chart can make, besides those that the lab installs: only their YAML is read.
module llm-d-storage.test/chart-crds

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	istio.io/api v1.31.4
	sigs.k8s.io/lws v0.9.0
)
