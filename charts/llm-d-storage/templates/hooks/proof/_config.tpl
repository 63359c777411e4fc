{{/* The proof's configuration as JSON. */}}
{{- define "llm-d-storage.proof.config" -}}
{{- with .Values.hooks.proof -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list $ .timeoutSeconds (include "llm-d-storage.names.report" $)) | fromJson -}}
{{- /* What counts, and under which names, depends on it. */ -}}
{{- $_ := set $config "connector" $.Values.modelserver.connector -}}
{{- $_ := set $config "podSelector" (include "llm-d-storage.servingLabels" $ | fromYaml) -}}
{{- $_ := set $config "port" (int64 8000) -}}
{{- $_ := set $config "model" ($.Values.modelserver.servedModelName | default $.Values.modelserver.model) -}}
{{- $_ := set $config "blockTokens" (int64 $.Values.modelserver.storageTier.blockTokens) -}}
{{- $_ := set $config "promptBlocks" (int64 .promptBlocks) -}}
{{- $_ := set $config "maxTokens" (int64 .maxTokens) -}}
{{- $_ := set $config "readyTimeoutSeconds" (int64 .readyTimeoutSeconds) -}}
{{- $_ := set $config "requestTimeoutSeconds" (int64 .requestTimeoutSeconds) -}}
{{- $_ := set $config "minReusedFraction" .minReusedFraction -}}
{{- $_ := set $config "routerUrl" (.routerUrl | default (include "llm-d-storage.names.url" $)) -}}
{{- toJson $config -}}
{{- end -}}
{{- end -}}
