{{/* All rules: those of the subcharts, and here those that concern more than one of them, or the cluster. */}}
{{- define "llm-d-storage.validate" -}}
{{- if eq (typeOf .Values.modelserver.tensorParallelSize) "json.Number" }}
{{- fail "this Helm (3.18.0) hands numbers to charts as text, so that 0 counts as set; use 3.18.1 or later." }}
{{- end }}
{{- $parts := .Subcharts -}}
{{- include "llm-d-storage.validate.report" (list
      (list . "unset")
      (list . "names")
      (list . "images")
      (list $parts.storage "storage")
      (list $parts.modelserver "modelserver")
      (list $parts.modelserver "vllmFlags")
      (list $parts.modelserver "podExtras")
      (list $parts.gateway "gateway")
      (list $parts.inferencepool "inferencepool")
      (list . "index")
      (list . "exposure")
      (list . "tls")
      (list . "models")
      (list . "evictor")
      (list . "alerts")
      (list . "trace")
      (list . "hooks")
      (list . "cluster")) -}}
{{- end -}}

{{/* Where the project's own image is: no public registry has it under its bare name. */}}
{{- define "llm-d-storage.validate.images" -}}
{{- with .Values.global }}
{{- if not (or .imageRegistry .image.registry (contains "/" .image.repository)) }}
global.image.registry is not set, so {{ .image.repository }} would be looked for among Docker Hub's own images, and no hook could start; set global.image.registry to where you pushed the image, or global.imageRegistry to your mirror.
{{- end }}
{{- end }}
{{- end -}}

{{/* What the picker is told of the model servers' CPU tier. */}}
{{- define "llm-d-storage.validate.index" -}}
{{- $pool := .Values.inferencepool -}}
{{- with $pool.scorers }}
{{- if and .cpuPrefixCache (not $pool.prefixIndex.cpuTierSize) }}
inferencepool.scorers.cpuPrefixCache is {{ .cpuPrefixCache }} but the picker keeps no index of the CPU tier; set inferencepool.prefixIndex.cpuTierSize to {{ $.Values.modelserver.cpuTier.size }}.
{{- end }}
{{- end }}
{{- with $pool.prefixIndex.cpuTierSize }}
{{- if ne . $.Values.modelserver.cpuTier.size }}
inferencepool.prefixIndex.cpuTierSize is {{ . }} but modelserver.cpuTier.size is {{ $.Values.modelserver.cpuTier.size }}: the picker would remember more or less than there is; set both to the same size.
{{- end }}
{{- end }}
{{- end -}}

{{/* A route by models that leaves out the one that is served. */}}
{{- define "llm-d-storage.validate.models" -}}
{{- $served := .Values.modelserver.servedModelName | default .Values.modelserver.model -}}
{{- with .Values.gateway.models }}
{{- if and (eq $.Values.global.router.mode "gateway") (not (has $served .)) }}
gateway.models lacks {{ $served | quote }}, which modelserver serves: the route would leave its requests to others; add it, or set modelserver.servedModelName to one of {{ join ", " . }}.
{{- end }}
{{- end }}
{{- end -}}

{{/* What the internet reaches asks for a key. */}}
{{- define "llm-d-storage.validate.exposure" -}}
{{- $mode := .Values.global.router.mode -}}
{{- $ways := dict -}}
{{- if eq $mode "standalone" }}{{ $ways = dict "inferencepool.envoy" .Values.inferencepool.envoy }}{{ end -}}
{{- with .Values.gateway }}
{{- if and (eq $mode "gateway") (eq .provider "istio") (not .existing.name) }}{{ $ways = dict "gateway.istio" .istio }}{{ end -}}
{{- end }}
{{- $asks := ne (include "llm-d-storage.modelserver.apiKey" .Subcharts.modelserver) "{}" }}
{{- range $way, $service := $ways }}
{{- if and (include "llm-d-storage.balancer.isPublic" $service) (not $asks) }}
{{ $way }}.serviceType is LoadBalancer, and public or serviceAnnotations make it a public one, but vLLM asks for no key: anybody could use it; set modelserver.apiKey.secretName, or {{ $way }}.public to false and no such annotation.
{{- end }}
{{- end }}
{{- end -}}

{{/* vLLM's generator verifies the name in the address that it is given, and no other. */}}
{{- define "llm-d-storage.validate.tls" -}}
{{- $name := include "llm-d-storage.tls.serverName" . -}}
{{- $url := include "llm-d-storage.benchmark.url" . -}}
{{- if and .Values.benchmark.enabled (not .Values.benchmark.url) (hasPrefix "https:" $url) (not (contains (printf "//%s:" $name) $url)) }}
benchmark.enabled is true and would ask the model servers at {{ $url }}, but the name in their certificate is {{ $name }} (global.modelserverTls.serverName); set benchmark.url to an address of that name, or serverName to null with a certificate for the Service.
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.evictor" -}}
{{- with .Values.evictor.config.layout }}
{{- if and $.Values.evictor.enabled (ne . $.Values.modelserver.connector) }}
evictor.config.layout is {{ . }} but modelserver.connector is {{ $.Values.modelserver.connector }}: it would look for files that nobody writes; set it to the connector, or leave it out.
{{- end }}
{{- end }}
{{- if include "llm-d-storage.evictor.isOn" . }}
{{- if and (include "llm-d-storage.existingClaim" .) (not .Values.evictor.config.budget_bytes) }}
evictor.enabled is true but the size of {{ include "llm-d-storage.existingClaim" . }} is not known, so there is no budget; set evictor.config.budget_bytes to what the cache may take of it, or evictor.enabled to false where another release evicts there already.
{{- end }}
{{- end }}
{{- end -}}

{{/* A trace comes from one place. */}}
{{- define "llm-d-storage.validate.trace" -}}
{{- with .Values.benchmark.trace }}
{{- if gt (len (compact (list .configMapName .claimName .url))) 1 }}
benchmark.trace has more than one of configMapName, claimName and url, and a trace is at one place; set only that one.
{{- else if and (or .configMapName .claimName) (not .file) }}
benchmark.trace.file is not set, so it is not known which file of {{ .configMapName | default .claimName }} the trace is; set it to the ConfigMap's key or the path in the claim.
{{- else if and .file (not (or .configMapName .claimName)) }}
benchmark.trace.file is {{ .file }} but not of what; set benchmark.trace.configMapName or claimName, or take it away where url is set.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.alerts" -}}
{{- $known := include "llm-d-storage.alerts.names" . | fromJsonArray -}}
{{- range $name, $_ := .Values.alerts.rules }}
{{- if not (has $name $known) }}
alerts.rules names {{ $name | quote }}, which is no alert of this chart; take one of {{ $known | join ", " }}.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.hooks" -}}
{{- $proof := .Values.hooks.proof -}}
{{- if and $proof.enabled (eq .Values.modelserver.connector "none") }}
modelserver.connector is none but hooks.proof.enabled is true: there is no cache to prove; set hooks.proof.enabled to false.
{{- end }}
{{- if $proof.enabled }}
{{- $replicas := include "llm-d-storage.replicas" .Values.modelserver | int64 }}
{{- $key := ternary "replicas" "autoscaling.minReplicas" (eq .Values.modelserver.autoscaling.kind "none") }}
{{- $pods := include "llm-d-storage.pods" .Values.modelserver | int64 }}
{{- if and (lt $pods 2) (not (and (eq $pods 1) .Values.hooks.allowInconclusive)) }}
modelserver.{{ $key }} is {{ $replicas }} but hooks.proof.enabled is true: one pod cannot prove that another one reads its cache, so the proof would end as inconclusive (exit code 3); set {{ $key }} to 2 or more, hooks.allowInconclusive to true to have one pod's writing proven only, or hooks.proof.enabled to false.
{{- end }}
{{- $needed := add (int64 $proof.readyTimeoutSeconds) (mul 4 (int64 $proof.requestTimeoutSeconds)) 60 }}
{{- if lt (int64 $proof.timeoutSeconds) $needed }}
hooks.proof.timeoutSeconds is {{ int64 $proof.timeoutSeconds }}, but waiting for the model servers (readyTimeoutSeconds {{ int64 $proof.readyTimeoutSeconds }}) and four requests (requestTimeoutSeconds {{ int64 $proof.requestTimeoutSeconds }}) may take longer, and the Job would be stopped before it can say what is wrong; set timeoutSeconds to {{ $needed }} or more.
{{- end }}
{{- end }}
{{- end -}}

{{/*
Kinds that the cluster lacks: Helm would stop at "no matches for kind", before the preflight could say what to do.
Only where the cluster's API is really seen: `helm template` knows a fixed list, which never has apiregistration.k8s.io.
*/}}
{{- define "llm-d-storage.validate.cluster" -}}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" }}
{{- range include "llm-d-storage.preflight.crds" . | fromJsonArray }}
{{- $group := regexReplaceAll "^[^.]+\\." .name "" }}
{{- if not ($.Capabilities.APIVersions.Has (printf "%s/%s" $group .version)) }}
{{ .neededFor }} needs {{ .name }} ({{ .version }}), which this cluster does not have: {{ with .builtInSince }}upgrade it to Kubernetes {{ . }} or later{{ else }}install its CRDs{{ end }}, or change that value (global.router.mode: service needs none).
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
