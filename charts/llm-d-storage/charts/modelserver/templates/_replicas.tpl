{{/* Model servers that there are at least. Call with the modelserver values. */}}
{{- define "llm-d-storage.replicas" -}}
{{- int64 (ternary .replicas .autoscaling.minReplicas (eq .autoscaling.kind "none")) -}}
{{- end -}}
