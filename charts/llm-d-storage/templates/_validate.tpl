{{/*
All rules that concern more than one value, in one place. The schema refuses what is wrong by itself (types, typos,
ranges); here is what only the combination makes wrong. Every line that a rule prints is one problem: what is wrong,
why it matters, what to set. All of them are shown at once.
*/}}
{{- define "llm-d-storage.validate" -}}
{{- $problems := list -}}
{{- range $part := list "names" "storage" "modelserver" "vllmFlags" "podExtras" "router" "hooks" "cluster" -}}
{{- range include (printf "llm-d-storage.validate.%s" $part) $ | splitList "\n" -}}
{{- with trim . }}{{ $problems = append $problems . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "the values contradict each other or the cluster:\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "llm-d-storage.validate.names" -}}
{{- $base := include "llm-d-storage.names.base" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $base) }}
The release name (or global.nameOverride) gives names that begin with {{ $base | quote }}, which Kubernetes refuses for a Service; set global.nameOverride to lower-case letters, digits and "-", beginning with a letter.
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.storage" -}}
{{- $class := .Values.storage.storageClass -}}
{{- if and .Values.global.existingClaim $class.create }}
global.existingClaim is {{ .Values.global.existingClaim | quote }} and storage.storageClass.create is true: a claim that exists already has its class; set only one of them.
{{- end }}
{{- if and $class.create (or (not $class.name) (not $class.provisioner)) }}
storage.storageClass.create is true but its name is {{ $class.name | quote }} and its provisioner {{ $class.provisioner | quote }}: a StorageClass needs both; set storage.storageClass.name and storage.storageClass.provisioner.
{{- end }}
{{- if and $class.create .Values.storage.storageClassName (ne .Values.storage.storageClassName $class.name) }}
storage.storageClassName is {{ .Values.storage.storageClassName | quote }} but storage.storageClass.create makes {{ $class.name | quote }}: the claim can use only one; leave storage.storageClassName empty, or set create to false.
{{- end }}
{{- if and $class.create (eq $class.provisioner "lustre.csi.storage.gke.io") (not .Values.global.existingClaim) }}
{{- $gib := int64 1073741824 }}
{{- $size := include "llm-d-storage.bytes" .Values.storage.size | int64 }}
{{- if or (mod $size (mul 9000 $gib)) (lt $size (mul 18000 $gib)) (gt $size (mul 954000 $gib)) }}
storage.size is {{ .Values.storage.size | quote }} but Managed Lustre is sold from 18000Gi to 954000Gi in steps of 9000Gi, and would leave the claim Pending; set storage.size to 18000Gi, 27000Gi, 36000Gi and so on.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.modelserver" -}}
{{- $server := .Values.modelserver -}}
{{- $tp := int64 $server.tensorParallelSize -}}
{{- $accelerator := $server.accelerator.resource -}}
{{- if and (gt $tp 1) (not $accelerator) }}
modelserver.tensorParallelSize is {{ $tp }} but modelserver.accelerator.resource is empty (CPU): the model would be split over accelerators that are not asked for; set tensorParallelSize to 1, or accelerator.resource to what your nodes offer, such as nvidia.com/gpu.
{{- end }}
{{- range $kind := list "requests" "limits" }}
{{- if and $accelerator (hasKey (get $server.resources $kind | default dict) $accelerator) }}
modelserver.resources.{{ $kind }} names {{ $accelerator }}, which the chart sets from modelserver.tensorParallelSize ({{ $tp }}): two numbers for one thing; remove it from resources.
{{- end }}
{{- with get (get $server.resources $kind | default dict) "memory" }}
{{- if regexMatch "^[0-9]+([KMGTP]i|[kMGTP])?$" (toString .) }}
{{- $memory := include "llm-d-storage.bytes" . | int64 }}
{{- $shm := add (include "llm-d-storage.bytes" $server.cpuTier.size | int64) (include "llm-d-storage.bytes" $server.cpuTier.shmHeadroom | int64) }}
{{- if le $memory $shm }}
modelserver.resources.{{ $kind }}.memory is {{ . }} but modelserver.cpuTier takes {{ $server.cpuTier.size }} and {{ $server.cpuTier.shmHeadroom }} headroom of it (/dev/shm counts as the pod's memory): the pod would be killed or evicted; set memory to the sum and what vLLM itself needs, or a smaller cpuTier.size.
{{- end }}
{{- end }}
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
      "--kv-transfer-config" "modelserver.cpuTier and modelserver.storageTier" }}
{{- range .Values.modelserver.extraArgs }}
{{- $flag := regexFind "^--?[a-zA-Z0-9_-]+" . | replace "_" "-" }}
{{- if hasKey $owned $flag }}
modelserver.extraArgs holds {{ . | quote }}, a flag that the chart sets itself; remove it there and set {{ get $owned $flag }}.
{{- end }}
{{- end }}
{{- $reserved := list "PYTHONPATH" "PYTHONHASHSEED" }}
{{- if .Values.modelserver.hfToken.enabled }}{{ $reserved = append $reserved "HF_TOKEN" }}{{ end }}
{{- $seen := dict }}
{{- range .Values.modelserver.extraEnv }}
{{- if has .name $reserved }}
modelserver.extraEnv sets {{ .name }}, which the chart needs (PYTHONPATH finds the connector, PYTHONHASHSEED makes block keys equal on all pods, HF_TOKEN comes from modelserver.hfToken); remove it, and for HF_TOKEN set modelserver.hfToken.enabled to false.
{{- end }}
{{- if hasKey $seen .name }}
modelserver.extraEnv names {{ .name }} twice, which server-side apply refuses; keep one.
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.podExtras" -}}
{{- $volumes := dict "kv-cache" true "connector" true "shm" true "cache" true "tmp" true }}
{{- range .Values.modelserver.extraVolumes }}
{{- if hasKey $volumes .name }}
modelserver.extraVolumes names {{ .name | quote }}, which is taken (by the chart, or further up the list): Kubernetes refuses two volumes of one name; give it another.
{{- end }}
{{- $_ := set $volumes .name true }}
{{- end }}
{{- $paths := dict "/mnt/kv-cache" true "/opt/llmd-connector" true "/dev/shm" true "/cache" true "/tmp" true }}
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
{{- if and (eq $mode "gateway") (not .Values.gateway.className) }}
global.router.mode is gateway but gateway.className is empty: nobody would serve the Gateway; set gateway.className to one that `kubectl get gatewayclass` shows, or global.router.mode to standalone.
{{- end }}
{{- with .Values.inferencepool.scorers }}
{{- if and (include "llm-d-storage.router.hasPool" $) (not (or .queue .kvCacheUtilization .prefixCache)) }}
inferencepool.scorers are all 0: the picker would have nothing to pick by; set at least one weight, or global.router.mode to service for plain load balancing.
{{- end }}
{{- end }}
{{- end -}}

{{- define "llm-d-storage.validate.hooks" -}}
{{- $proof := .Values.hooks.proof -}}
{{- if $proof.enabled }}
{{- if lt (int64 .Values.modelserver.replicas) 2 }}
modelserver.replicas is {{ int64 .Values.modelserver.replicas }} but hooks.proof.enabled is true: one pod cannot prove that another one reads its cache; set replicas to 2 or more, or hooks.proof.enabled to false.
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
