{{/*
What the chart knows of each storage.backend, in one table; docs/storage-backends.md says where each fact is from.

provisioner    name of the CSI driver
parameters     of the StorageClass, unless the user sets others. Owner and mode are set where the kubelet does not apply
               fsGroup to ReadWriteMany volumes of that driver, so that the chart's pods can write
requires       parameters that the driver refuses to go without; "a|b" = one of them
secretRoles    csi.storage.k8s.io/<role>-secret-name that the driver reads; node-* roles take nodeSecret
secret         names that the driver's operator makes; their namespace is the parameter clusterID
mountOptions   of the StorageClass or the static volume, unless the user sets others. lookupcache=positive on NFS: a
               client that remembers "there is no such file" misses blocks that another node has just written
zoneKey        topology key that storageClass.zones are values of
sizes          what is sold, in Gi, by a parameter of the class; "any" where the class is not ours, and its parameter unknown

Call with the global values.
*/}}
{{- define "llm-d-storage.backends" -}}
{{- $uid := .podSecurity.runAsUser | default 1000 | int64 -}}
{{- $gid := .podSecurity.fsGroup | default 1000 | int64 -}}
default: {}
custom: {}
gcp-lustre:
  provisioner: lustre.csi.storage.gke.io
  parameters: {perUnitStorageThroughput: "1000"}
  zoneKey: topology.gke.io/zone
  sizes:
    parameter: perUnitStorageThroughput
    rules:
      "1000": {min: 9000, max: 10008000, step: 9000}
      "500": {min: 18000, max: 20016000, step: 18000}
      "250": {min: 36000, max: 40032000, step: 36000}
      "125": {min: 72000, max: 12240000, step: 72000}
      any: {min: 9000, max: 40032000, step: 9000}
gcp-filestore:
  provisioner: filestore.csi.storage.gke.io
  requires: [tier]
  mountOptions: [lookupcache=positive]
  zoneKey: topology.gke.io/zone
aws-efs:
  provisioner: efs.csi.aws.com
  parameters: {provisioningMode: efs-ap, directoryPerms: "770", uid: "{{ $uid }}", gid: "{{ $gid }}"}
  requires: [fileSystemId|fileSystemIdConfigRef|fileSystemIdSecretRef]
  mountOptions: [lookupcache=positive]
aws-fsx-lustre:
  provisioner: fsx.csi.aws.com
  requires: [subnetId, securityGroupIds]
  mountOptions: [flock]
azure-lustre:
  provisioner: azurelustre.csi.azure.com
  requires:
    - sku-name|mgs-ip-address
    - zone|mgs-ip-address
    - maintenance-day-of-week|mgs-ip-address
    - maintenance-time-of-day-utc|mgs-ip-address
  mountOptions: [noatime, flock]
azure-files-nfs:
  provisioner: file.csi.azure.com
  parameters: {protocol: nfs, skuName: Premium_LRS}
  mountOptions: [nconnect=4, noresvport, lookupcache=positive]
cephfs:
  provisioner: cephfs.csi.ceph.com
  requires: [clusterID, fsName]
  secretRoles: [provisioner, controller-expand, node-stage]
cephfs-rook:
  provisioner: rook-ceph.cephfs.csi.ceph.com
  parameters: {clusterID: rook-ceph}
  requires: [clusterID, fsName]
  secretRoles: [provisioner, controller-expand, controller-publish, node-stage]
  secret: {controller: rook-csi-cephfs-provisioner, node: rook-csi-cephfs-node}
nfs:
  provisioner: nfs.csi.k8s.io
  requires: [server, share]
  mountOptions: [nfsvers=4.1, lookupcache=positive]
ibm-scale:
  provisioner: spectrumscale.csi.ibm.com
  parameters: {uid: "{{ $uid }}", gid: "{{ $gid }}", permissions: "770"}
  requires: [volBackendFs]
weka:
  provisioner: csi.weka.io
  parameters:
    {volumeType: dir/v1, capacityEnforcement: HARD, ownerUid: "{{ $uid }}", ownerGid: "{{ $gid }}", permissions: "0770"}
  requires: [filesystemName|filesystemGroupName]
  secretRoles: [provisioner, controller-publish, controller-expand, node-stage, node-publish]
vast:
  provisioner: csi.vastdata.com
  requires: [root_export, view_policy, vip_pool_name|vip_pool_fqdn]
  secretRoles: [provisioner, controller-publish, node-publish, controller-expand]
  mountOptions: [lookupcache=positive]
juicefs:
  provisioner: csi.juicefs.com
  secretRoles: [provisioner, node-publish]
{{- end -}}

{{/* The facts of the chosen backend, as JSON. Call with the storage values. */}}
{{- define "llm-d-storage.storage.backend" -}}
{{- get (include "llm-d-storage.backends" .global | fromYaml) .backend | default dict | toJson -}}
{{- end -}}

{{/*
The StorageClass that is to be made, as JSON: {name, provisioner, parameters, mountOptions, allowedTopologies}, all
parameters as strings, since Kubernetes takes nothing else. Call with the storage values.
*/}}
{{- define "llm-d-storage.storage.class" -}}
{{- $backend := include "llm-d-storage.storage.backend" . | fromJson -}}
{{- $class := .storageClass -}}
{{- $parameters := deepCopy ($backend.parameters | default dict) -}}
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

{{/* The CSI driver of a static volume; empty for NFS without a driver. Call with the storage values. */}}
{{- define "llm-d-storage.storage.volumeDriver" -}}
{{- if not .persistentVolume.nfs.server -}}
{{- $backend := include "llm-d-storage.storage.backend" . | fromJson -}}
{{- .persistentVolume.csi.driver | default $backend.provisioner | default "" -}}
{{- end -}}
{{- end -}}
