{{/* The proof's configuration as JSON. */}}
{{- define "llm-d-storage.proof.config" -}}
{{- with .Values.hooks.proof -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list $ .timeoutSeconds (include "llm-d-storage.names.report" $) (include "llm-d-storage.names.proof" $)) | fromJson -}}
{{- /* What counts, and under which names, depends on it. */ -}}
{{- $_ := set $config "connector" $.Values.modelserver.connector -}}
{{- $_ := set $config "podSelector" (include "llm-d-storage.servingLabels" $ | fromYaml) -}}
{{- $_ := set $config "port" (int64 8000) -}}
{{- if $.Values.global.modelserverTls.secretName -}}
{{- $_ := set $config "scheme" "https" -}}
{{- $_ := set $config "serverName" (include "llm-d-storage.tls.serverName" $) -}}
{{- if eq $.Values.global.router.mode "service" | and (not .routerUrl) }}{{ $_ := set $config "routerServerName" $config.serverName }}{{ end -}}
{{- end -}}
{{- with include "llm-d-storage.trust.files" $ | fromJsonArray }}{{ $_ := set $config "caFiles" . }}{{ end -}}
{{- $_ := set $config "model" ($.Values.modelserver.servedModelName | default $.Values.modelserver.model) -}}
{{- $_ := set $config "blockTokens" (int64 $.Values.modelserver.storageTier.blockTokens) -}}
{{- $_ := set $config "promptBlocks" (int64 .promptBlocks) -}}
{{- $_ := set $config "maxTokens" (int64 .maxTokens) -}}
{{- $_ := set $config "readyTimeoutSeconds" (int64 .readyTimeoutSeconds) -}}
{{- $_ := set $config "requestTimeoutSeconds" (int64 .requestTimeoutSeconds) -}}
{{- $_ := set $config "minReusedFraction" .minReusedFraction -}}
{{- $_ := set $config "routerUrl" (.routerUrl | default (include "llm-d-storage.names.url" $)) -}}
{{- with include "llm-d-storage.proof.apiKey" $ | fromJson }}{{ $_ := set $config "apiKeyEnv" "API_KEY" }}{{ end -}}
{{- if eq $.Values.modelserver.connector "llmd-storage" -}}
{{- /* Only read when nothing was reused: the manifests say which field keeps the pods apart. */ -}}
{{- $_ := set $config "claimPath" "/mnt/kv-cache/blocks" -}}
{{- end -}}
{{- with include "llm-d-storage.proof.gateway" $ | fromJson -}}{{- $_ := set $config "gateway" . -}}{{- end -}}
{{- toJson $config -}}
{{- end -}}
{{- end -}}

{{/* The key to ask with, as JSON: an EnvVar without its name; {} when there is none. */}}
{{- define "llm-d-storage.proof.apiKey" -}}
{{- with .Values.hooks.proof.apiKey -}}
{{- if .secretName -}}
{{- dict "valueFrom" (dict "secretKeyRef" (dict "name" .secretName "key" .secretKey)) | toJson -}}
{{- else -}}
{{- include "llm-d-storage.modelserver.apiKey" $.Subcharts.modelserver -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The Gateway that the proof asks, at the address in its status, as JSON; empty when there is none, or another way is given.
One of another namespace is none: reading it would need rights there.
*/}}
{{- define "llm-d-storage.proof.gateway" -}}
{{- $existing := .Values.gateway.existing -}}
{{- $mine := or (not $existing.namespace) (eq $existing.namespace .Release.Namespace) -}}
{{- if and (eq .Values.global.router.mode "gateway") $mine (not .Values.hooks.proof.routerUrl) -}}
{{- dict
      "name" ($existing.name | default (include "llm-d-storage.names.gateway" .))
      "section" ($existing.sectionName | default "")
      "path" (.Values.gateway.pathPrefix | default "/" | trimSuffix "/")
      "host" (first .Values.gateway.hostnames | default "" | replace "*" "llm-d-storage") | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* What the proof reads: the cache's manifests, and whom to trust. Both may be nothing. */}}
{{- define "llm-d-storage.proof.mounts" -}}
{{- if eq .Values.modelserver.connector "llmd-storage" }}
- {name: kv-cache, mountPath: /mnt/kv-cache, readOnly: true}
{{- end }}
{{- include "llm-d-storage.trust.sourceMounts" . }}
{{- end -}}

{{- define "llm-d-storage.proof.volumes" -}}
{{- if eq .Values.modelserver.connector "llmd-storage" }}
- name: kv-cache
  persistentVolumeClaim:
    claimName: {{ include "llm-d-storage.names.claim" . | quote }}
{{- end }}
{{- include "llm-d-storage.trust.sourceVolumes" . }}
{{- end -}}
