{{/* The benchmark's configuration as JSON: its values, and the addresses that the chart knows. */}}
{{- define "llm-d-storage.benchmark.config" -}}
{{- with .Values.benchmark -}}
{{- $work := dict
      "prefixes" (int64 .prefixes)
      "promptsPerPrefix" (int64 .promptsPerPrefix)
      "prefixTokens" (int64 .prefixTokens)
      "suffixTokens" (int64 .suffixTokens)
      "outputTokens" (int64 .outputTokens)
      "rates" .rates
      "generator" (list "vllm" "bench" "serve") -}}
{{- with include "llm-d-storage.benchmark.traceSource" $ }}
{{- $trace := pick $.Values.benchmark.trace "format" "scale" "speed" "seconds" | merge (dict "source" .) -}}
{{- $work = dict "trace" $trace "generator" (list "python3" "/benchmark/replay.py" "bench" "serve") -}}
{{- end -}}
{{- dict
      "label" (.label | default $.Values.modelserver.connector)
      "url" (.url | default (include "llm-d-storage.benchmark.url" $))
      "metricsHost" (printf "%s.%s.svc.%s" (include "llm-d-storage.names.benchmark" $) $.Release.Namespace $.Values.global.clusterDomain)
      "metricsPort" 8000
      "metricsScheme" (include "llm-d-storage.tls.scheme" $)
      "model" ($.Values.modelserver.servedModelName | default $.Values.modelserver.model)
      "tokenizer" $.Values.modelserver.model
      "maxConcurrency" (int64 .maxConcurrency)
      "seed" (int64 .seed)
      "sampleSeconds" .sampleSeconds
      "readySeconds" (int64 .readySeconds)
      "resultDir" "/mnt/kv-cache/benchmarks" | merge $work | toJson -}}
{{- end -}}
{{- end -}}

{{/* The trace's URL, or its file in the Job's pod; nothing without a trace. */}}
{{- define "llm-d-storage.benchmark.traceSource" -}}
{{- with .Values.benchmark.trace -}}
{{- if eq "kv-cache" (include "llm-d-storage.benchmark.traceVolume" $) -}}
/mnt/kv-cache/{{ .file }}
{{- else if or .configMapName .claimName -}}
/trace/{{ .file }}
{{- else -}}
{{ .url | default "" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The volume that has the trace, if one has. The cache's own claim is there already: no pod mounts a claim twice. */}}
{{- define "llm-d-storage.benchmark.traceVolume" -}}
{{- with .Values.benchmark.trace -}}
{{- if and .claimName (eq .claimName (include "llm-d-storage.names.claim" $)) -}}
kv-cache
{{- else if or .configMapName .claimName -}}
trace
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where requests go, unless benchmark.url says so: Envoy, else the Service of the model servers. */}}
{{- define "llm-d-storage.benchmark.url" -}}
{{- include "llm-d-storage.names.url" . | default (include "llm-d-storage.names.serversUrl" .) -}}
{{- end -}}

{{/* The environment of the model servers, and whom to trust for theirs, as YAML. */}}
{{- define "llm-d-storage.benchmark.env" -}}
{{- $env := include "llm-d-storage.modelserver.env" .Subcharts.modelserver | fromYamlArray -}}
{{- $named := dict -}}
{{- range $env }}{{ $_ := set $named .name true }}{{ end -}}
{{- if include "llm-d-storage.trust.files" . | fromJsonArray -}}
{{- range include "llm-d-storage.trust.env" . | fromJsonArray }}{{ if not (hasKey $named .name) }}{{ $env = append $env . }}{{ end }}{{ end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}
