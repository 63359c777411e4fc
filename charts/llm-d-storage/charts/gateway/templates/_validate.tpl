{{/* Rules that concern more than one value of this chart; common/_validate.tpl says how they are written. */}}
{{- define "llm-d-storage.validate.gateway" -}}
{{- $mode := .Values.global.router.mode -}}
{{- $gateway := .Values -}}
{{- if and (eq $mode "gateway") (not $gateway.existing.name) (not (include "llm-d-storage.gateway.className" $gateway)) }}
gateway.provider is custom but gateway.className is not set: nobody would serve the Gateway; set gateway.className to one that `kubectl get gatewayclass` shows, gateway.existing.name, or global.router.mode to standalone.
{{- end }}
{{- if and (eq $mode "gateway") .Values.global.modelserverTls.secretName (not (has $gateway.provider (list "istio" "custom"))) }}
global.modelserverTls.secretName is set but gateway.provider is {{ $gateway.provider }}, of which it is not known how it would speak HTTPS to an InferencePool: every request would fail; set global.router.mode to standalone, gateway.provider to istio, or to custom with a policy of yours that has the Gateway speak TLS (extraObjects), or secretName to null.
{{- end }}
{{- if and $gateway.existing.name (or $gateway.tls.secretName $gateway.annotations $gateway.className) }}
gateway.existing.name is {{ $gateway.existing.name | quote }} but gateway.tls, annotations or className is set too, which only a Gateway of this release could have; set those where that Gateway is made.
{{- end }}
{{- if and (eq $mode "gateway") $gateway.existing.name (not (or $gateway.hostnames $gateway.pathPrefix $gateway.models)) }}
gateway.existing.name is {{ $gateway.existing.name | quote }}, a Gateway that others use too, but this release's route would take every request there, and of two such routes the older one gets all; set gateway.hostnames, gateway.models or gateway.pathPrefix (/ if everything is meant for this release).
{{- end }}
{{- if and (not $gateway.existing.name) (or $gateway.existing.namespace $gateway.existing.sectionName) }}
gateway.existing.namespace or sectionName is set but gateway.existing.name is not set; set the name too, or neither.
{{- end }}
{{- end -}}
