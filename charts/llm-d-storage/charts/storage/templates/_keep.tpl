{{/* The annotations that let the claim, and a static volume, outlive the release. */}}
{{- define "llm-d-storage.storage.keep" -}}
{{- if .Values.keepOnUninstall -}}
annotations:
  helm.sh/resource-policy: keep
  argocd.argoproj.io/sync-options: Delete=false,Prune=false
{{- end -}}
{{- end -}}
