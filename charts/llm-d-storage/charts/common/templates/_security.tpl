{{/*
Security settings of every pod: the restricted Pod Security level, and one uid, gid and fsGroup for all, so that each
pod can read and delete the files of the others on the shared claim. An id of none is left out: OpenShift gives all pods
of a namespace the same ones.
OnRootMismatch: a recursive chown over terabytes of blocks would hold up every pod start.
*/}}
{{- define "llm-d-storage.podSecurityContext" -}}
{{- with .Values.global.podSecurity -}}
runAsNonRoot: true
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $id := get $.Values.global.podSecurity $key }}
{{- if ne (toString $id) "none" }}
{{ $key }}: {{ int64 $id }}
{{- end }}
{{- end }}
fsGroupChangePolicy: {{ .fsGroupChangePolicy }}
{{- with .supplementalGroups }}
supplementalGroups:
  {{- range . }}
  - {{ int64 . }}
  {{- end }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "llm-d-storage.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
