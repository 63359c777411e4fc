{{/*
EndpointPickerConfig. The picker decodes it strictly (an unknown field or plugin is a crash loop), so it is made here
from typed values; a scorer of weight 0 is left out. The two pickers have different names for some of it:

inference-extension   one index of prefixes for each model server, which follows the accelerator's size or is as long as told
llm-d-router          one index for each tier, and a scorer for each index

A configuration of the user's own is taken as it is.
*/}}
{{- define "llm-d-storage.epp.config" -}}
{{- with .Values.pluginsCustomConfig -}}
{{- kindIs "map" . | ternary (toYaml .) (toString . | trim) -}}
{{- else -}}
{{- include "llm-d-storage.epp.ownConfig" . -}}
{{- end -}}
{{- end -}}

{{- define "llm-d-storage.epp.ownConfig" -}}
{{- $ours := eq .Values.picker "llm-d-router" -}}
{{- $weights := .Values.scorers -}}
{{- $index := .Values.prefixIndex -}}
{{- $cpu := dict -}}
{{- if $index.cpuTierSize -}}
{{- $bytes := include "llm-d-storage.bytes" $index.cpuTierSize | int64 -}}
{{- $length := div $bytes (mul (int64 $index.kvBytesPerToken) (int64 $index.blockTokens)) -}}
{{- $cpu = dict "autoTune" false "blockSizeTokens" (int64 $index.blockTokens) "lruCapacityPerServer" (max 1 $length) -}}
{{- end -}}
{{- $plugins := list -}}
{{- $prefix := dict "type" "prefix-cache-scorer" "weight" $weights.prefixCache -}}
{{- if $ours -}}
{{- $plugins = append $plugins (dict "type" "metrics-data-source" "parameters" (dict "scheme" (include "llm-d-storage.tls.scheme" .) "path" "/metrics")) -}}
{{- $plugins = append $plugins (dict "type" "core-metrics-extractor") -}}
{{- $plugins = append $plugins (dict "type" "approx-prefix-cache-producer" "name" "accelerator-prefixes" "parameters" (dict "autoTune" true)) -}}
{{- $_ := set $prefix "name" "accelerator-prefix-scorer" -}}
{{- $_ := set $prefix "parameters" (dict "prefixMatchInfoProducerName" "accelerator-prefixes") -}}
{{- end -}}
{{- if $cpu -}}
{{- $name := dict "type" "approx-prefix-cache-producer" "parameters" $cpu -}}
{{- if $ours }}{{ $_ := set $name "name" "cpu-prefixes" }}{{ end -}}
{{- $plugins = append $plugins $name -}}
{{- end -}}
{{- $scorers := list
      (dict "type" "queue-scorer" "weight" $weights.queue)
      (dict "type" "kv-cache-utilization-scorer" "weight" $weights.kvCacheUtilization)
      $prefix
      (dict "type" "prefix-cache-scorer" "name" "cpu-prefix-scorer" "weight" $weights.cpuPrefixCache
            "parameters" (dict "prefixMatchInfoProducerName" "cpu-prefixes"))
      (dict "type" "lora-affinity-scorer" "weight" $weights.loraAffinity)
      (dict "type" (ternary "active-request-scorer" "running-requests-size-scorer" $ours) "weight" $weights.activeRequests)
      (dict "type" "no-hit-lru-scorer" "weight" $weights.noHitLru
            "parameters" (dict "prefixMatchInfoProducerName" "accelerator-prefixes")) -}}
{{- $used := list -}}
{{- range $scorers }}{{ if .weight }}{{ $used = append $used . }}{{ $plugins = append $plugins (omit . "weight") }}{{ end }}{{ end -}}
apiVersion: {{ ternary "llm-d.ai/v1alpha1" "inference.networking.x-k8s.io/v1alpha1" $ours }}
kind: EndpointPickerConfig
plugins:
{{- range $plugins }}
  - type: {{ .type }}
    {{- with .name }}
    name: {{ . }}
    {{- end }}
    {{- with .parameters }}
    parameters: {{ toJson . }}
    {{- end }}
{{- end }}
schedulingProfiles:
  - name: default
    plugins:
    {{- range $used }}
      - pluginRef: {{ .name | default .type }}
        weight: {{ .weight }}
    {{- end }}
{{- end -}}

{{/* The Lease by which several pickers say who leads, where its name is known; else nothing. */}}
{{- define "llm-d-storage.epp.lease" -}}
{{- if and (eq .Values.picker "inference-extension") (gt (include "llm-d-storage.epp.replicas" . | int64) 1) -}}
epp-{{ .Release.Namespace }}-{{ include "llm-d-storage.names.pool" . }}.gateway-api-inference-extension.sigs.k8s.io
{{- end -}}
{{- end -}}

{{/* How many pickers. */}}
{{- define "llm-d-storage.epp.replicas" -}}
{{- $default := eq .Values.global.router.mode "standalone" | ternary 2 1 -}}
{{- int64 (kindIs "invalid" .Values.epp.replicas | ternary $default .Values.epp.replicas) -}}
{{- end -}}

{{/* "true" where the picker has to see answers end: only so does it know how many requests a model server has. */}}
{{- define "llm-d-storage.epp.seesAnswers" -}}
{{- if or .Values.pluginsCustomConfig .Values.scorers.activeRequests }}true{{ end -}}
{{- end -}}
