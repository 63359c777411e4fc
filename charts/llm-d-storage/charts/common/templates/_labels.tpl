{{/* All labels of one object. Call with (list $ "component"). */}}
{{- define "llm-d-storage.labels" -}}
{{- $root := index . 0 -}}
{{- include "llm-d-storage.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: llm-d-storage
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: llm-d-storage-{{ $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
What selectors use, and all that pods carry. Frozen, since a Deployment's selector can never change; without a version,
since a new chart version alone must not restart a model server. Call with (list $ "component").
*/}}
{{- define "llm-d-storage.selectorLabels" -}}
app.kubernetes.io/name: llm-d-storage
app.kubernetes.io/instance: {{ include "llm-d-storage.names.base" (index . 0) | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/*
The pods that serve. The model server's pods carry these; InferencePool, Service, monitor and proof select by them.
One definition, so that they cannot part.
*/}}
{{- define "llm-d-storage.servingLabels" -}}
app.kubernetes.io/instance: {{ include "llm-d-storage.names.base" . | quote }}
app.kubernetes.io/component: modelserver
{{ include "llm-d-storage.servingLabel" . }}
{{- end -}}

{{- define "llm-d-storage.servingLabel" -}}
llm-d.ai/inference-serving: "true"
{{- end -}}

{{/* Pods of one component on different nodes where there are some, so that a lost node does not take all of them. Call with (list $ component). */}}
{{- define "llm-d-storage.apart" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "llm-d-storage.selectorLabels" . | nindent 14 }}
{{- end -}}
