{{/*
One image reference. Call with (list $ $image), $image = {registry, repository, tag, digest}.
A digest wins over a tag; global.imageRegistry (a mirror) wins over the image's own registry.
*/}}
{{- define "llm-d-storage.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry | default $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* image + imagePullPolicy of a container. Call with (list $ $image). */}}
{{- define "llm-d-storage.containerImage" -}}
image: {{ include "llm-d-storage.image" . | quote }}
imagePullPolicy: {{ (index . 1).pullPolicy }}
{{- end -}}

{{/*
The project's own image: hooks and connector. A released chart runs the image that was released with it, by its digest
(an annotation that charts/tools/package.py makes), unless a tag or a digest is set.
*/}}
{{- define "llm-d-storage.projectImage" -}}
{{- $image := .Values.global.image -}}
{{- $released := index (.Chart.Annotations | default dict) "llm-d-storage/image-digest" -}}
{{- if and $released (not $image.tag) (not $image.digest) -}}
{{- $image = merge (dict "digest" $released) $image -}}
{{- end -}}
{{- include "llm-d-storage.containerImage" (list . $image) -}}
{{- end -}}

{{/* The names of the pull secrets, as a JSON list: each is given as Kubernetes writes it, {name: x}, or as its name. */}}
{{- define "llm-d-storage.pullSecretNames" -}}
{{- $names := list -}}
{{- range .Values.global.imagePullSecrets -}}
{{- if kindIs "map" . }}{{ $names = append $names .name }}{{ else }}{{ $names = append $names . }}{{ end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "llm-d-storage.imagePullSecrets" -}}
{{- with include "llm-d-storage.pullSecretNames" . | fromJsonArray }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
