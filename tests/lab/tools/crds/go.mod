// Versions of the CRDs that the lab installs and that the chart is validated against: only their YAML is read, nothing is built.
module llm-d-storage.test/lab-crds

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.5.1
	sigs.k8s.io/gateway-api-inference-extension v1.5.0
)
