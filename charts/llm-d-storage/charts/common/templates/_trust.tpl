{{/*
Whom a container trusts whose programs take one file with all certificates of CAs (SSL_CERT_FILE, REQUESTS_CA_BUNDLE): the
public ones stay, and further ones are added to them, by an init container from the project's image.
*/}}

{{/* global.caBundle: file, mount and volume; nothing without one. */}}
{{- define "llm-d-storage.caBundle.file" -}}
{{- if .Values.global.caBundle.configMapName }}/etc/ca-bundle/ca.crt{{ end -}}
{{- end -}}

{{- define "llm-d-storage.caBundle.mount" -}}
{{- if .Values.global.caBundle.configMapName }}
- {name: ca-bundle, mountPath: /etc/ca-bundle, readOnly: true}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.caBundle.volume" -}}
{{- with .Values.global.caBundle }}
{{- if .configMapName }}
- name: ca-bundle
  configMap:
    name: {{ .configMapName }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}

{{/* Who asks the model servers: the CA of theirs, and global.caBundle. Files as a JSON list. */}}
{{- define "llm-d-storage.trust.files" -}}
{{- compact (list (include "llm-d-storage.tls.caFile" .) (include "llm-d-storage.caBundle.file" .)) | toJson -}}
{{- end -}}

{{- define "llm-d-storage.trust.sourceMounts" -}}
{{- include "llm-d-storage.tls.caMount" . }}
{{- include "llm-d-storage.caBundle.mount" . }}
{{- end -}}

{{- define "llm-d-storage.trust.sourceVolumes" -}}
{{- include "llm-d-storage.tls.caVolume" . }}
{{- include "llm-d-storage.caBundle.volume" . }}
{{- end -}}

{{/* All of them in one. */}}
{{- define "llm-d-storage.trust.file" -}}/etc/llm-d-trust/ca-bundle.crt{{- end -}}

{{/* Call with (list $ $files $mounts): files with CAs, and the mounts that they are on, as YAML. */}}
{{- define "llm-d-storage.trust.initContainer" -}}
- name: trust
  {{- include "llm-d-storage.projectImage" (index . 0) | nindent 2 }}
  command: [python3, -m, llmd_storage_hooks.core.trust]
  args: {{ concat (list (include "llm-d-storage.trust.file" .)) (index . 1) | toJson }}
  securityContext:
    {{- include "llm-d-storage.containerSecurityContext" (index . 0) | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {cpu: "1", memory: 128Mi}
  volumeMounts:
    - {name: trust, mountPath: /etc/llm-d-trust}
    {{- index . 2 | trim | nindent 4 }}
{{- end -}}

{{- define "llm-d-storage.trust.mount" -}}
- {name: trust, mountPath: /etc/llm-d-trust, readOnly: true}
{{- end -}}

{{- define "llm-d-storage.trust.volume" -}}
- name: trust
  emptyDir: {}
{{- end -}}

{{/* As a JSON list of EnvVars. */}}
{{- define "llm-d-storage.trust.env" -}}
{{- $file := include "llm-d-storage.trust.file" . -}}
{{- list (dict "name" "SSL_CERT_FILE" "value" $file) (dict "name" "REQUESTS_CA_BUNDLE" "value" $file) | toJson -}}
{{- end -}}
