{{/* The preflight's configuration as JSON: what this release is going to need. */}}
{{- define "llm-d-storage.preflight.config" -}}
{{- $storage := .Values.storage -}}
{{- $server := .Values.modelserver -}}
{{- $class := $storage.storageClass -}}
{{- /* On a first install there is nothing to write the report to yet. */ -}}
{{- $report := ternary "" (include "llm-d-storage.names.report" .) .Release.IsInstall -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list . .Values.hooks.preflight.timeoutSeconds $report) | fromJson -}}
{{- $_ := set $config "crds" (include "llm-d-storage.preflight.crds" . | fromJsonArray) -}}
{{- $_ := set $config "gatewayClass" (ternary .Values.gateway.className "" (eq .Values.global.router.mode "gateway")) -}}
{{- $_ := set $config "storage" (dict
      "existingClaim" .Values.global.existingClaim
      "claimName" (include "llm-d-storage.names.claim" .)
      "storageClassName" (ternary $class.name $storage.storageClassName $class.create)
      "createsStorageClass" $class.create
      "provisioner" (ternary $class.provisioner "" $class.create)
      "parameters" (ternary $class.parameters dict $class.create)
      "size" $storage.size
      "accessMode" $storage.accessMode) -}}
{{- $_ := set $config "rwxOverrides" .Values.hooks.rwxOverrides -}}
{{- $_ := set $config "secrets" list -}}
{{- if $server.hfToken.enabled -}}
{{- $_ := set $config "secrets" (list (dict
      "name" $server.hfToken.secretName "key" $server.hfToken.secretKey "required" true
      "neededFor" "modelserver.hfToken.enabled=true")) -}}
{{- end -}}
{{- $_ := set $config "accelerator" (dict
      "resource" $server.accelerator.resource
      "perPod" (ternary (int64 $server.tensorParallelSize) (int64 0) (ne $server.accelerator.resource ""))
      "replicas" (int64 $server.replicas)) -}}
{{- toJson $config -}}
{{- end -}}

{{/* The kinds this release makes that Kubernetes does not bring, as a JSON list. */}}
{{- define "llm-d-storage.preflight.crds" -}}
{{- $mode := .Values.global.router.mode -}}
{{- $for := printf "global.router.mode=%s" $mode -}}
{{- $crds := list -}}
{{- if include "llm-d-storage.router.hasPool" . -}}
{{- $crds = append $crds (dict "name" "inferencepools.inference.networking.k8s.io" "version" "v1" "neededFor" $for) -}}
{{- end -}}
{{- if eq $mode "gateway" -}}
{{- $crds = append $crds (dict "name" "gateways.gateway.networking.k8s.io" "version" "v1" "neededFor" $for) -}}
{{- $crds = append $crds (dict "name" "httproutes.gateway.networking.k8s.io" "version" "v1" "neededFor" $for) -}}
{{- end -}}
{{- if .Values.modelserver.podMonitor.enabled -}}
{{- $crds = append $crds (dict "name" "podmonitors.monitoring.coreos.com" "version" "v1" "neededFor" "modelserver.podMonitor.enabled=true") -}}
{{- end -}}
{{- toJson $crds -}}
{{- end -}}
