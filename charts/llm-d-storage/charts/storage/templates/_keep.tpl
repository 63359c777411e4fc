{{/* The annotations that let the claim, and a static volume, outlive the release. */}}
{{- define "llm-d-storage.storage.keep" -}}
{{- $common := include "llm-d-storage.commonAnnotations" . -}}
{{- if or .Values.keepOnUninstall $common -}}
annotations:
{{- with $common }}{{ . | nindent 2 }}{{ end }}
{{- end }}
{{- if .Values.keepOnUninstall }}
  helm.sh/resource-policy: keep
  argocd.argoproj.io/sync-options: Delete=false,Prune=false
{{- end -}}
{{- end -}}
