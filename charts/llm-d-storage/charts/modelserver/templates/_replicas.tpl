{{/* Model servers that there are at least; two where somebody else says how many. Call with the modelserver values. */}}
{{- define "llm-d-storage.replicas" -}}
{{- int64 (ternary (kindIs "invalid" .replicas | ternary 2 .replicas) .autoscaling.minReplicas (eq .autoscaling.kind "none")) -}}
{{- end -}}
