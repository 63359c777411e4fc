{{/* The preflight's configuration as JSON: what this release is going to need. */}}
{{- define "llm-d-storage.preflight.config" -}}
{{- $storage := .Values.storage -}}
{{- $server := .Values.modelserver -}}
{{- $class := include "llm-d-storage.storage.class" .Subcharts.storage | fromJson -}}
{{- $creates := $storage.storageClass.create -}}
{{- $static := $storage.persistentVolume.create -}}
{{- if $static -}}
{{- $driver := include "llm-d-storage.storage.volumeDriver" .Subcharts.storage | default "nfs.csi.k8s.io" -}}
{{- $class = dict "name" "" "provisioner" $driver "parameters" $storage.persistentVolume.csi.volumeAttributes -}}
{{- end -}}
{{- /* On a first install there is no such object yet, and the hook says so. Not asked here: under Argo CD all is an install. */ -}}
{{- $report := include "llm-d-storage.names.report" . -}}
{{- $config := include "llm-d-storage.hooks.commonConfig" (list . .Values.hooks.preflight.timeoutSeconds $report (include "llm-d-storage.names.preflight" .)) | fromJson -}}
{{- $_ := set $config "crds" (include "llm-d-storage.preflight.crds" . | fromJsonArray) -}}
{{- $_ := set $config "gatewayClass" (ternary (include "llm-d-storage.gateway.className" .Values.gateway) "" (eq .Values.global.router.mode "gateway")) -}}
{{- $_ := set $config "storage" (dict
      "existingClaim" (include "llm-d-storage.existingClaim" .)
      "claimName" (include "llm-d-storage.names.claim" .)
      "static" $static
      "storageClassName" (ternary $class.name $storage.storageClassName $creates | default "")
      "createsStorageClass" $creates
      "provisioner" (ternary $class.provisioner "" (or $creates $static))
      "parameters" (ternary $class.parameters dict (or $creates $static))
      "size" $storage.size
      "accessMode" $storage.accessMode) -}}
{{- /* Without quotes YAML reads yes and no as true and false. */ -}}
{{- $overrides := dict -}}
{{- range $provisioner, $can := .Values.hooks.rwxOverrides -}}
{{- $_ := set $overrides $provisioner (get (dict "true" "yes" "false" "no") (toString $can) | default $can) -}}
{{- end -}}
{{- $_ := set $config "rwxOverrides" $overrides -}}
{{- $secrets := list -}}
{{- if $server.hfToken.enabled -}}
{{- $secrets = append $secrets (dict
      "name" $server.hfToken.secretName "key" $server.hfToken.secretKey "required" true
      "neededFor" "modelserver.hfToken.enabled=true") -}}
{{- end -}}
{{- range include "llm-d-storage.preflight.apiKeys" . | fromJsonArray }}{{ $secrets = append $secrets . }}{{ end -}}
{{- range $key := include "llm-d-storage.preflight.tlsKeys" . | fromJsonArray -}}
{{- $secrets = append $secrets (dict
      "name" $.Values.global.modelserverTls.secretName "key" $key "required" true "neededFor" "global.modelserverTls") -}}
{{- end -}}
{{- range include "llm-d-storage.pullSecretNames" . | fromJsonArray -}}
{{- $secrets = append $secrets (dict
      "name" . "key" ".dockerconfigjson" "required" false "neededFor" "global.imagePullSecrets") -}}
{{- end -}}
{{- $_ := set $config "secrets" $secrets -}}
{{- $accelerator := include "llm-d-storage.accelerator" $server -}}
{{- $_ := set $config "accelerator" (dict
      "resource" $accelerator
      "perPod" (ternary (include "llm-d-storage.modelserver.accelerators" (dict "Values" $server) | int64) (int64 0) (ne (include "llm-d-storage.accelerated" $server) ""))
      "claims" (include "llm-d-storage.preflight.deviceClaims" . | fromJsonArray)
      "replicas" (include "llm-d-storage.pods" $server | int64)) -}}
{{- $_ := set $config "workload" (include "llm-d-storage.preflight.workload" . | fromJson) -}}
{{- with $server.modelSource -}}
{{- $_ := set $config "modelClaim" (eq .type "claim" | ternary .claimName "" | default "") -}}
{{- end -}}
{{- $_ := set $config "podSecurity" "restricted" -}}
{{- if or $storage.chownRoot $server.containerSecurityContext (concat $server.extraContainers $server.extraInitContainers $server.extraVolumes) -}}
{{- /* Whose level is not known here. */ -}}
{{- $_ := set $config "podSecurity" "" -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* The Secrets with keys of vLLM, as a JSON list. */}}
{{- define "llm-d-storage.preflight.apiKeys" -}}
{{- $keys := list -}}
{{- $sources := dict "modelserver.apiKey" (include "llm-d-storage.modelserver.apiKey" .Subcharts.modelserver | fromJson) -}}
{{- if and .Values.hooks.proof.enabled .Values.hooks.proof.apiKey.secretName -}}
{{- $_ := set $sources "hooks.proof.apiKey" (include "llm-d-storage.proof.apiKey" . | fromJson) -}}
{{- end -}}
{{- range $neededFor, $source := $sources -}}
{{- with ($source.valueFrom | default dict).secretKeyRef -}}
{{- $keys = append $keys (dict "name" .name "key" .key "required" true "neededFor" $neededFor) -}}
{{- end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end -}}

{{/* What the Secret of the model servers' certificate must hold, as a JSON list. */}}
{{- define "llm-d-storage.preflight.tlsKeys" -}}
{{- $keys := list -}}
{{- with .Values.global.modelserverTls -}}
{{- if .secretName }}{{ $keys = list "tls.crt" "tls.key" }}{{ end -}}
{{- if include "llm-d-storage.tls.hasCa" $ }}{{ $keys = append $keys .caKey }}{{ end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end -}}

{{/* The claims of accelerators and their templates as a JSON list, by the names that the API has for the two. */}}
{{- define "llm-d-storage.preflight.deviceClaims" -}}
{{- $claims := list -}}
{{- range .Values.modelserver.accelerator.resourceClaims -}}
{{- with .resourceClaimTemplateName }}{{ $claims = append $claims (dict "resource" "resourceclaimtemplates" "name" .) }}{{ end -}}
{{- with .resourceClaimName }}{{ $claims = append $claims (dict "resource" "resourceclaims" "name" .) }}{{ end -}}
{{- end -}}
{{- uniq $claims | toJson -}}
{{- end -}}

{{/* One model server's pod, as far as it decides on which nodes it fits, as JSON. */}}
{{- define "llm-d-storage.preflight.workload" -}}
{{- $server := .Values.modelserver -}}
{{- $scope := dict "Values" $server -}}
{{- $resources := include "llm-d-storage.modelserver.resources" $scope | fromYaml -}}
{{- dict
      "replicas" (include "llm-d-storage.pods" $server | int64)
      "groups" (gt (int64 $server.nodes) 1 | ternary (include "llm-d-storage.replicas" $server) "0" | int64)
      "requests" ($resources.requests | default dict)
      "limits" ($resources.limits | default dict)
      "shmSize" (include "llm-d-storage.modelserver.shmSize" $scope)
      "cpuTierSize" (has $server.connector (list "llmd-storage" "vllm-fs") | ternary $server.cpuTier.size "")
      "nodeSelector" $server.nodeSelector
      "priorityClass" ($server.priorityClassName | default "")
      "tolerations" $server.tolerations | toJson -}}
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
{{- $kinds := dict
      "gke" (list "healthcheckpolicies.networking.gke.io v1" "gcpbackendpolicies.networking.gke.io v1")
      "istio" (list "destinationrules.networking.istio.io v1")
      "agentgateway" (list "agentgatewayparameters.agentgateway.dev v1alpha1") -}}
{{- $crds = append $crds (dict "name" "gateways.gateway.networking.k8s.io" "version" "v1" "neededFor" $for) -}}
{{- $crds = append $crds (dict "name" "httproutes.gateway.networking.k8s.io" "version" "v1" "neededFor" $for) -}}
{{- range get $kinds ((include "llm-d-storage.gateway.provider" .Values.gateway | fromJson).needs | default "") | default list -}}
{{- $kind := splitList " " . -}}
{{- $provider := printf "gateway.provider=%s" $.Values.gateway.provider -}}
{{- $crds = append $crds (dict "name" (first $kind) "version" (last $kind) "neededFor" $provider) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.global.monitoring.scrape "operator" -}}
{{- $scrape := "global.monitoring.scrape=operator" -}}
{{- $crds = append $crds (dict "name" "podmonitors.monitoring.coreos.com" "version" "v1" "neededFor" $scrape) -}}
{{- if include "llm-d-storage.router.hasPool" . -}}
{{- $crds = append $crds (dict "name" "servicemonitors.monitoring.coreos.com" "version" "v1" "neededFor" $scrape) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.global.monitoring.scrape "google" -}}
{{- $crds = append $crds (dict "name" "podmonitorings.monitoring.googleapis.com" "version" "v1" "neededFor" "global.monitoring.scrape=google") -}}
{{- end -}}
{{- if eq .Values.alerts.kind "operator" -}}
{{- $crds = append $crds (dict "name" "prometheusrules.monitoring.coreos.com" "version" "v1" "neededFor" "alerts.kind=operator") -}}
{{- end -}}
{{- if .Values.modelserver.accelerator.resourceClaims -}}
{{- /* An older cluster would start pods without the claims. */ -}}
{{- $crds = append $crds (dict "name" "resourceclaims.resource.k8s.io" "version" "v1" "builtInSince" "1.34" "neededFor" "modelserver.accelerator.resourceClaims") -}}
{{- end -}}
{{- if gt (int64 .Values.modelserver.nodes) 1 -}}
{{- $crds = append $crds (dict "name" "leaderworkersets.leaderworkerset.x-k8s.io" "version" "v1" "neededFor" "modelserver.nodes") -}}
{{- end -}}
{{- if eq .Values.modelserver.autoscaling.kind "keda" -}}
{{- $crds = append $crds (dict "name" "scaledobjects.keda.sh" "version" "v1alpha1" "neededFor" "modelserver.autoscaling.kind=keda") -}}
{{- end -}}
{{- toJson $crds -}}
{{- end -}}
