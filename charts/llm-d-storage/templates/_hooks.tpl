{{/* What the hook Jobs share. */}}

{{/* Annotations of a hook object. Call with (list "events" weight). Weights: account -20, role -15, binding -10, Jobs 0 and up. */}}
{{- define "llm-d-storage.hooks.annotations" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
# A Job that failed stays, with its log, until the next run.
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/*
Under Argo CD: begin beside the release's objects, not when all of them are healthy. A claim is not healthy until it is
bound, so a hook that says why it is not, or that is its first consumer, would never begin. Helm takes no notice.
*/}}
{{- define "llm-d-storage.hooks.duringSync" -}}
argocd.argoproj.io/hook: Sync
argocd.argoproj.io/sync-wave: "0"
{{- end -}}

{{/* The container of a hook. Call with (list $ "hook" $configJson). */}}
{{- define "llm-d-storage.hooks.container" -}}
{{- $root := index . 0 -}}
- name: {{ index . 1 }}
  {{- include "llm-d-storage.projectImage" $root | nindent 2 }}
  command: [python3, -m, llmd_storage_hooks]
  args:
    - {{ index . 1 }}
    - --config
    - {{ index . 2 | quote }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- include "llm-d-storage.containerSecurityContext" $root | nindent 4 }}
  resources:
    {{- include "llm-d-storage.resources" $root.Values.hooks.resources | nindent 4 }}
{{- end -}}

{{/*
Labels and annotations of a Job's pod. A mesh's sidecar that is an ordinary container never ends, and neither would the Job: none is
injected, unless hooks.podLabels say otherwise. Call with (list $ "component").
*/}}
{{- define "llm-d-storage.hooks.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "llm-d-storage.podLabels" (append . $root.Values.hooks.podLabels) | nindent 2 }}
{{- with include "llm-d-storage.podAnnotations" (list $root $root.Values.hooks.podAnnotations) }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every hook's configuration begins with. Call with (list $ $timeoutSeconds $reportName $jobName); gives JSON. */}}
{{- define "llm-d-storage.hooks.commonConfig" -}}
{{- $root := index . 0 -}}
{{- dict
      "release" $root.Release.Name
      "namespace" $root.Release.Namespace
      "reportConfigMap" (index . 2)
      "jobName" (index . 3)
      "checks" $root.Values.hooks.checks
      "allowInconclusive" $root.Values.hooks.allowInconclusive
      "timeoutSeconds" (include "llm-d-storage.hooks.ownTimeout" (index . 1) | int64) | toJson -}}
{{- end -}}

{{/* Where every hook may write: its key of the report, and on its own Job why it failed. Call with (list $ $jobName). */}}
{{- define "llm-d-storage.hooks.reportRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  verbs: [patch]
  resourceNames: [{{ include "llm-d-storage.names.report" (index . 0) }}]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [patch]
  resourceNames: [{{ index . 1 }}]
{{- end -}}

{{/* The program stops before Kubernetes stops it, so that it can still say why. */}}
{{- define "llm-d-storage.hooks.ownTimeout" -}}
{{- sub (int64 .) 20 -}}
{{- end -}}

{{- define "llm-d-storage.hooks.anyEnabled" -}}
{{- with .Values.hooks -}}
{{- if or .preflight.enabled .claim.enabled .probe.enabled .proof.enabled }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* nodeSelector and tolerations. Call with the values that hold both. */}}
{{- define "llm-d-storage.hooks.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
