{{/* "true" when this release makes an InferencePool and its endpoint picker. */}}
{{- define "llm-d-storage.router.hasPool" -}}
{{- if has .Values.global.router.mode (list "gateway" "standalone" "external") }}true{{ end -}}
{{- end -}}
