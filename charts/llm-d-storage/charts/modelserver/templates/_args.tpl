{{/*
The arguments of `vllm` as a JSON list. Flags that have a value of their own are made here and refused in extraArgs
(llm-d-storage.validate), so no flag can be there twice.
*/}}
{{- define "llm-d-storage.modelserver.args" -}}
{{- $args := list "serve" .Values.model "--port" "8000" -}}
{{- with .Values.servedModelName }}{{ $args = concat $args (list "--served-model-name" .) }}{{ end -}}
{{- $args = concat $args (list "--tensor-parallel-size" (int64 .Values.tensorParallelSize | toString)) -}}
{{- with .Values.blockSize }}{{ $args = concat $args (list "--block-size" (int64 . | toString)) }}{{ end -}}
{{- with .Values.maxNumSeqs }}{{ $args = concat $args (list "--max-num-seqs" (int64 . | toString)) }}{{ end -}}
{{- with .Values.termination.drainSeconds }}{{ $args = concat $args (list "--shutdown-timeout" (int64 . | toString)) }}{{ end -}}
{{- $args = concat $args (list "--kv-transfer-config" (include "llm-d-storage.modelserver.kvTransferConfig" .)) -}}
{{- concat $args .Values.extraArgs | toJson -}}
{{- end -}}

{{/*
--kv-transfer-config, from typed values. Zero and "" leave a key out: the default is then the connector's own.
Everything that is not here the connector sets itself.
*/}}
{{- define "llm-d-storage.modelserver.kvTransferConfig" -}}
{{- $tier := .Values.storageTier -}}
{{- $extra := dict
      "root_dir" "/mnt/kv-cache/blocks"
      "cpu_bytes_to_use" (include "llm-d-storage.bytes" .Values.cpuTier.size | int64)
      "block_size" (int64 $tier.blockTokens)
      "publish" $tier.publish
      "offload_prompt_only" $tier.promptOnly
      "fail_fast" $tier.failFast -}}
{{- with $tier.ioThreads }}{{ $_ := set $extra "io_threads" (int64 .) }}{{ end -}}
{{- with $tier.lookupThreads }}{{ $_ := set $extra "lookup_threads" (int64 .) }}{{ end -}}
{{- with $tier.lookupDeadlineSeconds }}{{ $_ := set $extra "lookup_deadline_s" . }}{{ end -}}
{{- with $tier.loadDeadlineSeconds }}{{ $_ := set $extra "load_deadline_s" . }}{{ end -}}
{{- with $tier.storeDeadlineSeconds }}{{ $_ := set $extra "store_deadline_s" . }}{{ end -}}
{{- with $tier.storeQueueSize }}{{ $_ := set $extra "store_queue_bytes" (include "llm-d-storage.bytes" . | int64) }}{{ end -}}
{{- dict
      "kv_connector" "SharedStorageConnector"
      "kv_connector_module_path" "llmd_storage_connector.connector"
      "kv_role" "kv_both"
      "kv_connector_extra_config" $extra | toJson -}}
{{- end -}}
