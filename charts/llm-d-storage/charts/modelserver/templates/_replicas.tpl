{{/* Replicas that there are at least; two where somebody else says how many. Call with the modelserver values. */}}
{{- define "llm-d-storage.replicas" -}}
{{- int64 (ternary (kindIs "invalid" .replicas | ternary 2 .replicas) .autoscaling.minReplicas (eq .autoscaling.kind "none")) -}}
{{- end -}}

{{/* Model servers, each a pod that serves, that there are at least. Call with the modelserver values. */}}
{{- define "llm-d-storage.pods" -}}
{{- mul (include "llm-d-storage.replicas" . | int64) (int64 .nodes) -}}
{{- end -}}
