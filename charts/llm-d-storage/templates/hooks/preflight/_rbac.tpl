{{/* Cluster-wide rights, only for what these values make the preflight look at. May be none. */}}
{{- define "llm-d-storage.preflight.clusterRules" -}}
{{- if not (include "llm-d-storage.existingClaim" .) }}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [list]
{{- else }}
# Which driver the volume of the claim is of; its name is not known here.
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [get]
{{- end }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- $class := include "llm-d-storage.gateway.className" .Values.gateway }}
{{- if and (eq .Values.global.router.mode "gateway") $class }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get]
  resourceNames: [{{ $class }}]
{{- end }}
{{- end -}}
