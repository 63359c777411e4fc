{{/* How Prometheus finds a part: a monitor of its operator, or annotations on the pods. global.monitoring.scrape says which. */}}

{{/* The head of a monitor. Call with (list $ "kind" "component" $name). */}}
{{- define "llm-d-storage.monitoring.head" -}}
{{- $root := index . 0 -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ index . 1 }}
metadata:
  name: {{ index . 3 }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "llm-d-storage.labels" (list $root (index . 2)) | nindent 4 }}
    {{- with include "llm-d-storage.furtherLabels" (list $root $root.Values.global.monitoring.labels) }}{{ . | nindent 4 }}{{ end }}
  {{- with include "llm-d-storage.annotations" $root }}{{ . | nindent 2 }}{{ end }}
{{- end -}}

{{/* The one endpoint of a monitor. Call with (list $ "port's name"). */}}
{{- define "llm-d-storage.monitoring.endpoint" -}}
- port: {{ index . 1 }}
  path: /metrics
  interval: {{ (index . 0).Values.global.monitoring.interval }}
{{- end -}}

{{/* The same of the model servers, which may speak TLS. */}}
{{- define "llm-d-storage.monitoring.modelserverEndpoint" -}}
{{- include "llm-d-storage.monitoring.endpoint" (list . "http") }}
{{- with .Values.global.modelserverTls }}
{{- if .secretName }}
  scheme: https
  tlsConfig:
    serverName: {{ include "llm-d-storage.tls.serverName" $ }}
    {{- if include "llm-d-storage.tls.hasCa" $ }}
    ca: {secret: {name: {{ .secretName }}, key: {{ .caKey | quote }}}}
    {{- else if $.Values.global.caBundle.configMapName }}
    ca: {configMap: {name: {{ $.Values.global.caBundle.configMapName }}, key: {{ $.Values.global.caBundle.key | quote }}}}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod's annotations, as JSON; {} unless asked for. Call with (list $ port), and with "https" after it. */}}
{{- define "llm-d-storage.monitoring.annotations" -}}
{{- if eq (index . 0).Values.global.monitoring.scrape "annotations" -}}
{{- $notes := dict "prometheus.io/scrape" "true" "prometheus.io/port" (index . 1) "prometheus.io/path" "/metrics" -}}
{{- if eq (last .) "https" }}{{ $_ := set $notes "prometheus.io/scheme" "https" }}{{ end -}}
{{- toJson $notes -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}
