{{/*
A value of the user's as text. YAML reads what has no quotes as a number or a truth value, and Helm hands every number on as a
float: 131072 must not become 1.31072e+05.
*/}}
{{- define "llm-d-storage.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* A list of values as a JSON list of texts. */}}
{{- define "llm-d-storage.texts" -}}
{{- $texts := list -}}
{{- range . }}{{ $texts = append $texts (include "llm-d-storage.text" .) }}{{ end -}}
{{- toJson $texts -}}
{{- end -}}
