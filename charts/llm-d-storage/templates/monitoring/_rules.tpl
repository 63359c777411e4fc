{{/*
files/rules.yaml as this release's own, as JSON: {groups: [...]}, what a PrometheusRule and a plain rule file both hold.
Prometheus' own templates in the texts stay as they are.
*/}}
{{- define "llm-d-storage.alerts.rules" -}}
{{- $source := .Files.Get "files/rules.yaml" | fromYaml -}}
{{- $base := include "llm-d-storage.names.base" . -}}
{{- $labels := dict
      "SERVERS" (printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.+" (include "llm-d-storage.names.modelserver" .)))
      "EVICTOR" (printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.+" (include "llm-d-storage.names.evictor" .)))
      "PICKER" (printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.+" (include "llm-d-storage.names.epp" .)))
      "HOOKS" (printf "namespace=%q,job_name=~%q" .Release.Namespace (printf "%s-(preflight|claim|probe|proof)" $base)) -}}
{{- $has := dict
      "llmd-storage" (eq .Values.modelserver.connector "llmd-storage")
      "evictor" (include "llm-d-storage.evictor.isOn" . | not | not)
      "picker" (include "llm-d-storage.router.hasPool" . | not | not) -}}
{{- $records := list -}}
{{- range $source.records -}}
{{- if or (not .needs) (get $has (.needs | default "")) -}}
{{- $expr := .expr -}}
{{- range $word, $matchers := $labels }}{{ $expr = replace $word $matchers $expr }}{{ end -}}
{{- $records = append $records (dict "record" .record "expr" $expr "labels" (dict "release" $base)) -}}
{{- end -}}
{{- end -}}
{{- $alerts := list -}}
{{- range $source.alerts -}}
{{- $rule := merge (deepCopy (get $.Values.alerts.rules .alert | default dict)) . -}}
{{- if and (or (not .needs) (get $has (.needs | default ""))) (ne (toString $rule.enabled) "false") -}}
{{- $expr := $rule.expr -}}
{{- range $word, $matchers := $labels }}{{ $expr = replace $word $matchers $expr }}{{ end -}}
{{- range $word := list "threshold" "window" "baseline" -}}
{{- if hasKey $rule $word }}{{ $expr = replace (printf "$%s" $word) (toString (get $rule $word)) $expr }}{{ end -}}
{{- end -}}
{{- $page := printf "%s/%s.md" ($.Values.alerts.runbookUrl | default "docs/runbooks" | trimSuffix "/") .alert -}}
{{- $alerts = append $alerts (dict
      "alert" .alert
      "expr" $expr
      "for" $rule.for
      "labels" (dict "severity" $rule.severity "release" $base)
      "annotations" (dict "summary" .summary "description" .description "runbook_url" $page)) -}}
{{- end -}}
{{- end -}}
{{- $name := printf "llm-d-storage.%s.%s" .Release.Namespace $base -}}
{{- dict "groups" (list
      (dict "name" (printf "%s.records" $name) "rules" $records)
      (dict "name" (printf "%s.alerts" $name) "rules" $alerts)) | toJson -}}
{{- end -}}

{{/* The names of all alerts, as a JSON list. */}}
{{- define "llm-d-storage.alerts.names" -}}
{{- $names := list -}}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).alerts }}{{ $names = append $names .alert }}{{ end -}}
{{- toJson $names -}}
{{- end -}}
