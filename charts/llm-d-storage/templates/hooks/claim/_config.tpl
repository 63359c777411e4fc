{{/* "true" when the claim is watched. With connector none no pod would mount it. */}}
{{- define "llm-d-storage.claim.enabled" -}}
{{- if and .Values.hooks.claim.enabled (ne .Values.modelserver.connector "none") }}true{{ end -}}
{{- end -}}

{{/* The claim hook's configuration as JSON. */}}
{{- define "llm-d-storage.claim.config" -}}
{{- with .Values.hooks.claim -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list $ .timeoutSeconds (include "llm-d-storage.names.report" $) (include "llm-d-storage.names.claimHook" $)) | fromJson -}}
{{- $_ := set $config "claimName" (include "llm-d-storage.names.claim" $) -}}
{{- $_ := set $config "podSelector" (include "llm-d-storage.servingLabels" $ | fromYaml) -}}
{{- $_ := set $config "mountSeconds" (int64 .mountSeconds) -}}
{{- toJson $config -}}
{{- end -}}
{{- end -}}
