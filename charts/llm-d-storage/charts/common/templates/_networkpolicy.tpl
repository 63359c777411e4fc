{{/* What the network policies share. All of them only where global.networkPolicy.enabled says so. */}}

{{/* The head of a policy for one component. Call with (list $ "component" $name). */}}
{{- define "llm-d-storage.networkPolicy.head" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "llm-d-storage.labels" (list $root (index . 1)) | nindent 4 }}
  {{- with include "llm-d-storage.annotations" $root }}{{ . | nindent 2 }}{{ end }}
{{- end -}}

{{/* Pods of one component of this release, as a peer. Call with (list $ "component"). */}}
{{- define "llm-d-storage.networkPolicy.pods" -}}
- podSelector:
    matchLabels:
      {{- include "llm-d-storage.selectorLabels" . | nindent 6 }}
{{- end -}}

{{/* Names are asked of whatever DNS the cluster has; its pods carry no label that all clusters agree on. OpenShift's listen on 5353. */}}
{{- define "llm-d-storage.networkPolicy.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    - {port: 5353, protocol: UDP}
    - {port: 5353, protocol: TCP}
{{- end -}}

{{/* The API server has no pod: its address is the cluster's own, its port 443 or, behind it, 6443. */}}
{{- define "llm-d-storage.networkPolicy.api" -}}
- ports:
    - {port: 443, protocol: TCP}
    - {port: 6443, protocol: TCP}
{{- end -}}

{{/* "from" of a rule: these peers, or everybody when there are none. */}}
{{- define "llm-d-storage.networkPolicy.from" -}}
{{- with . }}
from:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
