{{/* The benchmark's configuration as JSON: its values, and the addresses that the chart knows. */}}
{{- define "llm-d-storage.benchmark.config" -}}
{{- with .Values.benchmark -}}
{{- $plain := printf "http://%s.%s.svc:8000" (include "llm-d-storage.names.modelserver" $) $.Release.Namespace -}}
{{- dict
      "label" (.label | default $.Values.modelserver.connector)
      "url" (.url | default (include "llm-d-storage.names.url" $) | default $plain)
      "metricsHost" (printf "%s.%s.svc.%s" (include "llm-d-storage.names.benchmark" $) $.Release.Namespace $.Values.global.clusterDomain)
      "metricsPort" 8000
      "model" ($.Values.modelserver.servedModelName | default $.Values.modelserver.model)
      "tokenizer" $.Values.modelserver.model
      "generator" (list "vllm" "bench" "serve")
      "prefixes" (int64 .prefixes)
      "promptsPerPrefix" (int64 .promptsPerPrefix)
      "prefixTokens" (int64 .prefixTokens)
      "suffixTokens" (int64 .suffixTokens)
      "outputTokens" (int64 .outputTokens)
      "rates" .rates
      "maxConcurrency" (int64 .maxConcurrency)
      "seed" (int64 .seed)
      "sampleSeconds" .sampleSeconds
      "readySeconds" (int64 .readySeconds)
      "resultDir" "/mnt/kv-cache/benchmarks" | toJson -}}
{{- end -}}
{{- end -}}
