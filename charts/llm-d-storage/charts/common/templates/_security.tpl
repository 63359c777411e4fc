{{/*
Security settings of every pod: the restricted Pod Security level, and one uid, gid and fsGroup for all, so that each
pod can read and delete the files of the others on the shared claim.
OnRootMismatch: a recursive chown over terabytes of blocks would hold up every pod start.
*/}}
{{- define "llm-d-storage.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "llm-d-storage.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
