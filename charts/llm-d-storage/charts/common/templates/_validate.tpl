{{/*
Rules that concern more than one value. The schema refuses what is wrong by itself (types, typos, ranges); a rule is for what
only the combination makes wrong. Every line that a rule prints is one problem: what is wrong, why it matters, what to set.
All of them are shown at once.

Each chart has its own rules, which name values as a user of the umbrella writes them (storage.size). Where the chart is
installed alone, its own name before them is left out (size).

Call with a list of (list $scope "rules").
*/}}
{{- define "llm-d-storage.validate.report" -}}
{{- $problems := list -}}
{{- range $pair := . -}}
{{- $scope := index $pair 0 -}}
{{- $before := printf "(^|[ (])%s[.]" $scope.Chart.Name -}}
{{- range include (printf "llm-d-storage.validate.%s" (index $pair 1)) $scope | splitList "\n" -}}
{{- with trim . -}}
{{- $problems = append $problems ($scope.Chart.IsRoot | ternary (regexReplaceAll $before . "${1}") .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "the values contradict each other or the cluster:\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}

{{/* Of an optional value, "" and 0 were "not set" once; null says it. files/optional.yaml has the paths. */}}
{{- define "llm-d-storage.validate.unset" -}}
{{- if .Chart.IsRoot -}}
{{- /* As a part of another chart it sees that one's globals, too; the schema cannot tell the two apart. */ -}}
{{- $known := .Files.Get "files/globals.yaml" | fromYamlArray -}}
{{- range $key, $_ := .Values.global -}}
{{- if not (has $key $known) }}
global.{{ $key }} is no value of this chart; remove it, or take one of {{ $known | join ", " }}.
{{- end }}
{{- end -}}
{{- end -}}
{{- range $path := .Files.Get "files/optional.yaml" | fromYamlArray -}}
{{- $value := $.Values -}}
{{- range splitList "." $path -}}
{{- if hasKey ($value | default dict) . }}{{ $value = get $value . }}{{ else }}{{ $value = dict }}{{ end -}}
{{- end -}}
{{- if or (kindIs "string" $value | and (eq (toString $value) "")) (eq (toString $value) "0") }}
{{ $path }} is {{ toJson $value }}, which is no value for it; set it to null, or leave it out, if it is not to be set.
{{- end }}
{{- end -}}
{{- end -}}

{{- define "llm-d-storage.validate.names" -}}
{{- range $path := list "commonLabels" "podLabels" "commonAnnotations" "podAnnotations" }}
{{- range $key, $_ := get $.Values.global $path }}
{{- if regexMatch "^(app[.]kubernetes[.]io/(name|instance|component|managed-by|part-of|version)|helm[.]sh/.*|llm-d[.]ai/inference-serving|checksum/.*|argocd[.]argoproj[.]io/(hook|sync-wave|sync-options))$" $key }}
global.{{ $path }} sets {{ $key }}, which the chart sets itself, since pods are found or objects kept by it; remove it.
{{- else if and (eq $key "kueue.x-k8s.io/queue-name") (hasSuffix "Labels" $path) }}
global.{{ $path }} sets {{ $key }}, so that Kueue would hold back the hook Jobs too, and the release would wait for them; remove it there and set modelserver.labels.
{{- end }}
{{- end }}
{{- end }}
{{- $base := include "llm-d-storage.names.base" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $base) }}
The release name (or global.nameOverride) gives names that begin with {{ $base | quote }}, which Kubernetes refuses for a Service; set global.nameOverride to lower-case letters, digits and "-", beginning with a letter.
{{- end }}
{{- end -}}
