{{/* Whether there is one: "true", or nothing. Another connector's files it keeps only where that was said. */}}
{{- define "llm-d-storage.evictor.isOn" -}}
{{- $layout := .Values.evictor.config.layout | default "llmd-storage" -}}
{{- if and .Values.evictor.enabled (eq .Values.modelserver.connector $layout) }}true{{ end -}}
{{- end -}}

{{/*
The evictor's configuration as JSON. Here and not in a subchart, since its budget is the claim's size. With a claim of yours
the size is not known: then evictor.config.budget_bytes must be set.
*/}}
{{- define "llm-d-storage.evictor.config" -}}
{{- $config := dict
      "root_dir" (include "llm-d-storage.modelserver.root" .Subcharts.modelserver)
      "lease_name" (include "llm-d-storage.names.evictorLease" .)
      "lease_namespace" .Release.Namespace
      "lease_owner" (include "llm-d-storage.names.evictor" .) -}}
{{- if not (include "llm-d-storage.existingClaim" .) }}{{ $_ := set $config "claim_bytes" .Values.storage.size }}{{ end -}}
{{- merge $config .Values.evictor.config | toJson -}}
{{- end -}}
