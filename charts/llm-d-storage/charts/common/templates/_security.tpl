{{/*
Security settings of every pod: the restricted Pod Security level, and one uid, gid and fsGroup for all, so that each
pod can read and delete the files of the others on the shared claim. An id of none, or 0, is left out: OpenShift gives all pods
of a namespace the same ones, and root's is what the restricted level forbids.
OnRootMismatch: a recursive chown over terabytes of blocks would hold up every pod start.
*/}}
{{- define "llm-d-storage.podSecurityContext" -}}
{{- with .Values.global.podSecurity -}}
runAsNonRoot: true
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $id := get $.Values.global.podSecurity $key }}
{{- if not (has (toString $id) (list "none" "0")) }}
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
{{- with .Values.global.podSecurity.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
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
