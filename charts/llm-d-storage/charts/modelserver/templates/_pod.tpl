{{/*
Environment of the vLLM container. A name in extraEnv replaces the chart's entry of that name: two entries of one name
are refused by server-side apply.
*/}}
{{- define "llm-d-storage.modelserver.env" -}}
{{- $own := list -}}
{{- if eq .Values.connector "llmd-storage" -}}
{{- $own = append $own (dict "name" "PYTHONPATH" "value" "/opt/llmd-connector") -}}
{{- else if eq .Values.connector "lmcache" -}}
{{- $own = append $own (dict "name" "LMCACHE_CONFIG_FILE" "value" "/etc/lmcache/lmcache.yaml") -}}
{{- $own = append $own (dict "name" "LMCACHE_TRACK_USAGE" "value" "false") -}}
{{- /* LMCache counts in vLLM's workers; vLLM's server shows what other processes count only from a folder of theirs. */ -}}
{{- $own = append $own (dict "name" "PROMETHEUS_MULTIPROC_DIR" "value" "/lmcache-metrics") -}}
{{- end -}}
{{- $own = concat $own (list
      (dict "name" "PYTHONHASHSEED" "value" "42")
      (dict "name" "HOME" "value" "/cache")
      (dict "name" "USER" "value" "llm-d")) -}}
{{- if .Values.hfToken.enabled -}}
{{- $ref := dict "name" .Values.hfToken.secretName "key" .Values.hfToken.secretKey -}}
{{- $own = append $own (dict "name" "HF_TOKEN" "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- end -}}
{{- if and (eq .Values.modelSource.type "hub") .Values.modelSource.cacheClaimName -}}
{{- $own = append $own (dict "name" "HF_HUB_CACHE" "value" "/hub") -}}
{{- end -}}
{{- with .Values.apiKey.secretName -}}
{{- $ref := dict "name" . "key" $.Values.apiKey.secretKey -}}
{{- $own = append $own (dict "name" "VLLM_API_KEY" "valueFrom" (dict "secretKeyRef" $ref)) -}}
{{- end -}}
{{- if .Values.global.caBundle.configMapName }}{{ $own = concat $own (include "llm-d-storage.trust.env" . | fromJsonArray) }}{{ end -}}
{{- $replaced := dict -}}
{{- range .Values.extraEnv }}{{ $_ := set $replaced .name true }}{{ end -}}
{{- $env := list -}}
{{- range $own }}{{ if not (hasKey $replaced .name) }}{{ $env = append $env . }}{{ end }}{{ end -}}
{{- range .Values.extraEnv -}}
{{- $env = append $env (kindIs "invalid" .value | ternary . (merge (dict "value" (include "llm-d-storage.text" .value)) .)) -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{/* The restricted one with what the user sets. Not by merge, for which false is nothing; of the capabilities drop stays. */}}
{{- define "llm-d-storage.modelserver.containerSecurityContext" -}}
{{- $own := include "llm-d-storage.containerSecurityContext" . | fromYaml -}}
{{- range $key, $value := .Values.containerSecurityContext -}}
{{- $_ := set $own $key (ternary (merge (dict) (kindIs "map" $value | ternary $value dict) $own.capabilities) $value (eq $key "capabilities")) -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{/* Egress rules for the proxies that extraEnv names, on their ports, and the user's own. The benchmark has the same environment. */}}
{{- define "llm-d-storage.modelserver.furtherEgress" -}}
{{- $ports := list -}}
{{- range .Values.extraEnv -}}
{{- if and (has (upper .name) (list "HTTP_PROXY" "HTTPS_PROXY" "ALL_PROXY")) .value -}}
{{- $port := regexFind ":[0-9]+(/|$)" (toString .value) | trimPrefix ":" | trimSuffix "/" -}}
{{- $ports = append $ports (dict "port" ($port | default (hasPrefix "https" .value | ternary "443" "80") | int64) "protocol" "TCP") -}}
{{- end -}}
{{- end -}}
{{- range uniq $ports }}
- ports: [{{ toJson . }}]
{{- end }}
{{- with .Values.global.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where vLLM's key is from, as JSON: an EnvVar without its name; {} when vLLM asks for none. */}}
{{- define "llm-d-storage.modelserver.apiKey" -}}
{{- $key := dict -}}
{{- range include "llm-d-storage.modelserver.env" . | fromYamlArray -}}
{{- if eq .name "VLLM_API_KEY" }}{{ $key = omit . "name" }}{{ end -}}
{{- end -}}
{{- toJson $key -}}
{{- end -}}

{{/* The values' resources, plus the accelerators that the engines take, or the claims that stand for them. */}}
{{- define "llm-d-storage.modelserver.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- with include "llm-d-storage.accelerator" .Values -}}
{{- $accelerator := . -}}
{{- range $kind := list "requests" "limits" -}}
{{- $of := deepCopy (get $resources $kind | default dict) -}}
{{- $_ := set $of $accelerator (include "llm-d-storage.modelserver.accelerators" $) -}}
{{- $_ := set $resources $kind $of -}}
{{- end -}}
{{- end -}}
{{- $resources = include "llm-d-storage.resources" $resources | fromYaml -}}
{{- range .Values.accelerator.resourceClaims -}}
{{- $_ := set $resources "claims" (append ($resources.claims | default list) (dict "name" .name)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* /dev/shm: vLLM keeps the whole CPU tier there, in one file. LMCache keeps its own in ordinary memory. */}}
{{- define "llm-d-storage.modelserver.shmSize" -}}
{{- $tier := int64 0 -}}
{{- if has .Values.connector (list "llmd-storage" "vllm-fs") -}}
{{- $tier = include "llm-d-storage.bytes" .Values.cpuTier.size | int64 -}}
{{- end -}}
{{- $headroom := include "llm-d-storage.bytes" .Values.cpuTier.shmHeadroom | int64 -}}
{{- include "llm-d-storage.mebibytes" (add $tier $headroom) -}}
{{- end -}}

{{/* What all probes ask. The kubelet verifies no certificate. */}}
{{- define "llm-d-storage.modelserver.health" -}}
httpGet: {path: /health, port: http{{ if .Values.global.modelserverTls.secretName }}, scheme: HTTPS{{ end }}}
{{- end -}}

{{- define "llm-d-storage.modelserver.startupProbe" -}}
{{- $period := 5 -}}
{{ include "llm-d-storage.modelserver.health" . }}
periodSeconds: {{ $period }}
timeoutSeconds: 5
failureThreshold: {{ div (add (int64 .Values.probes.startupSeconds) 4) $period }}
{{- end -}}

{{- define "llm-d-storage.modelserver.spread" -}}
{{- if ne .Values.spread "none" }}
topologySpreadConstraints:
  # Two replicas on one node would share its fate, and would prove nothing about the filesystem.
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (eq .Values.spread "required") }}
    labelSelector:
      matchLabels:
        {{- include "llm-d-storage.selectorLabels" (list . "modelserver") | nindent 8 }}
    matchLabelKeys: [{{ gt (int64 .Values.nodes) 1 | ternary "leaderworkerset.sigs.k8s.io/template-revision-hash" "pod-template-hash" }}]
{{- end }}
{{- end -}}

{{/* Where the model's files are mounted; may be nothing. */}}
{{- define "llm-d-storage.modelserver.modelMount" -}}
{{- with .Values.modelSource }}
{{- if ne .type "hub" }}
- {name: model, mountPath: /models, readOnly: true}
{{- else if .cacheClaimName }}
- {name: hub, mountPath: /hub}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volume that holds the model, when it is not downloaded, or what is downloaded. */}}
{{- define "llm-d-storage.modelserver.modelVolume" -}}
{{- with .Values.modelSource }}
{{- if and (eq .type "hub") .cacheClaimName }}
- name: hub
  persistentVolumeClaim:
    claimName: {{ .cacheClaimName | quote }}
{{- end }}
{{- if eq .type "claim" }}
- name: model
  persistentVolumeClaim:
    claimName: {{ .claimName | quote }}
    readOnly: true
{{- else if eq .type "image" }}
# An OCI image as a volume: on by default since Kubernetes 1.35.
- name: model
  image:
    reference: {{ .imageReference }}
    pullPolicy: {{ .imagePullPolicy }}
{{- end }}
{{- end }}
{{- end -}}
