{{/*
What the chart knows of each gateway.provider, in one table; docs/router.md says where each fact is from.

className   its GatewayClass
needs       the provider's own kinds that go with a pool: gke, istio or agentgateway
timeouts    takes HTTPRoute timeouts, and would cut a long answer without them: they are set to 0s, none at all
*/}}
{{- define "llm-d-storage.gateway.providers" -}}
gke-l7-regional-external-managed: {className: gke-l7-regional-external-managed, needs: gke}
gke-internal: {className: gke-l7-rilb, needs: gke}
istio: {className: istio, needs: istio, timeouts: true}
kgateway: {className: kgateway, timeouts: true}
kgateway-openshift: {className: agentgateway, needs: agentgateway, timeouts: true}
agentgateway: {className: agentgateway, timeouts: true}
agentgateway-openshift: {className: agentgateway, needs: agentgateway, timeouts: true}
custom: {}
{{- end -}}

{{/* The facts of the chosen provider, as JSON. Call with the gateway values. */}}
{{- define "llm-d-storage.gateway.provider" -}}
{{- get (include "llm-d-storage.gateway.providers" . | fromYaml) .provider | default dict | toJson -}}
{{- end -}}

{{/* The GatewayClass of the Gateway that is to be made; empty when there is one already. Call with the gateway values. */}}
{{- define "llm-d-storage.gateway.className" -}}
{{- if not .existing.name -}}
{{- .className | default (include "llm-d-storage.gateway.provider" . | fromJson).className | default "" -}}
{{- end -}}
{{- end -}}
