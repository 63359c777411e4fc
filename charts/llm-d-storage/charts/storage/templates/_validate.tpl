{{/* Rules that concern more than one value of this chart; common/_validate.tpl says how they are written. */}}
{{- define "llm-d-storage.validate.storage" -}}
{{- if and .Values.existingClaim .Values.global.existingClaim (ne .Values.existingClaim .Values.global.existingClaim) }}
storage.existingClaim is {{ .Values.existingClaim | quote }} and global.existingClaim, its earlier name, {{ .Values.global.existingClaim | quote }}; set storage.existingClaim to the right one and remove global.existingClaim.
{{- end }}
{{- $existing := include "llm-d-storage.existingClaim" . -}}
{{- $storage := .Values -}}
{{- $class := $storage.storageClass -}}
{{- $volume := $storage.persistentVolume -}}
{{- $backend := include "llm-d-storage.storage.backend" . | fromJson -}}
{{- $made := include "llm-d-storage.storage.class" . | fromJson -}}
{{- if and .Values.chownRoot (has (toString .Values.global.podSecurity.runAsUser) (list "none" "0")) }}
storage.chownRoot is true but global.podSecurity.runAsUser is {{ .Values.global.podSecurity.runAsUser }}: it is not known whom to give the volume to; set runAsUser and fsGroup, or chownRoot to false.
{{- end }}
{{- if and $existing $class.create }}
storage.existingClaim is {{ $existing | quote }} and storage.storageClass.create is true: a claim that exists already has its class; set only one of them.
{{- end }}
{{- if and $existing $volume.create }}
storage.existingClaim is {{ $existing | quote }} and storage.persistentVolume.create is true: a claim that exists already has its volume; set only one of them.
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
{{- if and (ne $storage.backend "default") (not (or $class.create $volume.create $storage.storageClassName $existing)) }}
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
{{- if and (not $volume.nfs.server) (not (include "llm-d-storage.storage.volumeDriver" .)) }}
storage.persistentVolume.create is true but neither an NFS server nor a CSI driver is named; set storage.persistentVolume.nfs.server, storage.persistentVolume.csi.driver, or storage.backend.
{{- else if and (not $volume.nfs.server) (not $volume.csi.volumeHandle) }}
storage.persistentVolume.csi.volumeHandle is not set, so {{ include "llm-d-storage.storage.volumeDriver" . }} would not know what to mount; set it to what the driver calls the volume.
{{- else if and $volume.nfs.server $volume.csi.volumeHandle }}
storage.persistentVolume names an NFS server and a CSI volume, and a volume is one of them; set nfs.server or csi.volumeHandle to null.
{{- else if and $volume.nfs.server (not $volume.nfs.path) }}
storage.persistentVolume.nfs.server is {{ $volume.nfs.server | quote }} but nfs.path is not set; set storage.persistentVolume.nfs.path to the exported folder.
{{- end }}
{{- end }}
{{- $sold := include "llm-d-storage.storage.sizes" . | fromJson }}
{{- if and $sold.ranges (not $volume.create) (not $existing) }}
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
