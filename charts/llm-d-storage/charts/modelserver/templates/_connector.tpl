{{/*
--kv-transfer-config of the chosen connector, from typed values; empty for none. null leaves a key out: the default is
then the connector's own. docs/connectors.md says what each connector is and how far it has been run.
*/}}
{{- define "llm-d-storage.modelserver.kvTransferConfig" -}}
{{- $extra := "" -}}
{{- $face := dict "kv_role" "kv_both" -}}
{{- if eq .Values.connector "llmd-storage" -}}
{{- $extra = include "llm-d-storage.modelserver.llmdStorage" . -}}
{{- $_ := set $face "kv_connector" "LlmdStorageConnector" -}}
{{- $_ := set $face "kv_connector_module_path" "llmd_storage_connector.vllm.connector" -}}
{{- else if eq .Values.connector "vllm-fs" -}}
{{- $extra = include "llm-d-storage.modelserver.vllmFs" . -}}
{{- $_ := set $face "kv_connector" "OffloadingConnector" -}}
{{- else if eq .Values.connector "llmd-fs-backend" -}}
{{- $extra = include "llm-d-storage.modelserver.llmdFsBackend" . -}}
{{- $_ := set $face "kv_connector" "OffloadingConnector" -}}
{{- else if eq .Values.connector "lmcache" -}}
{{- with .Values.storageTier.extraConfig }}{{ $extra = toJson . }}{{ end -}}
{{- $_ := set $face "kv_connector" "LMCacheConnectorV1" -}}
{{- end -}}
{{- if has .Values.connector (list "llmd-fs-backend" "lmcache") -}}
{{- /* A block that was found may be gone when it is loaded: vLLM's default, "fail", ends the request with an error. */ -}}
{{- $_ := set $face "kv_load_failure_policy" "recompute" -}}
{{- end -}}
{{- if $extra -}}
{{- /* As text: read back, large byte counts would be rounded. */ -}}
{{- printf `%s,"kv_connector_extra_config":%s}` (toJson $face | trimSuffix "}") $extra -}}
{{- else if $face.kv_connector -}}
{{- toJson $face -}}
{{- end -}}
{{- end -}}

{{/* Where the connector keeps its files: each its own folder, since none could read another's. */}}
{{- define "llm-d-storage.modelserver.root" -}}
/mnt/kv-cache/{{ eq .Values.connector "llmd-storage" | ternary "blocks" .Values.connector }}
{{- end -}}

{{/* The project's own connector. Its options are in files/connector-options.yaml; what is null it sets itself. */}}
{{- define "llm-d-storage.modelserver.llmdStorage" -}}
{{- $tier := .Values.storageTier -}}
{{- $extra := dict
      "root_dir" (include "llm-d-storage.modelserver.root" .)
      "cpu_bytes_to_use" (include "llm-d-storage.modelserver.cpuBytes" . | int64)
      "block_size" (int64 $tier.blockTokens)
      "offload_prompt_only" $tier.promptOnly -}}
{{- range (include "llm-d-storage.modelserver.connectorOptions" . | fromYaml).options -}}
{{- $value := hasKey $tier .value | ternary (get $tier .value) nil -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if eq .kind "integer" }}{{ $value = int64 $value }}{{ end -}}
{{- if eq .kind "size" }}{{ $value = include "llm-d-storage.bytes" $value | int64 }}{{ end -}}
{{- if eq .kind "string" }}{{ $value = include "llm-d-storage.onOff" $value }}{{ end -}}
{{- $_ := set $extra .option $value -}}
{{- end -}}
{{- end -}}
{{- merge $extra $tier.extraConfig | toJson -}}
{{- end -}}

{{/* The connector's options as values, as YAML. Call with this chart's scope. */}}
{{- define "llm-d-storage.modelserver.connectorOptions" -}}
{{- .Files.Get "files/connector-options.yaml" -}}
{{- end -}}

{{/* vLLM's own filesystem tier. */}}
{{- define "llm-d-storage.modelserver.vllmFs" -}}
{{- $tier := .Values.storageTier -}}
{{- $fs := dict "type" "fs" "root_dir" (include "llm-d-storage.modelserver.root" .) -}}
{{- with $tier.ioThreads }}{{ $_ := set $fs "n_read_threads" (int64 .) }}{{ $_ := set $fs "n_write_threads" (int64 .) }}{{ end -}}
{{- $extra := dict
      "spec_name" "TieringOffloadingSpec"
      "cpu_bytes_to_use" (include "llm-d-storage.modelserver.cpuBytes" . | int64)
      "block_size" (int64 $tier.blockTokens)
      "offload_prompt_only" $tier.promptOnly
      "secondary_tiers" (list $fs) -}}
{{- merge $extra $tier.extraConfig | toJson -}}
{{- end -}}

{{/* The llm-d project's wheel, which the image must have. It has no CPU tier. */}}
{{- define "llm-d-storage.modelserver.llmdFsBackend" -}}
{{- $tier := .Values.storageTier -}}
{{- $extra := dict
      "spec_name" "SharedStorageOffloadingSpec"
      "spec_module_path" "llmd_fs_backend.spec"
      "shared_storage_path" (include "llm-d-storage.modelserver.root" .)
      "block_size" (int64 $tier.blockTokens) -}}
{{- with $tier.ioThreads }}{{ $_ := set $extra "threads_per_gpu" (int64 .) }}{{ end -}}
{{- merge $extra $tier.extraConfig | toJson -}}
{{- end -}}

{{/*
LMCache's configuration file. Its filesystem backend is the form that pods share: each looks for a chunk's file. Its
local_disk is not, since its index is in the process's memory. Memory is for each rank, in GiB.
*/}}
{{- define "llm-d-storage.modelserver.lmcache" -}}
{{- $bytes := include "llm-d-storage.bytes" .Values.cpuTier.size | int64 -}}
chunk_size: {{ int64 .Values.storageTier.blockTokens }}
local_cpu: true
max_local_cpu_size: {{ divf $bytes (mulf 1073741824 (include "llm-d-storage.modelserver.accelerators" . | int64)) | printf "%.3f" }}
save_unfull_chunk: false
save_decode_cache: {{ not .Values.storageTier.promptOnly }}
remote_serde: naive
remote_storage_plugins: [fs]
extra_config:
  remote_storage_plugin.fs.base_path: {{ include "llm-d-storage.modelserver.root" . }}
  fs_connector_relative_tmp_dir: .tmp
{{- end -}}
