{{/* How Prometheus finds a part: a monitor of its operator, or annotations on the pods. global.monitoring.scrape says which. */}}

{{/* The head of a monitor. Call with (list $ "kind" "component" $name). */}}
{{- define "llm-d-storage.monitoring.head" -}}
{{- $root := index . 0 -}}
apiVersion: {{ eq (index . 1) "PodMonitoring" | ternary "monitoring.googleapis.com" "monitoring.coreos.com" }}/v1
kind: {{ index . 1 }}
metadata:
  name: {{ index . 3 }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "llm-d-storage.labels" (list $root (index . 2)) | nindent 4 }}
    {{- with include "llm-d-storage.furtherLabels" (list $root $root.Values.global.monitoring.labels) }}{{ . | nindent 4 }}{{ end }}
  {{- with include "llm-d-storage.annotations" $root }}{{ . | nindent 2 }}{{ end }}
{{- end -}}

{{/*
A monitor of pods, for the Prometheus operator or for Google's managed Prometheus; nothing for the other ways.
Call with (list $ "component" $name $labels "port's name"), and with "https" after it.
*/}}
{{- define "llm-d-storage.monitoring.ofPods" -}}
{{- $root := index . 0 -}}
{{- $google := eq $root.Values.global.monitoring.scrape "google" -}}
{{- if or $google (eq $root.Values.global.monitoring.scrape "operator") }}
{{ include "llm-d-storage.monitoring.head" (list $root ($google | ternary "PodMonitoring" "PodMonitor") (index . 1) (index . 2)) }}
spec:
  selector:
    matchLabels:
      {{- index . 3 | nindent 6 }}
  {{ $google | ternary "endpoints" "podMetricsEndpoints" }}:
    {{- include "llm-d-storage.monitoring.endpoint" (list $root (index . 4)) | nindent 4 }}
      {{- if eq (last .) "https" }}
      scheme: https
      {{- if $google }}
      # Its collectors may not read the Secret with the CA.
      tls: {insecureSkipVerify: true}
      {{- else }}
      {{- include "llm-d-storage.monitoring.tlsConfig" $root | nindent 6 }}
      {{- end }}
      {{- end }}
{{- end }}
{{- end -}}

{{/* The one endpoint of a monitor. Call with (list $ "port's name"). */}}
{{- define "llm-d-storage.monitoring.endpoint" -}}
- port: {{ index . 1 }}
  path: /metrics
  interval: {{ (index . 0).Values.global.monitoring.interval }}
{{- end -}}

{{/* How the Prometheus operator verifies the model servers' certificate. */}}
{{- define "llm-d-storage.monitoring.tlsConfig" -}}
tlsConfig:
  serverName: {{ include "llm-d-storage.tls.serverName" . }}
  {{- with .Values.global }}
  {{- if include "llm-d-storage.tls.hasCa" $ }}
  ca: {secret: {name: {{ .modelserverTls.secretName }}, key: {{ .modelserverTls.caKey | quote }}}}
  {{- else if .caBundle.configMapName }}
  ca: {configMap: {name: {{ .caBundle.configMapName }}, key: {{ .caBundle.key | quote }}}}
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
