{{/*
What is known of storage: files/backends.yaml as an object. Call all of this file with the storage chart's scope, which
is `.` in its own templates and .Subcharts.storage in the umbrella's.
*/}}
{{- define "llm-d-storage.storage.facts" -}}
{{- .Files.Get "files/backends.yaml" -}}
{{- end -}}

{{/* The facts of the chosen backend, as JSON. */}}
{{- define "llm-d-storage.storage.backend" -}}
{{- get (include "llm-d-storage.storage.facts" . | fromYaml).backends .Values.backend | default dict | toJson -}}
{{- end -}}

{{/* The parameters that the chart sets for the chosen backend, as JSON: pods' ids in place of $(uid) and $(gid). */}}
{{- define "llm-d-storage.storage.parameters" -}}
{{- $ids := .Values.global.podSecurity -}}
{{- $parameters := (include "llm-d-storage.storage.backend" . | fromJson).parameters | default dict -}}
{{- range $key, $value := $parameters -}}
{{- $uid := has (toString $ids.runAsUser) (list "none" "0") | ternary 1000 $ids.runAsUser | int64 | toString -}}
{{- $gid := has (toString $ids.fsGroup) (list "none" "0") | ternary 1000 $ids.fsGroup | int64 | toString -}}
{{- $_ := set $parameters $key ($value | replace "$(uid)" $uid | replace "$(gid)" $gid) -}}
{{- end -}}
{{- toJson $parameters -}}
{{- end -}}

{{/*
The StorageClass that is to be made, as JSON: {name, provisioner, parameters, mountOptions, allowedTopologies}, all
parameters as strings, since Kubernetes takes nothing else.
*/}}
{{- define "llm-d-storage.storage.class" -}}
{{- $backend := include "llm-d-storage.storage.backend" . | fromJson -}}
{{- $class := .Values.storageClass -}}
{{- $parameters := include "llm-d-storage.storage.parameters" . | fromJson -}}
{{- range $key, $value := $class.parameters -}}
{{- $_ := set $parameters $key (kindIs "float64" $value | ternary (int64 $value | toString) (toString $value)) -}}
{{- end -}}
{{- range $role := $backend.secretRoles -}}
{{- $own := get ($backend.secret | default dict) (hasPrefix "node-" $role | ternary "node" "controller") -}}
{{- $name := hasPrefix "node-" $role | ternary ($class.nodeSecretName | default $class.secretName) $class.secretName | default $own -}}
{{- $namespace := $class.secretNamespace | default (ternary $parameters.clusterID "" (ne ($own | default "") "")) -}}
{{- if $name -}}
{{- $_ := set $parameters (printf "csi.storage.k8s.io/%s-secret-name" $role) $name -}}
{{- $_ := set $parameters (printf "csi.storage.k8s.io/%s-secret-namespace" $role) $namespace -}}
{{- end -}}
{{- end -}}
{{- $topologies := $class.allowedTopologies -}}
{{- if and $class.zones $backend.zoneKey -}}
{{- $zones := dict "key" $backend.zoneKey "values" $class.zones -}}
{{- $topologies = list (dict "matchLabelExpressions" (list $zones)) -}}
{{- end -}}
{{- dict
      "name" $class.name
      "provisioner" ($class.provisioner | default $backend.provisioner | default "")
      "parameters" $parameters
      "mountOptions" ($class.mountOptions | default $backend.mountOptions | default list)
      "allowedTopologies" $topologies | toJson -}}
{{- end -}}

{{/* The CSI driver of a static volume; empty for NFS without a driver. */}}
{{- define "llm-d-storage.storage.volumeDriver" -}}
{{- $volume := .Values.persistentVolume -}}
{{- if not $volume.nfs.server -}}
{{- $backend := include "llm-d-storage.storage.backend" . | fromJson -}}
{{- $volume.csi.driver | default $backend.provisioner | default "" -}}
{{- end -}}
{{- end -}}

{{/*
The sizes that the claim's volume may have, as JSON: {"what": words, "ranges": [{minGi, maxGi, stepGi}]}; no ranges where
any size will do, or none is known. Of a class that is not made here the parameters are not known.
*/}}
{{- define "llm-d-storage.storage.sizes" -}}
{{- $made := include "llm-d-storage.storage.class" . | fromJson -}}
{{- $creates := .Values.storageClass.create -}}
{{- $driver := $creates | ternary $made.provisioner ((include "llm-d-storage.storage.backend" . | fromJson).provisioner | default "") -}}
{{- $sizes := dict -}}
{{- range (include "llm-d-storage.storage.facts" . | fromYaml).provisioners -}}
{{- if and (eq .name $driver) .sizes }}{{ $sizes = .sizes }}{{ end -}}
{{- end -}}
{{- $ranges := list -}}
{{- $what := printf "volumes of %s" $driver -}}
{{- if and $sizes (ne (toString $sizes.enforced) "false") -}}
{{- if $creates -}}
{{- $value := get $made.parameters $sizes.parameter | default $sizes.otherwise -}}
{{- $ranges = get $sizes.rules $value | default list -}}
{{- $what = printf "%s with %s %s" $what $sizes.parameter $value -}}
{{- else if $sizes.any -}}
{{- $ranges = list $sizes.any -}}
{{- end -}}
{{- end -}}
{{- dict "what" $what "ranges" $ranges | toJson -}}
{{- end -}}
