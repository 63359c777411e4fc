{{/*
The pod of a model server: vLLM with a connector that keeps KV blocks on the claim, as a template of whatever makes the pods.
Call with this chart's scope, and in it claimName, if the claim is not the release's own: the umbrella knows, a subchart does not
see the storage's values.
*/}}
{{- define "llm-d-storage.modelserver.podTemplate" -}}
{{- $ours := eq .Values.connector "llmd-storage" -}}
metadata:
  labels:
    {{- include "llm-d-storage.podLabels" (list . "modelserver" .Values.podLabels) | nindent 4 }}
    {{- include "llm-d-storage.servingLabel" . | nindent 4 }}
  {{- $scraped := include "llm-d-storage.monitoring.annotations" (list . "8000" (include "llm-d-storage.tls.scheme" .)) | fromJson }}
  {{- $annotations := merge (deepCopy .Values.podAnnotations) $scraped }}
  {{- if eq .Values.connector "lmcache" }}
  {{- /* LMCache reads its configuration once. */}}
  {{- $_ := set $annotations "checksum/lmcache" (include "llm-d-storage.modelserver.lmcache" . | sha256sum) }}
  {{- end }}
  {{- with include "llm-d-storage.podAnnotations" (list . $annotations) }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.serviceAccountName }}
  serviceAccountName: {{ . | quote }}
  {{- end }}
  automountServiceAccountToken: false
  # A Service called "vllm" in the namespace would set VLLM_PORT, which vLLM reads as its own.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (int64 .Values.termination.preStopSeconds) (int64 .Values.termination.drainSeconds) 10 }}
  {{- with include "llm-d-storage.imagePullSecrets" . | trim }}{{ . | nindent 2 }}{{ end }}
  securityContext:
    {{- include "llm-d-storage.podSecurityContext" . | nindent 4 }}
  {{- with include "llm-d-storage.modelserver.spread" . | trim }}{{ . | nindent 2 }}{{ end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . | quote }}
  {{- end }}
  {{- with .Values.accelerator.resourceClaims }}
  resourceClaims:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $caBundle := include "llm-d-storage.caBundle.file" . }}
  {{- if or $ours $caBundle .Values.extraInitContainers }}
  initContainers:
    {{- if $ours }}
    # The connector comes from the project's image, for whatever Python vLLM's has: nothing is downloaded when a pod starts.
    - name: connector
      {{- include "llm-d-storage.projectImage" . | nindent 6 }}
      command: [cp, -r, /opt/llm-d-storage/connector/., /connector]
      securityContext:
        {{- include "llm-d-storage.containerSecurityContext" . | nindent 8 }}
      resources:
        requests: {cpu: 10m, memory: 32Mi}
        limits: {cpu: "1", memory: 128Mi}
      volumeMounts:
        - {name: connector, mountPath: /connector}
    {{- end }}
    {{- with $caBundle }}
    {{- include "llm-d-storage.trust.initContainer" (list $ (list .) (include "llm-d-storage.caBundle.mount" $)) | nindent 4 }}
    {{- end }}
    {{- with .Values.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: vllm
      {{- include "llm-d-storage.containerImage" (list . .Values.image) | nindent 6 }}
      command: [vllm]
      args:
        {{- include "llm-d-storage.modelserver.args" . | fromJsonArray | toYaml | nindent 8 }}
      env:
        {{- include "llm-d-storage.modelserver.env" . | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8000, protocol: TCP}
      {{- with .Values.probes }}
      startupProbe:
        {{- include "llm-d-storage.modelserver.startupProbe" $ | nindent 8 }}
      readinessProbe:
        {{- include "llm-d-storage.modelserver.health" $ | nindent 8 }}
        {{- toYaml .readiness | nindent 8 }}
      livenessProbe:
        {{- include "llm-d-storage.modelserver.health" $ | nindent 8 }}
        {{- toYaml .liveness | nindent 8 }}
      {{- end }}
      {{- with .Values.termination.preStopSeconds }}
      lifecycle:
        # Serve on while the routers learn that this pod goes.
        preStop:
          sleep: {seconds: {{ . }}}
      {{- end }}
      securityContext:
        {{- include "llm-d-storage.modelserver.containerSecurityContext" . | nindent 8 }}
      resources:
        {{- include "llm-d-storage.modelserver.resources" . | nindent 8 }}
      volumeMounts:
        {{- if ne .Values.connector "none" }}
        - {name: kv-cache, mountPath: /mnt/kv-cache}
        {{- end }}
        {{- if $ours }}
        - {name: connector, mountPath: /opt/llmd-connector, readOnly: true}
        {{- else if eq .Values.connector "lmcache" }}
        - {name: lmcache, mountPath: /etc/lmcache, readOnly: true}
        - {name: lmcache-metrics, mountPath: /lmcache-metrics}
        {{- end }}
        - {name: shm, mountPath: /dev/shm}
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        {{- if $caBundle }}
        {{- include "llm-d-storage.trust.mount" . | nindent 8 }}
        {{- end }}
        {{- if .Values.global.modelserverTls.secretName }}
        - {name: tls, mountPath: /etc/modelserver-tls, readOnly: true}
        {{- end }}
        {{- with include "llm-d-storage.modelserver.modelMount" . | trim }}{{ . | nindent 8 }}{{ end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- if ne .Values.connector "none" }}
    - name: kv-cache
      persistentVolumeClaim:
        claimName: {{ .claimName | default (include "llm-d-storage.names.ownClaim" .) | quote }}
    {{- end }}
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ include "llm-d-storage.modelserver.shmSize" . }}
    # HOME: model downloads, compile caches.
    - name: cache
      emptyDir: {}
    {{- if $ours }}
    - name: connector
      emptyDir: {}
    {{- else if eq .Values.connector "lmcache" }}
    - name: lmcache
      configMap:
        name: {{ include "llm-d-storage.names.lmcache" . }}
    - name: lmcache-metrics
      emptyDir: {}
    {{- end }}
    - name: tmp
      emptyDir: {}
    {{- if $caBundle }}
    {{- include "llm-d-storage.trust.volume" . | nindent 4 }}
    {{- include "llm-d-storage.caBundle.volume" . | trim | nindent 4 }}
    {{- end }}
    {{- with .Values.global.modelserverTls.secretName }}
    - name: tls
      secret:
        secretName: {{ . }}
        items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]
    {{- end }}
    {{- with include "llm-d-storage.modelserver.modelVolume" . | trim }}{{ . | nindent 4 }}{{ end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
