{{/*
Where the model servers are scheduled, the probe is: their selector, tolerations, affinity, runtime class and scheduler, and its
two pods apart. Of a pod that asks for accelerators Kubernetes (ExtendedResourceToleration, as on GKE) tolerates the taint of
that name by itself; the probe asks for none, so the chart does it.
*/}}
{{- define "llm-d-storage.probe.scheduling" -}}
{{- $server := .Values.modelserver -}}
{{- $tolerations := $server.tolerations -}}
{{- with include "llm-d-storage.accelerator" $server -}}
{{- $taint := dict "key" . "operator" "Exists" "effect" "NoSchedule" -}}
{{- if not (has $taint $tolerations) }}{{ $tolerations = append $tolerations $taint }}{{ end -}}
{{- end -}}
{{- $affinity := deepCopy $server.affinity -}}
{{- $apart := (include "llm-d-storage.apart" (list . "probe") | fromYaml).affinity.podAntiAffinity -}}
{{- $preferred := "preferredDuringSchedulingIgnoredDuringExecution" -}}
{{- $anti := get $affinity "podAntiAffinity" | default dict -}}
{{- $_ := set $anti $preferred (concat (get $apart $preferred) (get $anti $preferred | default list)) -}}
{{- $_ := set $affinity "podAntiAffinity" $anti -}}
{{- include "llm-d-storage.hooks.scheduling" (dict "nodeSelector" $server.nodeSelector "tolerations" $tolerations) }}
affinity:
  {{- toYaml $affinity | nindent 2 }}
{{- with $server.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $server.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The probe's configuration as JSON. Index, run and node come from the pod's environment. */}}
{{- define "llm-d-storage.probe.config" -}}
{{- with .Values.hooks.probe -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list $ .timeoutSeconds (include "llm-d-storage.names.report" $) (include "llm-d-storage.names.probe" $)) | fromJson -}}
{{- $_ := set $config "path" "/mnt/kv-cache" -}}
{{- $_ := set $config "deadlineSeconds" (int64 .deadlineSeconds) -}}
{{- /* Tried exactly as the connector is going to do it. */ -}}
{{- $_ := set $config "publish" ($.Values.modelserver.storageTier.publish | default "auto") -}}
{{- $_ := set $config "directIo" (include "llm-d-storage.onOff" $.Values.modelserver.storageTier.directIo | default "auto") -}}
{{- $_ := set $config "floors" (dict "readMiBps" (.floors.readMiBps | default 0) "writeMiBps" (.floors.writeMiBps | default 0)) -}}
{{- toJson $config -}}
{{- end -}}
{{- end -}}
