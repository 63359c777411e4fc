{{/*
EndpointPickerConfig. The picker decodes it strictly (an unknown field or plugin is a crash loop), so it is made here
from typed values; a scorer of weight 0 is left out.
*/}}
{{- define "llm-d-storage.epp.config" -}}
{{- $scorers := list
      (dict "type" "queue-scorer" "weight" .Values.scorers.queue)
      (dict "type" "kv-cache-utilization-scorer" "weight" .Values.scorers.kvCacheUtilization)
      (dict "type" "prefix-cache-scorer" "weight" .Values.scorers.prefixCache) -}}
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
{{- range $scorers }}
{{- if .weight }}
  - type: {{ .type }}
{{- end }}
{{- end }}
schedulingProfiles:
  - name: default
    plugins:
    {{- range $scorers }}
    {{- if .weight }}
      - pluginRef: {{ .type }}
        weight: {{ .weight }}
    {{- end }}
    {{- end }}
{{- end -}}
