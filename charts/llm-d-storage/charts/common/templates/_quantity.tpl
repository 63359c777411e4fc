{{/*
A Kubernetes quantity ("100Gi", "512Mi", "1000000") as whole bytes, in integers throughout: floats would round, and a
byte count is printed into vLLM's configuration. The schema admits whole numbers with these suffixes only.
*/}}
{{- define "llm-d-storage.bytes" -}}
{{- $quantity := toString . -}}
{{- $number := regexFind "^[0-9]+" $quantity | int64 -}}
{{- $unit := trimPrefix (regexFind "^[0-9]+" $quantity) $quantity -}}
{{- $ki := int64 1024 -}}
{{- $k := int64 1000 -}}
{{- $factors := dict "" (int64 1)
      "Ki" $ki "Mi" (mul $ki $ki) "Gi" (mul $ki $ki $ki) "Ti" (mul $ki $ki $ki $ki) "Pi" (mul $ki $ki $ki $ki $ki)
      "k" $k "M" (mul $k $k) "G" (mul $k $k $k) "T" (mul $k $k $k $k) "P" (mul $k $k $k $k $k) -}}
{{- if not (hasKey $factors $unit) -}}
{{- fail (printf "%q is not a size this chart can use; write a whole number with Ki, Mi, Gi, Ti, Pi, k, M, G, T or P" $quantity) -}}
{{- end -}}
{{- mul $number (get $factors $unit) -}}
{{- end -}}

{{/* Bytes as a quantity in Mi, rounded up. */}}
{{- define "llm-d-storage.mebibytes" -}}
{{- printf "%dMi" (div (add (int64 .) 1048575) 1048576) -}}
{{- end -}}
