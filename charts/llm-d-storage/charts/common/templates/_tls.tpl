{{/*
HTTPS of the model servers (global.modelserverTls), as those need to know it who ask them. Pods are asked by their addresses,
which are in no certificate: what is verified is the one name that all of theirs have.
*/}}
{{- define "llm-d-storage.tls.scheme" -}}
{{- if .Values.global.modelserverTls.secretName }}https{{ else }}http{{ end -}}
{{- end -}}

{{/* The name in the certificate. */}}
{{- define "llm-d-storage.tls.serverName" -}}
{{- .Values.global.modelserverTls.serverName | default (printf "%s.%s.svc" (include "llm-d-storage.names.modelserver" .) .Release.Namespace) -}}
{{- end -}}

{{/* "true" where the Secret has the certificate of the CA, too. */}}
{{- define "llm-d-storage.tls.hasCa" -}}
{{- with .Values.global.modelserverTls }}{{ if and .secretName (ne .caKey "none") }}true{{ end }}{{ end -}}
{{- end -}}

{{/* Where it is mounted, the key never beside it; may be nothing. */}}
{{- define "llm-d-storage.tls.caFile" -}}
{{- if include "llm-d-storage.tls.hasCa" . }}/etc/modelserver-ca/ca.crt{{ end -}}
{{- end -}}

{{- define "llm-d-storage.tls.caMount" -}}
{{- if include "llm-d-storage.tls.hasCa" . }}
- {name: modelserver-ca, mountPath: /etc/modelserver-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.tls.caVolume" -}}
{{- if include "llm-d-storage.tls.hasCa" . }}
- name: modelserver-ca
  secret:
    secretName: {{ .Values.global.modelserverTls.secretName }}
    items: [{key: {{ .Values.global.modelserverTls.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- end -}}
