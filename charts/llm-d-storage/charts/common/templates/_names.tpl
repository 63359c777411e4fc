{{/*
The only place where names are made. They depend on the release and on .Values.global alone, so the umbrella
and every subchart compute the same string.
*/}}

{{/*
The base of all names. At most 48 characters, so that the longest suffix ("-storage-report", 15) fits a label's 63;
a longer release name is cut and gets a digest, so that two long names with one beginning stay apart.
*/}}
{{- define "llm-d-storage.names.base" -}}
{{- $base := .Values.global.nameOverride | default .Release.Name -}}
{{- if gt (len $base) 48 -}}
{{- printf "%s-%s" ($base | trunc 39 | trimSuffix "-" | trimSuffix ".") (sha256sum $base | trunc 8) -}}
{{- else -}}
{{- $base -}}
{{- end -}}
{{- end -}}

{{/* The claim that the chart makes. */}}
{{- define "llm-d-storage.names.ownClaim" -}}
{{- include "llm-d-storage.names.base" . }}-kv-cache
{{- end -}}

{{/* A claim of the user's, or nothing. global.existingClaim is its earlier name. */}}
{{- define "llm-d-storage.existingClaim" -}}
{{- (.Values.storage | default .Values).existingClaim | default .Values.global.existingClaim | default "" -}}
{{- end -}}

{{/* The claim that is used, whoever made it. Only for the umbrella's templates, which see the storage's values. */}}
{{- define "llm-d-storage.names.claim" -}}
{{- include "llm-d-storage.existingClaim" . | default (include "llm-d-storage.names.ownClaim" .) -}}
{{- end -}}

{{/* A volume is cluster-wide. A point is in no namespace and in no release name, so two pairs never give one name. */}}
{{- define "llm-d-storage.names.volume" -}}
{{- printf "%s.%s-kv-cache" .Release.Namespace (include "llm-d-storage.names.base" .) -}}
{{- end -}}

{{- define "llm-d-storage.names.modelserver" -}}
{{- include "llm-d-storage.names.base" . }}-modelserver
{{- end -}}

{{- define "llm-d-storage.names.lmcache" -}}
{{- include "llm-d-storage.names.base" . }}-lmcache
{{- end -}}

{{- define "llm-d-storage.names.pool" -}}
{{- include "llm-d-storage.names.base" . }}-pool
{{- end -}}

{{- define "llm-d-storage.names.epp" -}}
{{- include "llm-d-storage.names.base" . }}-epp
{{- end -}}

{{- define "llm-d-storage.names.pickers" -}}
{{- include "llm-d-storage.names.base" . }}-pickers
{{- end -}}

{{- define "llm-d-storage.names.router" -}}
{{- include "llm-d-storage.names.base" . }}-router
{{- end -}}

{{- define "llm-d-storage.names.gateway" -}}
{{- include "llm-d-storage.names.base" . }}-gateway
{{- end -}}

{{- define "llm-d-storage.names.route" -}}
{{- include "llm-d-storage.names.base" . }}-route
{{- end -}}

{{- define "llm-d-storage.names.evictor" -}}
{{- include "llm-d-storage.names.base" . }}-evictor
{{- end -}}

{{/* Named after the claim: of all evictors on one claim, whichever release they are of, one leads. */}}
{{- define "llm-d-storage.names.evictorLease" -}}
{{- include "llm-d-storage.names.claim" . -}}
{{- end -}}

{{- define "llm-d-storage.names.alerts" -}}
{{- include "llm-d-storage.names.base" . }}-alerts
{{- end -}}

{{/* Call with (list $ "dashboard"), of 9 letters at most. */}}
{{- define "llm-d-storage.names.dashboard" -}}
{{- include "llm-d-storage.names.base" (index . 0) }}-dash-{{ index . 1 }}
{{- end -}}

{{- define "llm-d-storage.names.preflight" -}}
{{- include "llm-d-storage.names.base" . }}-preflight
{{- end -}}

{{/* Of cluster-wide objects. A colon is in no namespace and in no release name, so two pairs never give one name. */}}
{{- define "llm-d-storage.names.preflightCluster" -}}
{{- printf "%s:%s" .Release.Namespace (include "llm-d-storage.names.preflight" .) -}}
{{- end -}}

{{- define "llm-d-storage.names.claimHook" -}}
{{- include "llm-d-storage.names.base" . }}-claim
{{- end -}}

{{- define "llm-d-storage.names.chown" -}}
{{- include "llm-d-storage.names.base" . }}-chown
{{- end -}}

{{- define "llm-d-storage.names.probe" -}}
{{- include "llm-d-storage.names.base" . }}-probe
{{- end -}}

{{- define "llm-d-storage.names.proof" -}}
{{- include "llm-d-storage.names.base" . }}-proof
{{- end -}}

{{- define "llm-d-storage.names.benchmark" -}}
{{- include "llm-d-storage.names.base" . }}-benchmark
{{- end -}}

{{- define "llm-d-storage.names.report" -}}
{{- include "llm-d-storage.names.base" . }}-storage-report
{{- end -}}

{{/* Where a client inside the cluster sends its requests; empty when the chart does not know it. */}}
{{- define "llm-d-storage.names.url" -}}
{{- $mode := .Values.global.router.mode -}}
{{- if eq $mode "standalone" -}}
http://{{ include "llm-d-storage.names.router" . }}.{{ .Release.Namespace }}.svc:80
{{- else if eq $mode "service" -}}
{{ include "llm-d-storage.names.serversUrl" . }}
{{- end -}}
{{- end -}}

{{/* All model servers behind one name, without routing. */}}
{{- define "llm-d-storage.names.serversUrl" -}}
{{ include "llm-d-storage.tls.scheme" . }}://{{ include "llm-d-storage.names.modelserver" . }}.{{ .Release.Namespace }}.svc:8000
{{- end -}}
