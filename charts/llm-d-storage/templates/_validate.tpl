{{/*
All rules that concern more than one value, in one place. The schema refuses what is wrong by itself (types, typos,
ranges); here is what only the combination makes wrong. Every line that a rule prints is one problem: what is wrong,
why it matters, what to set. All of them are shown at once.
*/}}
{{- define "llm-d-storage.validate" -}}
{{- $problems := list -}}
{{- range $part := list "unset" "names" "storage" "modelserver" "vllmFlags" "podExtras" "router" "evictor" "alerts" "hooks" "cluster" -}}
{{- range include (printf "llm-d-storage.validate.%s" $part) $ | splitList "\n" -}}
{{- with trim . }}{{ $problems = append $problems . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "the values contradict each other or the cluster:\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{/* Of an optional value, "" and 0 were "not set" once; null says it. files/optional.yaml has the paths. */}}
{{- define "llm-d-storage.validate.unset" -}}
{{- range $path := .Files.Get "files/optional.yaml" | fromYamlArray -}}
{{- $value := $.Values -}}
{{- range splitList "." $path -}}
{{- if hasKey ($value | default dict) . }}{{ $value = get $value . }}{{ else }}{{ $value = dict }}{{ end -}}
{{- end -}}
{{- if or (kindIs "string" $value | and (eq (toString $value) "")) (eq (toString $value) "0") }}
{{ $path }} is {{ toJson $value }}, which is no value for it; set it to null, or leave it out, if it is not to be set.
{{- end }}
{{- end -}}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if eq (get $.Values.global.podSecurity $key | toString) "0" }}
global.podSecurity.{{ $key }} is 0, which would be root's; set it to none to leave it out, as OpenShift wants it.
{{- end }}
{{- end -}}
{{- if not .Values.modelserver.accelerator.resource }}
modelserver.accelerator.resource is "", which names nothing; set it to none for CPU.
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.names" -}}
{{- $base := include "llm-d-storage.names.base" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $base) }}
The release name (or global.nameOverride) gives names that begin with {{ $base | quote }}, which Kubernetes refuses for a Service; set global.nameOverride to lower-case letters, digits and "-", beginning with a letter.
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.storage" -}}
{{- with .Values.global.existingClaim }}
global.existingClaim is {{ . | quote }} but a claim of yours is a value of the storage now; set storage.existingClaim to {{ . | quote }} and remove global.existingClaim.
{{- end }}
{{- $storage := .Values.storage -}}
{{- $class := $storage.storageClass -}}
{{- $volume := $storage.persistentVolume -}}
{{- $backend := include "llm-d-storage.storage.backend" .Subcharts.storage | fromJson -}}
{{- $made := include "llm-d-storage.storage.class" .Subcharts.storage | fromJson -}}
{{- if and .Values.storage.existingClaim $class.create }}
storage.existingClaim is {{ .Values.storage.existingClaim | quote }} and storage.storageClass.create is true: a claim that exists already has its class; set only one of them.
{{- end }}
{{- if and .Values.storage.existingClaim $volume.create }}
storage.existingClaim is {{ .Values.storage.existingClaim | quote }} and storage.persistentVolume.create is true: a claim that exists already has its volume; set only one of them.
{{- end }}
{{- if and $volume.create (or $class.create $storage.storageClassName) }}
storage.persistentVolume.create is true and a StorageClass is set too: a static volume has none; set storage.storageClass.create to false and storage.storageClassName to null.
{{- end }}
{{- if and $class.create (or (not $class.name) (not $made.provisioner)) }}
storage.storageClass.create is true but its name is {{ $class.name | default "not set" }} and its provisioner {{ $made.provisioner | default "not set" }}: a StorageClass needs both; set storage.storageClass.name, and storage.backend or storage.storageClass.provisioner.
{{- end }}
{{- if and $class.create $storage.storageClassName (ne $storage.storageClassName $class.name) }}
storage.storageClassName is {{ $storage.storageClassName | quote }} but storage.storageClass.create makes {{ $class.name | quote }}: the claim can use only one; set storage.storageClassName to null, or create to false.
{{- end }}
{{- if and (ne $storage.backend "default") (not (or $class.create $volume.create $storage.storageClassName .Values.storage.existingClaim)) }}
storage.backend is {{ $storage.backend }} but no class and no volume is named, so the claim would get the cluster's default class, whatever that is; set storage.storageClassName to a class of that backend, storage.storageClass.create or storage.persistentVolume.create to true, or storage.existingClaim.
{{- end }}
{{- if $class.create }}
{{- range $backend.requires }}
{{- $some := false }}
{{- range splitList "|" . }}{{ if hasKey $made.parameters . }}{{ $some = true }}{{ end }}{{ end }}
{{- if not $some }}
storage.storageClass.create is true but its parameters lack {{ splitList "|" . | join " or " }}, without which {{ $made.provisioner }} makes no volume; set storage.storageClass.parameters.{{ splitList "|" . | first }}.
{{- end }}
{{- end }}
{{- if and $backend.secretRoles (not $backend.secret) (not $class.secretName) }}
storage.storageClass.secretName is not set but {{ $made.provisioner }} needs credentials; set storage.storageClass.secretName and secretNamespace to the Secret that holds them.
{{- end }}
{{- if and $class.secretName (not $class.secretNamespace) (not $backend.secret) }}
storage.storageClass.secretName is {{ $class.secretName | quote }} but its namespace is not set, and a StorageClass has none of its own; set storage.storageClass.secretNamespace.
{{- end }}
{{- if and $class.zones (not $backend.zoneKey) }}
storage.storageClass.zones is set but it is not known what {{ $storage.backend }} calls a zone; set storage.storageClass.allowedTopologies instead.
{{- end }}
{{- end }}
{{- if $volume.create }}
{{- if and (not $volume.nfs.server) (not (include "llm-d-storage.storage.volumeDriver" .Subcharts.storage)) }}
storage.persistentVolume.create is true but neither an NFS server nor a CSI driver is named; set storage.persistentVolume.nfs.server, storage.persistentVolume.csi.driver, or storage.backend.
{{- else if and (not $volume.nfs.server) (not $volume.csi.volumeHandle) }}
storage.persistentVolume.csi.volumeHandle is not set, so {{ include "llm-d-storage.storage.volumeDriver" .Subcharts.storage }} would not know what to mount; set it to what the driver calls the volume.
{{- else if and $volume.nfs.server $volume.csi.volumeHandle }}
storage.persistentVolume names an NFS server and a CSI volume, and a volume is one of them; set nfs.server or csi.volumeHandle to null.
{{- else if and $volume.nfs.server (not $volume.nfs.path) }}
storage.persistentVolume.nfs.server is {{ $volume.nfs.server | quote }} but nfs.path is not set; set storage.persistentVolume.nfs.path to the exported folder.
{{- end }}
{{- end }}
{{- $sold := include "llm-d-storage.storage.sizes" .Subcharts.storage | fromJson }}
{{- if and $sold.ranges (not $volume.create) (not .Values.storage.existingClaim) }}
{{- $gib := int64 1073741824 }}
{{- $size := include "llm-d-storage.bytes" $storage.size | int64 }}
{{- $fits := false }}
{{- $below := int64 0 }}
{{- $above := int64 0 }}
{{- $said := list }}
{{- range $sold.ranges }}
{{- $min := int64 .minGi }}
{{- $max := int64 .maxGi }}
{{- $step := int64 .stepGi }}
{{- $said = append $said (printf "%dGi to %dGi in steps of %dGi" $min $max $step) }}
{{- $over := sub $size (mul $min $gib) }}
{{- if and (ge $over 0) (le $size (mul $max $gib)) (not (mod $over (mul $step $gib))) }}{{ $fits = true }}{{ end }}
{{- /* The nearest of this range on both sides; 0 where it has none there. */ -}}
{{- $low := ge $over 0 | ternary (add $min (mul (div $over (mul $step $gib)) $step) | min $max) (int64 0) }}
{{- $high := lt $over 0 | ternary $min (add $low $step) }}
{{- if gt $high $max }}{{ $high = int64 0 }}{{ end }}
{{- $below = max $below $low }}
{{- if and $high (or (not $above) (lt $high $above)) }}{{ $above = $high }}{{ end }}
{{- end }}
{{- if not $fits }}
{{- $choice := list }}
{{- if $below }}{{ $choice = append $choice (printf "%dGi" $below) }}{{ end }}
{{- if $above }}{{ $choice = append $choice (printf "%dGi" $above) }}{{ end }}
storage.size is {{ $storage.size | quote }} but {{ $sold.what }} are sold from {{ $said | join ", and from " }}, and the claim would stay Pending; set storage.size to {{ $choice | join " or " }}.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.modelserver" -}}
{{- $server := .Values.modelserver -}}
{{- $tp := int64 $server.tensorParallelSize -}}
{{- $accelerator := include "llm-d-storage.accelerator" $server -}}
{{- if and (gt $tp 1) (not $accelerator) }}
modelserver.tensorParallelSize is {{ $tp }} but modelserver.accelerator.resource is none (CPU): the model would be split over accelerators that are not asked for; set tensorParallelSize to 1, or accelerator.resource to what your nodes offer, such as nvidia.com/gpu.
{{- end }}
{{- range $kind := list "requests" "limits" }}
{{- if and $accelerator (hasKey (get $server.resources $kind | default dict) $accelerator) }}
modelserver.resources.{{ $kind }} names {{ $accelerator }}, which the chart sets from modelserver.tensorParallelSize ({{ $tp }}): two numbers for one thing; remove it from resources.
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
{{- $known := include "llm-d-storage.modelserver.connectorOptions" .Subcharts.modelserver | fromYaml }}
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
{{- if and (has $server.connector (list "vllm-fs" "llmd-fs-backend" "lmcache")) (not $accelerator) }}
modelserver.connector is {{ $server.connector }}, which needs an accelerator, and modelserver.accelerator.resource is none (CPU); set connector to llmd-storage.
{{- end }}
{{- with $server.modelSource }}
{{- if and (eq .type "claim") (not .claimName) }}
modelserver.modelSource.type is claim but claimName is not set; set modelserver.modelSource.claimName to the claim that holds the model.
{{- end }}
{{- if and (eq .type "image") (not .imageReference) }}
modelserver.modelSource.type is image but imageReference is not set; set modelserver.modelSource.imageReference to the image that holds the model.
{{- end }}
{{- if and (ne .type "hub") (not (hasPrefix "/models" $server.model)) }}
modelserver.model is {{ $server.model | quote }} but modelserver.modelSource.type is {{ .type }}, whose files are under /models: vLLM would download another copy; set modelserver.model to a path that begins with /models.
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
{{- if hasKey $server.podLabels $key }}
modelserver.podLabels sets {{ $key }}, by which the pods are found; remove it.
{{- end }}
{{- end }}
{{- $block := int64 $server.blockSize | default (ternary (int64 16) (int64 128) (ne $accelerator "")) }}
{{- if mod (int64 $server.storageTier.blockTokens) $block }}
modelserver.storageTier.blockTokens is {{ int64 $server.storageTier.blockTokens }}, no multiple of vLLM's block size of {{ $block }} tokens: a stored block is made of whole ones; set blockTokens to {{ $block }}, {{ mul 2 $block }}, {{ mul 4 $block }} …, or modelserver.blockSize to a divisor.
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
      "--kv-transfer-config" "modelserver.connector, modelserver.cpuTier and modelserver.storageTier" }}
{{- range .Values.modelserver.extraArgs }}
{{- $flag := regexFind "^--?[a-zA-Z0-9_-]+" . | replace "_" "-" }}
{{- if hasKey $owned $flag }}
modelserver.extraArgs holds {{ . | quote }}, a flag that the chart sets itself; remove it there and set {{ get $owned $flag }}.
{{- end }}
{{- end }}
{{- $reserved := list "PYTHONHASHSEED" }}
{{- if eq .Values.modelserver.connector "llmd-storage" }}{{ $reserved = append $reserved "PYTHONPATH" }}{{ end }}
{{- if eq .Values.modelserver.connector "lmcache" }}{{ $reserved = append $reserved "LMCACHE_CONFIG_FILE" }}{{ end }}
{{- if .Values.modelserver.hfToken.enabled }}{{ $reserved = append $reserved "HF_TOKEN" }}{{ end }}
{{- $seen := dict }}
{{- range .Values.modelserver.extraEnv }}
{{- if has .name $reserved }}
modelserver.extraEnv sets {{ .name }}, which the chart needs (PYTHONPATH and LMCACHE_CONFIG_FILE find the connector, PYTHONHASHSEED makes block keys equal on all pods, HF_TOKEN comes from modelserver.hfToken); remove it, and for HF_TOKEN set modelserver.hfToken.enabled to false.
{{- end }}
{{- if hasKey $seen .name }}
modelserver.extraEnv names {{ .name }} twice, which server-side apply refuses; keep one.
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.podExtras" -}}
{{- $volumes := dict "kv-cache" true "connector" true "shm" true "cache" true "tmp" true "model" true "lmcache" true }}
{{- $containers := dict "vllm" true "connector" true }}
{{- range concat .Values.modelserver.extraInitContainers .Values.modelserver.extraContainers }}
{{- if hasKey $containers .name }}
modelserver.extraContainers or extraInitContainers names {{ .name | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two containers of one name; give it another.
{{- end }}
{{- $_ := set $containers .name true }}
{{- end }}
{{- range .Values.modelserver.extraVolumes }}
{{- if hasKey $volumes .name }}
modelserver.extraVolumes names {{ .name | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two volumes of one name; give it another.
{{- end }}
{{- $_ := set $volumes .name true }}
{{- end }}
{{- $paths := dict "/mnt/kv-cache" true "/opt/llmd-connector" true "/dev/shm" true "/cache" true "/tmp" true "/etc/lmcache" true }}
{{- if ne .Values.modelserver.modelSource.type "hub" }}{{ $_ := set $paths "/models" true }}{{ end }}
{{- range .Values.modelserver.extraVolumeMounts }}
{{- if hasKey $paths (trimSuffix "/" .mountPath) }}
modelserver.extraVolumeMounts mounts on {{ .mountPath | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two mounts on one path; mount it elsewhere.
{{- end }}
{{- $_ := set $paths (trimSuffix "/" .mountPath) true }}
{{- if not (hasKey $volumes .name) }}
modelserver.extraVolumeMounts uses the volume {{ .name | quote }}, which is not there; add it to modelserver.extraVolumes.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.router" -}}
{{- $mode := .Values.global.router.mode -}}
{{- $gateway := .Values.gateway -}}
{{- if and (eq $mode "gateway") (not $gateway.existing.name) (not (include "llm-d-storage.gateway.className" $gateway)) }}
gateway.provider is custom but gateway.className is not set: nobody would serve the Gateway; set gateway.className to one that `kubectl get gatewayclass` shows, gateway.existing.name, or global.router.mode to standalone.
{{- end }}
{{- if and $gateway.existing.name (or $gateway.tls.secretName $gateway.annotations $gateway.className) }}
gateway.existing.name is {{ $gateway.existing.name | quote }} but gateway.tls, annotations or className is set too, which only a Gateway of this release could have; set those where that Gateway is made.
{{- end }}
{{- if and (not $gateway.existing.name) (or $gateway.existing.namespace $gateway.existing.sectionName) }}
gateway.existing.namespace or sectionName is set but gateway.existing.name is not set; set the name too, or neither.
{{- end }}
{{- $pool := .Values.inferencepool -}}
{{- with $pool.scorers }}
{{- if and (include "llm-d-storage.router.hasPool" $) (not (or .queue .kvCacheUtilization .prefixCache .cpuPrefixCache .activeRequests .noHitLru)) }}
inferencepool.scorers are all 0: the picker would have nothing to pick by; set at least one weight, or global.router.mode to service for plain load balancing.
{{- end }}
{{- range $scorer := list "cpuPrefixCache" "noHitLru" }}
{{- if and (get $pool.scorers $scorer) (eq $pool.picker "inference-extension") }}
inferencepool.scorers.{{ $scorer }} is {{ get $pool.scorers $scorer }} but inferencepool.picker is inference-extension, which has no such scorer and would not start; set it to 0, or picker to llm-d-router.
{{- end }}
{{- end }}
{{- if and .cpuPrefixCache (not $pool.prefixIndex.cpuTierSize) }}
inferencepool.scorers.cpuPrefixCache is {{ .cpuPrefixCache }} but the picker keeps no index of the CPU tier; set inferencepool.prefixIndex.cpuTierSize to {{ $.Values.modelserver.cpuTier.size }}.
{{- end }}
{{- end }}
{{- with $pool.prefixIndex.cpuTierSize }}
{{- if ne . $.Values.modelserver.cpuTier.size }}
inferencepool.prefixIndex.cpuTierSize is {{ . }} but modelserver.cpuTier.size is {{ $.Values.modelserver.cpuTier.size }}: the picker would remember more or less than there is; set both to the same size.
{{- end }}
{{- end }}
{{- if and (include "llm-d-storage.router.hasPool" .) (eq $pool.picker "llm-d-router") (contains "gateway-api-inference-extension" $pool.epp.image.repository) }}
inferencepool.picker is llm-d-router but inferencepool.epp.image is {{ $pool.epp.image.repository }}, which would not start with its configuration; set inferencepool.epp.image to that of the llm-d router's endpoint picker.
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.evictor" -}}
{{- if include "llm-d-storage.evictor.isOn" . }}
{{- if and .Values.storage.existingClaim (not .Values.evictor.config.budget_bytes) }}
evictor.enabled is true but the size of {{ .Values.storage.existingClaim }} is not known, so there is no budget; set evictor.config.budget_bytes to what the cache may take of it, or evictor.enabled to false.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.alerts" -}}
{{- $known := include "llm-d-storage.alerts.names" . | fromJsonArray -}}
{{- range $name, $_ := .Values.alerts.rules }}
{{- if not (has $name $known) }}
alerts.rules names {{ $name | quote }}, which is no alert of this chart; take one of {{ $known | join ", " }}.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.hooks" -}}
{{- $proof := .Values.hooks.proof -}}
{{- if and $proof.enabled (eq .Values.modelserver.connector "none") }}
modelserver.connector is none but hooks.proof.enabled is true: there is no cache to prove; set hooks.proof.enabled to false.
{{- end }}
{{- if $proof.enabled }}
{{- $replicas := include "llm-d-storage.replicas" .Values.modelserver | int64 }}
{{- $key := ternary "replicas" "autoscaling.minReplicas" (eq .Values.modelserver.autoscaling.kind "none") }}
{{- if and (lt $replicas 2) (not (and (eq $replicas 1) .Values.hooks.allowInconclusive)) }}
modelserver.{{ $key }} is {{ $replicas }} but hooks.proof.enabled is true: one pod cannot prove that another one reads its cache, so the proof would end as inconclusive (exit code 3); set {{ $key }} to 2 or more, hooks.allowInconclusive to true to have one pod's writing proven only, or hooks.proof.enabled to false.
{{- end }}
{{- $needed := add (int64 $proof.readyTimeoutSeconds) (mul 4 (int64 $proof.requestTimeoutSeconds)) 60 }}
{{- if lt (int64 $proof.timeoutSeconds) $needed }}
hooks.proof.timeoutSeconds is {{ int64 $proof.timeoutSeconds }}, but waiting for the model servers (readyTimeoutSeconds {{ int64 $proof.readyTimeoutSeconds }}) and four requests (requestTimeoutSeconds {{ int64 $proof.requestTimeoutSeconds }}) may take longer, and the Job would be stopped before it can say what is wrong; set timeoutSeconds to {{ $needed }} or more.
{{- end }}
{{- end }}
{{- end -}}

{{/*
Kinds that the cluster lacks: Helm would stop at "no matches for kind", before the preflight could say what to do.
Only where the cluster's API is really seen: `helm template` knows a fixed list, which never has apiregistration.k8s.io.
*/}}
{{- define "llm-d-storage.validate.cluster" -}}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" }}
{{- range include "llm-d-storage.preflight.crds" . | fromJsonArray }}
{{- $group := regexReplaceAll "^[^.]+\\." .name "" }}
{{- if not ($.Capabilities.APIVersions.Has (printf "%s/%s" $group .version)) }}
{{ .neededFor }} needs {{ .name }} ({{ .version }}), which this cluster does not have: install its CRDs, or change that value (global.router.mode: service needs none).
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
