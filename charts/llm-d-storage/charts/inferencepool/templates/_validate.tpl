{{/* Rules that concern more than one value of this chart; common/_validate.tpl says how they are written. */}}
{{- define "llm-d-storage.validate.inferencepool" -}}
{{- $pool := .Values -}}
{{- with $pool.scorers }}
{{- if and (include "llm-d-storage.router.hasPool" $) (not $pool.pluginsCustomConfig) (not (or .queue .kvCacheUtilization .prefixCache .cpuPrefixCache .loraAffinity .activeRequests .noHitLru)) }}
inferencepool.scorers are all 0: the picker would have nothing to pick by; set at least one weight, or global.router.mode to service for plain load balancing.
{{- end }}
{{- range $scorer := list "cpuPrefixCache" "noHitLru" }}
{{- if and (get $pool.scorers $scorer) (eq $pool.picker "inference-extension") }}
inferencepool.scorers.{{ $scorer }} is {{ get $pool.scorers $scorer }} but inferencepool.picker is inference-extension, which has no such scorer and would not start; set it to 0, or picker to llm-d-router.
{{- end }}
{{- end }}
{{- end }}
{{- if and (include "llm-d-storage.router.hasPool" .) (eq $pool.picker "llm-d-router") (contains "gateway-api-inference-extension" $pool.epp.image.repository) }}
inferencepool.picker is llm-d-router but inferencepool.epp.image is {{ $pool.epp.image.repository }}, which would not start with its configuration; set inferencepool.epp.image to that of the llm-d router's endpoint picker.
{{- end }}
{{- end -}}
