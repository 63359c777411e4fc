{{/*
The model servers: a Deployment of pods, or a LeaderWorkerSet of groups of them, every one on the same claim. Call with the scope
of llm-d-storage.modelserver.podTemplate.
*/}}
{{- define "llm-d-storage.modelserver.workload" -}}
{{- $grouped := gt (int64 .Values.nodes) 1 }}
{{ include "llm-d-storage.modelserver.kind" . }}
metadata:
  name: {{ include "llm-d-storage.names.workload" . }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "llm-d-storage.labels" (list . "modelserver") | nindent 4 }}
    {{- with include "llm-d-storage.furtherLabels" (list . .Values.labels) }}{{ . | nindent 4 }}{{ end }}
  {{- with merge (dict) .Values.annotations .Values.global.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if and (eq .Values.autoscaling.kind "none") (not (kindIs "invalid" .Values.replicas)) }}
  replicas: {{ int64 .Values.replicas }}
  {{- end }}
  {{- if $grouped }}
  rolloutStrategy:
    type: RollingUpdate
    rollingUpdateConfiguration:
      maxSurge: {{ .Values.updateStrategy.maxSurge }}
      maxUnavailable: {{ .Values.updateStrategy.maxUnavailable }}
  # The Service that all groups would share has the set's name, and so has the one of the model servers.
  networkConfig: {subdomainPolicy: UniquePerReplica}
  leaderWorkerTemplate:
    size: {{ int64 .Values.nodes }}
    # An engine that is alone waits for the others for ever: they all start again.
    restartPolicy: RecreateGroupOnPodRestart
    # Leader and workers: what differs is their rank.
    workerTemplate:
      {{- include "llm-d-storage.modelserver.podTemplate" . | nindent 6 }}
  {{- else }}
  # The default of ten minutes would call a model that is still being loaded a failure.
  progressDeadlineSeconds: {{ add (int64 .Values.probes.startupSeconds) 600 }}
  strategy:
    type: {{ .Values.updateStrategy.type }}
    {{- if eq .Values.updateStrategy.type "RollingUpdate" }}
    rollingUpdate:
      maxSurge: {{ .Values.updateStrategy.maxSurge }}
      maxUnavailable: {{ .Values.updateStrategy.maxUnavailable }}
    {{- end }}
  selector:
    matchLabels:
      {{- include "llm-d-storage.selectorLabels" (list . "modelserver") | nindent 6 }}
  template:
    {{- include "llm-d-storage.modelserver.podTemplate" . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The kind that makes the model servers' pods, as an autoscaler names it, too. */}}
{{- define "llm-d-storage.modelserver.kind" -}}
{{- if gt (int64 .Values.nodes) 1 -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
{{- else -}}
apiVersion: apps/v1
kind: Deployment
{{- end -}}
{{- end -}}
