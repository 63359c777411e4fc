{{/*
One rule for every way in that may get a load balancer (Envoy, Istio's proxy): it is in front of a vLLM that may ask for no key,
so it is the network's own unless public says otherwise. Each cloud reads its own word, and no other. The user's annotations win.

All are called with values that have serviceType, public and serviceAnnotations.
*/}}
{{- define "llm-d-storage.balancer.internalAnnotations" -}}
networking.gke.io/load-balancer-type: Internal
service.beta.kubernetes.io/aws-load-balancer-internal: "true"
service.beta.kubernetes.io/aws-load-balancer-scheme: internal
service.beta.kubernetes.io/azure-load-balancer-internal: "true"
service.beta.kubernetes.io/oci-load-balancer-internal: "true"
service.beta.kubernetes.io/openstack-internal-load-balancer: "true"
service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type: private
{{- end -}}

{{/* Annotations of the Service, as JSON; {} when there are none. */}}
{{- define "llm-d-storage.balancer.annotations" -}}
{{- $internal := dict -}}
{{- if and (eq .serviceType "LoadBalancer") (not .public) -}}
{{- $internal = include "llm-d-storage.balancer.internalAnnotations" . | fromYaml -}}
{{- end -}}
{{- merge (dict) .serviceAnnotations $internal | toJson -}}
{{- end -}}

{{/* "true" where the internet may reach it: asked for, or an annotation of the user's says another thing than the internal one. */}}
{{- define "llm-d-storage.balancer.isPublic" -}}
{{- if eq .serviceType "LoadBalancer" -}}
{{- $public := .public -}}
{{- $internal := include "llm-d-storage.balancer.internalAnnotations" . | fromYaml -}}
{{- range $key, $value := .serviceAnnotations -}}
{{- if and (hasKey $internal $key) (ne $value (get $internal $key)) }}{{ $public = true }}{{ end -}}
{{- end -}}
{{- if $public }}true{{ end -}}
{{- end -}}
{{- end -}}
