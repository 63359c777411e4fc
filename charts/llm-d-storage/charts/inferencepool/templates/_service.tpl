{{/*
Annotations of Envoy's Service. A load balancer is in front of a vLLM that may ask for no key, so it is the network's own
unless envoy.public says otherwise: each cloud reads its own word, and no other. The user's annotations win.
*/}}
{{- define "llm-d-storage.envoy.internalAnnotations" -}}
networking.gke.io/load-balancer-type: Internal
service.beta.kubernetes.io/aws-load-balancer-internal: "true"
service.beta.kubernetes.io/aws-load-balancer-scheme: internal
service.beta.kubernetes.io/azure-load-balancer-internal: "true"
service.beta.kubernetes.io/oci-load-balancer-internal: "true"
service.beta.kubernetes.io/openstack-internal-load-balancer: "true"
service.kubernetes.io/ibm-load-balancer-cloud-provider-ip-type: private
{{- end -}}

{{/* As JSON; {} when there are none. */}}
{{- define "llm-d-storage.envoy.serviceAnnotations" -}}
{{- $envoy := .Values.envoy -}}
{{- $internal := dict -}}
{{- if and (eq $envoy.serviceType "LoadBalancer") (not $envoy.public) -}}
{{- $internal = include "llm-d-storage.envoy.internalAnnotations" . | fromYaml -}}
{{- end -}}
{{- merge (dict) $envoy.serviceAnnotations $internal .Values.global.commonAnnotations | toJson -}}
{{- end -}}

{{/* "true" where the internet may reach Envoy: asked for, or an annotation of the user's says another thing than the internal one. */}}
{{- define "llm-d-storage.envoy.isPublic" -}}
{{- $envoy := .Values.envoy -}}
{{- if and (eq .Values.global.router.mode "standalone") (eq $envoy.serviceType "LoadBalancer") -}}
{{- $public := $envoy.public -}}
{{- $internal := include "llm-d-storage.envoy.internalAnnotations" . | fromYaml -}}
{{- range $key, $value := $envoy.serviceAnnotations -}}
{{- if and (hasKey $internal $key) (ne $value (get $internal $key)) }}{{ $public = true }}{{ end -}}
{{- end -}}
{{- if $public }}true{{ end -}}
{{- end -}}
{{- end -}}
