{{/*
A container's resources without entries that are null: that is how a user takes a default away, and Helm hands the
null on to a subchart. Call with the resources.
*/}}
{{- define "llm-d-storage.resources" -}}
{{- $clean := dict -}}
{{- range $kind, $quantities := . -}}
{{- $of := dict -}}
{{- range $name, $quantity := $quantities -}}
{{- if not (kindIs "invalid" $quantity) -}}{{- $_ := set $of $name (kindIs "string" $quantity | ternary $quantity (toString $quantity)) -}}{{- end -}}
{{- end -}}
{{- if $of }}{{ $_ := set $clean $kind $of }}{{ end -}}
{{- end -}}
{{- toYaml $clean -}}
{{- end -}}
