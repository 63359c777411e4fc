{{/* on, off or another word; without quotes YAML reads on and off as true and false. Empty for null. */}}
{{- define "llm-d-storage.onOff" -}}
{{- if kindIs "bool" . -}}
{{- ternary "on" "off" . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- . -}}
{{- end -}}
{{- end -}}
