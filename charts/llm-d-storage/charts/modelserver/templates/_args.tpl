{{/*
The arguments of `vllm` as a JSON list. Flags that have a value of their own are made here and refused in extraArgs
(llm-d-storage.validate), so no flag can be there twice.
*/}}
{{- define "llm-d-storage.modelserver.args" -}}
{{- $extra := include "llm-d-storage.texts" .Values.extraArgs | fromJsonArray -}}
{{- $args := list "serve" .Values.model "--port" "8000" -}}
{{- if .Values.global.modelserverTls.secretName -}}
{{- $args = concat $args (list "--ssl-certfile" "/etc/modelserver-tls/tls.crt" "--ssl-keyfile" "/etc/modelserver-tls/tls.key" "--enable-ssl-refresh") -}}
{{- end -}}
{{- with .Values.servedModelName }}{{ $args = concat $args (list "--served-model-name" .) }}{{ end -}}
{{- $args = concat $args (list "--tensor-parallel-size" (int64 .Values.tensorParallelSize | toString)) -}}
{{- with .Values.blockSize }}{{ $args = concat $args (list "--block-size" (int64 . | toString)) }}{{ end -}}
{{- with .Values.maxNumSeqs }}{{ $args = concat $args (list "--max-num-seqs" (int64 . | toString)) }}{{ end -}}
{{- with .Values.termination.drainSeconds }}{{ $args = concat $args (list "--shutdown-timeout" (int64 . | toString)) }}{{ end -}}
{{- if gt (int64 .Values.nodes) 1 -}}
{{- /* The pods of a group find each other, and every one serves, with its own engines: LeaderWorkerSet sets the two variables. */ -}}
{{- $args = concat $args (list
      "--nnodes" (int64 .Values.nodes | toString) "--node-rank" "$(LWS_WORKER_INDEX)" "--master-addr" "$(LWS_LEADER_ADDRESS)"
      "--data-parallel-size-local" (include "llm-d-storage.modelserver.engines" .) "--data-parallel-hybrid-lb") -}}
{{- end -}}
{{- with include "llm-d-storage.modelserver.kvTransferConfig" . -}}
{{- $args = concat $args (list "--kv-transfer-config" .) -}}
{{- /* Each answer says how much of its prompt was cached: the proof needs it where others are served meanwhile. */ -}}
{{- if not (has "--enable-prompt-tokens-details" $extra) -}}
{{- $args = append $args "--enable-prompt-tokens-details" -}}
{{- end -}}
{{- end -}}
{{- concat $args $extra | toJson -}}
{{- end -}}
