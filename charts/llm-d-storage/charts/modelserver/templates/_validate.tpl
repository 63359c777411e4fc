{{/* Rules that concern more than one value of this chart; common/_validate.tpl says how they are written. */}}
{{- define "llm-d-storage.validate.modelserver" -}}
{{- $server := .Values -}}
{{- $tp := int64 $server.tensorParallelSize -}}
{{- $accelerator := include "llm-d-storage.accelerator" $server -}}
{{- $accelerated := include "llm-d-storage.accelerated" $server -}}
{{- if .Values.prefill }}
modelserver.prefill is set but this chart makes one group of model servers, of which each prefills and decodes: what one has prefilled the others read from storage; remove modelserver.prefill and set modelserver.replicas, or take llm-d's own chart for groups of prefill and decode.
{{- end }}
{{- if not .Values.accelerator.resource }}
modelserver.accelerator.resource is "", which names nothing; set it to none for CPU.
{{- end }}
{{- $all := include "llm-d-storage.modelserver.accelerators" . | int64 -}}
{{- if and (gt $all $tp) (not $accelerated) }}
modelserver.extraArgs split the model over {{ $all }} accelerators but modelserver.accelerator.resource is none (CPU); remove --data-parallel-size and --pipeline-parallel-size, or set accelerator.resource to what your nodes offer, such as nvidia.com/gpu.
{{- else if and (gt $tp 1) (not $accelerated) }}
modelserver.tensorParallelSize is {{ $tp }} but modelserver.accelerator.resource is none (CPU): the model would be split over accelerators that are not asked for; set tensorParallelSize to 1, or accelerator.resource to what your nodes offer, such as nvidia.com/gpu.
{{- end }}
{{- include "llm-d-storage.validate.resourceClaims" . }}
{{- $nodes := int64 $server.nodes }}
{{- $engines := include "llm-d-storage.modelserver.allEngines" . | int64 }}
{{- if mod $engines $nodes }}
modelserver.nodes is {{ $nodes }} but --data-parallel-size in modelserver.extraArgs is {{ $engines }}{{ if eq $engines 1 }} (or not there){{ end }}: whole engines are spread over nodes, since the CPU tier of one is a node's memory, so that tensor and pipeline parallelism stay within a node; set --data-parallel-size to {{ $nodes }}, {{ mul 2 $nodes }}, {{ mul 4 $nodes }} …, or modelserver.nodes to 1.
{{- end }}
{{- if and (gt $nodes 1) (eq $server.updateStrategy.type "Recreate") }}
modelserver.updateStrategy.type is Recreate but modelserver.nodes is {{ $nodes }}: a LeaderWorkerSet knows RollingUpdate alone; set updateStrategy.type to RollingUpdate.
{{- end }}
{{- range $kind := list "requests" "limits" }}
{{- if and $accelerator (hasKey (get $server.resources $kind | default dict) $accelerator) }}
modelserver.resources.{{ $kind }} names {{ $accelerator }}, which the chart sets from modelserver.tensorParallelSize and the parallel sizes in extraArgs ({{ $all }}): two numbers for one thing; remove it from resources.
{{- end }}
{{- with get (get $server.resources $kind | default dict) "memory" }}
{{- if regexMatch "^[0-9]+([KMGTP]i|[kMGTP])?$" (toString .) }}
{{- $memory := include "llm-d-storage.bytes" . | int64 }}
{{- $shm := add (include "llm-d-storage.bytes" $server.cpuTier.size | int64) (include "llm-d-storage.bytes" $server.cpuTier.shmHeadroom | int64) }}
{{- if and (le $memory $shm) (not (has $server.connector (list "none" "llmd-fs-backend"))) }}
modelserver.resources.{{ $kind }}.memory is {{ . }} but modelserver.cpuTier takes {{ $server.cpuTier.size }} and {{ $server.cpuTier.shmHeadroom }} headroom of it (/dev/shm counts as the pod's memory): the pod would be killed or evicted; set memory to the sum and what vLLM itself needs, or a smaller cpuTier.size.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $known := include "llm-d-storage.modelserver.connectorOptions" . | fromYaml }}
{{- $tier := $server.storageTier }}
{{- range $known.options }}
{{- $value := get $tier .value }}
{{- $shared := and (eq .value "ioThreads") (has $server.connector (list "vllm-fs" "llmd-fs-backend")) }}
{{- if and (ne $server.connector "llmd-storage") (not $shared) (ne (toString (kindIs "invalid" $value | ternary "" $value)) (toString (kindIs "invalid" .default | ternary "" .default))) }}
modelserver.storageTier.{{ .value }} is {{ $value }} but modelserver.connector is {{ $server.connector }}, which has no such setting; remove it, or set connector to llmd-storage.
{{- end }}
{{- if and (eq $server.connector "llmd-storage") (hasKey $tier.extraConfig .option) }}
modelserver.storageTier.extraConfig names {{ .option }}, which has a value of its own; remove it there and set modelserver.storageTier.{{ .value }}.
{{- end }}
{{- end }}
{{- range $option, $value := $known.owned }}
{{- if and (eq $server.connector "llmd-storage") (hasKey $tier.extraConfig $option) }}
modelserver.storageTier.extraConfig names {{ $option }}, which the chart sets itself; remove it there{{ with $value }} and set {{ . }}{{ end }}.
{{- end }}
{{- end }}
{{- if and (eq $server.connector "none") $tier.extraConfig }}
modelserver.storageTier.extraConfig is set but modelserver.connector is none, and nobody would read it; remove it, or set connector.
{{- end }}
{{- if and (has $server.connector (list "vllm-fs" "llmd-fs-backend" "lmcache")) (not $accelerated) }}
modelserver.connector is {{ $server.connector }}, which needs an accelerator, and modelserver.accelerator.resource is none (CPU); set connector to llmd-storage.
{{- end }}
{{- with $server.modelSource }}
{{- if and (eq .type "claim") (not .claimName) }}
modelserver.modelSource.type is claim but claimName is not set; set modelserver.modelSource.claimName to the claim that holds the model.
{{- end }}
{{- if and (ne .type "hub") .cacheClaimName }}
modelserver.modelSource.cacheClaimName is {{ .cacheClaimName | quote }} but type is {{ .type }}, which downloads nothing; set cacheClaimName to null, or type to hub.
{{- end }}
{{- if and (eq .type "image") (not .imageReference) }}
modelserver.modelSource.type is image but imageReference is not set; set modelserver.modelSource.imageReference to the image that holds the model.
{{- end }}
{{- if and (ne .type "hub") (not (hasPrefix "/models/" (printf "%s/" $server.model))) }}
modelserver.model is {{ $server.model | quote }} but modelserver.modelSource.type is {{ .type }}, whose files are under /models: vLLM would download another copy; set modelserver.model to /models or a path that begins with /models/.
{{- end }}
{{- end }}
{{- with $server.autoscaling }}
{{- if and (eq .kind "hpa") (not .metrics) }}
modelserver.autoscaling.kind is hpa but metrics is empty: it would scale by CPU time, which says nothing about a model server; set modelserver.autoscaling.metrics.
{{- end }}
{{- if and (eq .kind "keda") (not .triggers) }}
modelserver.autoscaling.kind is keda but triggers is empty: KEDA refuses that; set modelserver.autoscaling.triggers.
{{- end }}
{{- if and (eq .kind "hpa") (lt (int64 .minReplicas) 1) }}
modelserver.autoscaling.minReplicas is 0, which a HorizontalPodAutoscaler refuses; set it to 1 or more, or kind to keda.
{{- end }}
{{- if and (ne .kind "none") (lt (int64 .maxReplicas) (int64 .minReplicas)) }}
modelserver.autoscaling.maxReplicas is {{ int64 .maxReplicas }}, less than minReplicas ({{ int64 .minReplicas }}); set maxReplicas to {{ int64 .minReplicas }} or more.
{{- end }}
{{- end }}
{{- range $key := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "llm-d.ai/inference-serving" }}
{{- range $values := list "labels" "podLabels" }}
{{- if hasKey (get $server $values) $key }}
modelserver.{{ $values }} sets {{ $key }}, by which the pods are found; remove it.
{{- end }}
{{- end }}
{{- end }}
{{- $block := int64 $server.blockSize | default (ternary (int64 16) (int64 128) (ne $accelerated "")) }}
{{- if mod (int64 $server.storageTier.blockTokens) $block }}
modelserver.storageTier.blockTokens is {{ int64 $server.storageTier.blockTokens }}, no multiple of vLLM's block size of {{ $block }} tokens: a stored block is made of whole ones; set blockTokens to {{ $block }}, {{ mul 2 $block }}, {{ mul 4 $block }} …, or modelserver.blockSize to a divisor.
{{- end }}
{{- end -}}

{{/* Accelerators by ResourceClaims. Part of the rules of modelserver. */}}
{{- define "llm-d-storage.validate.resourceClaims" -}}
{{- $claims := .Values.accelerator.resourceClaims }}
{{- $shared := 0 }}
{{- $seen := dict }}
{{- range $claims }}
{{- if and .resourceClaimName .resourceClaimTemplateName | or (not (or .resourceClaimName .resourceClaimTemplateName)) }}
modelserver.accelerator.resourceClaims names {{ .name | quote }} with {{ ternary "both" "neither" (ne (.resourceClaimName | default "") "") }} of resourceClaimName and resourceClaimTemplateName; set one: the template to give each pod accelerators of its own.
{{- end }}
{{- if hasKey $seen .name }}
modelserver.accelerator.resourceClaims has two of the name {{ .name | quote }}, which Kubernetes refuses; give one another name.
{{- end }}
{{- $_ := set $seen .name true }}
{{- if .resourceClaimName }}{{ $shared = add1 $shared }}{{ end }}
{{- end }}
{{- if and $claims (include "llm-d-storage.accelerator" .Values) }}
modelserver.accelerator.resourceClaims is set, and so is modelserver.accelerator.resource ({{ .Values.accelerator.resource }}): the pods would ask for accelerators twice; set accelerator.resource to none, or resourceClaims to [].
{{- end }}
{{- if and $claims (eq (int $shared) (len $claims)) (gt (include "llm-d-storage.pods" .Values | int64) 1) }}
modelserver.accelerator.resourceClaims has resourceClaimName alone, one claim of which all {{ include "llm-d-storage.pods" .Values }} pods would share the accelerators; set resourceClaimTemplateName, of which each pod gets a claim of its own.
{{- end }}
{{- end -}}

{{/* Flags and environment that the chart makes itself: twice would be ambiguous, and the values would not be true. */}}
{{- define "llm-d-storage.validate.vllmFlags" -}}
{{- $owned := dict
      "--port" "nothing: clients, probes and pool use 8000"
      "--host" "nothing: the probes need all interfaces"
      "--model" "modelserver.model"
      "--served-model-name" "modelserver.servedModelName"
      "--tensor-parallel-size" "modelserver.tensorParallelSize"
      "-tp" "modelserver.tensorParallelSize"
      "--block-size" "modelserver.blockSize"
      "--max-num-seqs" "modelserver.maxNumSeqs"
      "--shutdown-timeout" "modelserver.termination.drainSeconds"
      "--kv-transfer-config" "modelserver.connector, modelserver.cpuTier and modelserver.storageTier"
      "--api-key" "modelserver.apiKey.secretName"
      "--kv-offloading-size" "modelserver.connector and modelserver.cpuTier.size"
      "--kv-offloading-backend" "modelserver.connector" }}
{{- $apart := list "--nnodes" "-n" "--node-rank" "-r" "--master-addr" "--headless"
      "--data-parallel-rank" "-dpn" "--data-parallel-start-rank" "-dpr" "--data-parallel-size-local" "-dpl"
      "--data-parallel-address" "-dpa" "--data-parallel-hybrid-lb" "-dph" "--data-parallel-external-lb" "-dpe"
      "--data-parallel-multi-port-external-lb" "-dpm" }}
{{- range include "llm-d-storage.texts" .Values.extraArgs | fromJsonArray }}
{{- $flag := regexFind "^--?[a-zA-Z0-9_-]+" . | replace "_" "-" }}
{{- $value := regexReplaceAll "(?s)^--?[a-zA-Z0-9_.+-]+[[:space:]]+" . "" }}
{{- if hasKey $owned $flag }}
modelserver.extraArgs holds {{ . | quote }}, a flag that the chart sets itself; remove it there and set {{ get $owned $flag }}.
{{- else if has $flag $apart }}
modelserver.extraArgs holds {{ . | quote }}, which says where engines run, or gives each a port of its own, and here a model server is one pod with one port; remove it, set modelserver.tensorParallelSize to what fits one node, and modelserver.nodes to spread the engines of --data-parallel-size over several.
{{- else if ne $value . }}
modelserver.extraArgs holds {{ . | quote }}, a flag and its value in one item, which vLLM would take for one long flag and end; write two items: {{ regexFind "^[^[:space:]]+" . | quote }}, {{ $value | quote }}.
{{- else if and (regexMatch "^--(ssl-|enable-ssl-refresh$)" $flag) (not (and (eq $flag "--ssl-ciphers") $.Values.global.modelserverTls.secretName)) }}
modelserver.extraArgs holds {{ . | quote }}, of which probes, picker, router and hooks would know nothing, so that no pod would ever be ready; remove it and set global.modelserverTls.secretName to a Secret of type kubernetes.io/tls, by which all of them speak HTTPS.
{{- else if eq $flag "--uds" }}
modelserver.extraArgs holds {{ . | quote }}, but probes, picker and proof ask on port 8000, so that no pod would ever be ready; remove it.
{{- end }}
{{- end }}
{{- range $flags := list (list "--data-parallel-size" "-dp") (list "--pipeline-parallel-size" "-pp") (list "--prefill-context-parallel-size" "-pcp") }}
{{- if lt (include "llm-d-storage.modelserver.flagNumber" (prepend $flags $) | int64) 1 }}
modelserver.extraArgs holds {{ first $flags }} without a whole number of 1 or more: the pod's accelerators are counted by it; write two items, {{ first $flags | quote }} and its number.
{{- end }}
{{- end }}
{{- $reserved := list "PYTHONHASHSEED" }}
{{- if eq .Values.connector "llmd-storage" }}{{ $reserved = append $reserved "PYTHONPATH" }}{{ end }}
{{- if eq .Values.connector "lmcache" }}{{ $reserved = concat $reserved (list "LMCACHE_CONFIG_FILE" "PROMETHEUS_MULTIPROC_DIR") }}{{ end }}
{{- if .Values.hfToken.enabled }}{{ $reserved = append $reserved "HF_TOKEN" }}{{ end }}
{{- if .Values.apiKey.secretName }}{{ $reserved = append $reserved "VLLM_API_KEY" }}{{ end }}
{{- $seen := dict }}
{{- range .Values.extraEnv }}
{{- if has .name $reserved }}
modelserver.extraEnv sets {{ .name }}, which the chart needs (PYTHONPATH and LMCACHE_CONFIG_FILE find the connector, PROMETHEUS_MULTIPROC_DIR shows LMCache's counters, PYTHONHASHSEED makes block keys equal on all pods, HF_TOKEN and VLLM_API_KEY come from modelserver.hfToken and apiKey); remove it, and for HF_TOKEN set modelserver.hfToken.enabled to false.
{{- end }}
{{- if hasKey $seen .name }}
modelserver.extraEnv names {{ .name }} twice, which server-side apply refuses; keep one.
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.podExtras" -}}
{{- $volumes := dict "tls" true "trust" true "ca-bundle" true "kv-cache" true "connector" true "shm" true "cache" true "tmp" true "model" true "lmcache" true "lmcache-metrics" true "hub" true }}
{{- $containers := dict "trust" true "vllm" true "connector" true }}
{{- range concat .Values.extraInitContainers .Values.extraContainers }}
{{- if hasKey $containers .name }}
modelserver.extraContainers or extraInitContainers names {{ .name | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two containers of one name; give it another.
{{- end }}
{{- $_ := set $containers .name true }}
{{- end }}
{{- range .Values.extraVolumes }}
{{- if hasKey $volumes .name }}
modelserver.extraVolumes names {{ .name | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two volumes of one name; give it another.
{{- end }}
{{- $_ := set $volumes .name true }}
{{- end }}
{{- $paths := dict "/etc/modelserver-tls" true "/etc/llm-d-trust" true "/mnt/kv-cache" true "/opt/llmd-connector" true "/dev/shm" true "/cache" true "/tmp" true "/etc/lmcache" true "/lmcache-metrics" true }}
{{- if ne .Values.modelSource.type "hub" }}{{ $_ := set $paths "/models" true }}{{ end }}
{{- if .Values.modelSource.cacheClaimName }}{{ $_ := set $paths "/hub" true }}{{ end }}
{{- range .Values.extraVolumeMounts }}
{{- if hasKey $paths (trimSuffix "/" .mountPath) }}
modelserver.extraVolumeMounts mounts on {{ .mountPath | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two mounts on one path; mount it elsewhere.
{{- end }}
{{- $_ := set $paths (trimSuffix "/" .mountPath) true }}
{{- if not (hasKey $volumes .name) }}
modelserver.extraVolumeMounts uses the volume {{ .name | quote }}, which is not there; add it to modelserver.extraVolumes.
{{- end }}
{{- end }}
{{- end -}}
