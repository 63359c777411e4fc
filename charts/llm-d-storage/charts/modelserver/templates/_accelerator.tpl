{{/*
The extended resource of one accelerator; empty on CPU. Call with the modelserver values. A word stands for the name that
the vendor's device plugin uses.
*/}}
{{- define "llm-d-storage.accelerator" -}}
{{- $names := dict "nvidia" "nvidia.com/gpu" "amd" "amd.com/gpu" "gaudi" "habana.ai/gaudi" "none" "" -}}
{{- $name := .accelerator.resource -}}
{{- if hasKey $names $name }}{{ get $names $name }}{{ else }}{{ $name }}{{ end -}}
{{- end -}}

{{/* "true" where the model servers run on accelerators, asked for by an extended resource or by ResourceClaims; empty on CPU. */}}
{{- define "llm-d-storage.accelerated" -}}
{{- if or (include "llm-d-storage.accelerator" .) .accelerator.resourceClaims }}true{{ end -}}
{{- end -}}
