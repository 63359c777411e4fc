{{/* The probe's configuration as JSON. Index, run and node come from the pod's environment. */}}
{{- define "llm-d-storage.probe.config" -}}
{{- with .Values.hooks.probe -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list $ .timeoutSeconds (include "llm-d-storage.names.report" $)) | fromJson -}}
{{- $_ := set $config "path" "/mnt/kv-cache" -}}
{{- $_ := set $config "deadlineSeconds" (int64 .deadlineSeconds) -}}
{{- /* Tried exactly as the connector is going to do it. */ -}}
{{- $_ := set $config "publish" ($.Values.modelserver.storageTier.publish | default "auto") -}}
{{- $_ := set $config "directIo" (include "llm-d-storage.onOff" $.Values.modelserver.storageTier.directIo | default "auto") -}}
{{- $_ := set $config "floors" (dict "readMiBps" (.floors.readMiBps | default 0) "writeMiBps" (.floors.writeMiBps | default 0)) -}}
{{- toJson $config -}}
{{- end -}}
{{- end -}}
