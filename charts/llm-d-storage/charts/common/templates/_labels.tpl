{{/* All labels of one object. Call with (list $ "component"). */}}
{{- define "llm-d-storage.labels" -}}
{{- $root := index . 0 -}}
{{- include "llm-d-storage.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: llm-d-storage
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: llm-d-storage-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of one kind of object on top of those, as YAML; a key that commonLabels has is there already. Call with (list $ $labels). */}}
{{- define "llm-d-storage.furtherLabels" -}}
{{- $own := dict -}}
{{- range $key, $value := index . 1 -}}
{{- if not (hasKey (index $ 0).Values.global.commonLabels $key) }}{{ $_ := set $own $key $value }}{{ end -}}
{{- end -}}
{{- with $own }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/*
The labels of a pod: what selects it, and what the user wants on all pods. Call with (list $ "component"), and with labels
of this pod's own after it, which win.
*/}}
{{- define "llm-d-storage.podLabels" -}}
{{- $global := (index . 0).Values.global -}}
{{- $own := gt (len .) 2 | ternary (last .) dict -}}
{{- include "llm-d-storage.selectorLabels" . }}
{{- with merge (dict) (kindIs "map" $own | ternary $own dict) $global.podLabels $global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the user wants on every object: its whole block, for an object without annotations of its own. May be empty. */}}
{{- define "llm-d-storage.annotations" -}}
{{- with include "llm-d-storage.commonAnnotations" . }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same, for a block that is there. */}}
{{- define "llm-d-storage.commonAnnotations" -}}
{{- with .Values.global.commonAnnotations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* A pod's annotations as YAML; may be empty. Call with (list $ $own): its own win. */}}
{{- define "llm-d-storage.podAnnotations" -}}
{{- $global := (index . 0).Values.global -}}
{{- with merge (dict) (index . 1) $global.podAnnotations $global.commonAnnotations }}{{ toYaml . }}{{ end -}}
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
