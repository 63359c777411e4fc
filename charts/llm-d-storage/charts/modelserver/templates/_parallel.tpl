{{/* How many accelerators one engine takes, and into how many engines vLLM splits. Flags of extraArgs count: vLLM obeys them. */}}

{{/*
The number that a flag of extraArgs is given (--flag 8, --flag=8, with - or _); 1 when it is not there, 0 when it is no number.
Call with (list $ "--flag" "-f").
*/}}
{{- define "llm-d-storage.modelserver.flagNumber" -}}
{{- $flags := rest . -}}
{{- $number := "1" -}}
{{- $next := false -}}
{{- range include "llm-d-storage.texts" (index . 0).Values.extraArgs | fromJsonArray -}}
{{- if $next }}{{ $number = . }}{{ end -}}
{{- $next = false -}}
{{- $flag := regexFind "^--?[a-zA-Z0-9_-]+" . -}}
{{- if has ($flag | replace "_" "-") $flags -}}
{{- if hasPrefix (printf "%s=" $flag) . }}{{ $number = trimPrefix (printf "%s=" $flag) . }}{{ else }}{{ $next = true }}{{ $number = "" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- regexFind "^[0-9]+$" $number | int64 -}}
{{- end -}}

{{/* Engines of one replica. */}}
{{- define "llm-d-storage.modelserver.allEngines" -}}
{{- include "llm-d-storage.modelserver.flagNumber" (list . "--data-parallel-size" "-dp") | int64 | max 1 -}}
{{- end -}}

{{/* Engines in one model server, which is a pod. Each has a CPU tier of its own. */}}
{{- define "llm-d-storage.modelserver.engines" -}}
{{- div (include "llm-d-storage.modelserver.allEngines" . | int64) (int64 .Values.nodes) | max 1 -}}
{{- end -}}

{{/* Accelerators of one model server. */}}
{{- define "llm-d-storage.modelserver.accelerators" -}}
{{- $pipeline := include "llm-d-storage.modelserver.flagNumber" (list . "--pipeline-parallel-size" "-pp") | int64 | max 1 -}}
{{- $context := include "llm-d-storage.modelserver.flagNumber" (list . "--prefill-context-parallel-size" "-pcp") | int64 | max 1 -}}
{{- mul (int64 .Values.tensorParallelSize) $pipeline $context (include "llm-d-storage.modelserver.engines" .) -}}
{{- end -}}

{{/* Bytes of one engine's CPU tier: cpuTier.size is of the whole model server. */}}
{{- define "llm-d-storage.modelserver.cpuBytes" -}}
{{- div (include "llm-d-storage.bytes" .Values.cpuTier.size | int64) (include "llm-d-storage.modelserver.engines" . | int64) -}}
{{- end -}}
