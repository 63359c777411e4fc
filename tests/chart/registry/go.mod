// A registry to push the packed chart to, for the test of `helm install oci://`: go-containerregistry's, in memory.
module llm-d-storage.test/chart-registry

go 1.26.0

require github.com/google/go-containerregistry v0.22.1
