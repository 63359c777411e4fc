{{/*
The only place where names are made. They depend on the release and on .Values.global alone, so the umbrella
and every subchart compute the same string.
*/}}

{{/*
The base of all names. At most 48 characters, so that the longest suffix ("-storage-report", 15) fits a label's 63.
*/}}
{{- define "llm-d-storage.names.base" -}}
{{- include "llm-d-storage.names.cut" (list (.Values.global.nameOverride | default .Release.Name) 48) -}}
{{- end -}}

{{/* A longer name is cut and gets a digest, so that two long names with one beginning stay apart. Call with (list $name $most). */}}
{{- define "llm-d-storage.names.cut" -}}
{{- $name := index . 0 -}}
{{- $most := index . 1 -}}
{{- if gt (len $name) $most -}}
{{- printf "%s-%s" ($name | trunc (sub $most 9 | int) | trimSuffix "-" | trimSuffix ".") (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- $name -}}
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

{{/*
Of what makes the model servers' pods. A LeaderWorkerSet's StatefulSets get a group's number after it, and their revisions, which
are labels, a hash of ten characters after that.
*/}}
{{- define "llm-d-storage.names.workload" -}}
{{- $name := include "llm-d-storage.names.modelserver" . -}}
{{- if gt (int64 .Values.nodes) 1 }}{{ $name = include "llm-d-storage.names.cut" (list $name 47) }}{{ end -}}
{{- $name -}}
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
