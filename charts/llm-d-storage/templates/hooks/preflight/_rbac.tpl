{{/* Cluster-wide rights, only for what these values make the preflight look at. May be none. */}}
{{- define "llm-d-storage.preflight.clusterRules" -}}
{{- if not .Values.global.existingClaim }}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [list]
{{- end }}
{{- if .Values.modelserver.accelerator.resource }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- end }}
{{- if eq .Values.global.router.mode "gateway" }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get]
  resourceNames: [{{ .Values.gateway.className }}]
{{- end }}
{{- end -}}
