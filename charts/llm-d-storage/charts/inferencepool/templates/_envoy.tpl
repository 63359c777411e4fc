{{/*
Envoy in front of the picker (router.mode standalone). One listener; each request is shown to the picker (ext_proc, the
whole body streamed both ways), which names the model server in a header; Envoy connects to exactly that address.

- No timeout on a request or on a silent stream: a long prefill sends nothing for minutes, and is not an error.
- The picker serves TLS with a certificate it made itself, so there is nothing to verify it against.
- A client could name any address in that header itself, so it is removed before the picker is asked.
*/}}
{{- define "llm-d-storage.envoy.config" -}}
{{- $failOpen := eq .Values.failureMode "FailOpen" -}}
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: 15000}
static_resources:
  listeners:
    - name: router
      address:
        socket_address: {address: 0.0.0.0, port_value: 8080}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                {{- include "llm-d-storage.envoy.connectionManager" . | nindent 16 }}
  clusters:
    {{- include "llm-d-storage.envoy.pickedCluster" . | nindent 4 }}
    {{- include "llm-d-storage.envoy.pickerCluster" . | nindent 4 }}
    {{- if $failOpen }}
    {{- include "llm-d-storage.envoy.anyCluster" . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "llm-d-storage.envoy.connectionManager" -}}
{{- $failOpen := eq .Values.failureMode "FailOpen" -}}
"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
stat_prefix: router
use_remote_address: true
normalize_path: true
server_header_transformation: PASS_THROUGH
stream_idle_timeout: 0s
request_timeout: 0s
early_header_mutation_extensions:
  - name: envoy.http.early_header_mutation.header_mutation
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
      mutations:
        - remove: x-gateway-destination-endpoint
access_log:
  # Only what went wrong.
  - name: envoy.access_loggers.stdout
    filter:
      status_code_filter:
        comparison:
          op: GE
          value: {default_value: 500, runtime_key: router.access_log.min_status}
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
route_config:
  name: router
  virtual_hosts:
    - name: router
      domains: ["*"]
      routes:
        {{- if $failOpen }}
        # The picker was not there to name a model server: take any.
        - match:
            prefix: /
            headers:
              - {name: x-gateway-destination-endpoint, present_match: false}
          route: {cluster: any, timeout: 0s, idle_timeout: 0s}
        {{- end }}
        - match: {prefix: /}
          route: {cluster: picked, timeout: 0s, idle_timeout: 0s}
http_filters:
  - name: envoy.filters.http.ext_proc
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
      grpc_service:
        envoy_grpc: {cluster_name: picker, authority: {{ include "llm-d-storage.names.epp" . }}}
      failure_mode_allow: {{ $failOpen }}
      # Runs until the picker has seen the whole request; the default of 200 ms would refuse a slow client.
      message_timeout: 600s
      processing_mode:
        request_header_mode: SEND
        request_body_mode: FULL_DUPLEX_STREAMED
        request_trailer_mode: SEND
        response_header_mode: SEND
        response_body_mode: FULL_DUPLEX_STREAMED
        response_trailer_mode: SEND
  - name: envoy.filters.http.router
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
      suppress_envoy_headers: true
{{- end -}}

{{/* The model server that the picker named. */}}
{{- define "llm-d-storage.envoy.pickedCluster" -}}
- name: picked
  type: ORIGINAL_DST
  lb_policy: CLUSTER_PROVIDED
  connect_timeout: 5s
  original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
{{- end -}}

{{- define "llm-d-storage.envoy.pickerCluster" -}}
- name: picker
  type: STRICT_DNS
  dns_lookup_family: V4_PREFERRED
  connect_timeout: 5s
  # A picker that is known to be gone fails a request at once, before its body is on the way: only so can FailOpen let
  # a POST through (the requests of the first seconds still fail). Threshold 0: never try it against better knowledge.
  # That knowledge refuses requests (FailClose) or passes the picker by (FailOpen): one check that a busy node was late for
  # is not enough of it.
  # Until the first request Envoy would look once a minute only, and miss a picker that came a second after it.
  common_lb_config: {healthy_panic_threshold: {value: 0}}
  health_checks:
    - timeout: 1s
      interval: 2s
      no_traffic_interval: 2s
      unhealthy_interval: 1s
      unhealthy_threshold: {{ eq .Values.failureMode "FailOpen" | ternary 2 3 }}
      healthy_threshold: 1
      tcp_health_check: {}
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
  transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      common_tls_context: {alpn_protocols: [h2]}
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config: {http2_protocol_options: {}}
  load_assignment:
    cluster_name: picker
    endpoints:
      - lb_endpoints:
          - endpoint:
              address:
                socket_address:
                  address: {{ include "llm-d-storage.names.epp" . }}.{{ .Release.Namespace }}.svc
                  port_value: 9002
{{- end -}}

{{/* Any ready model server, for failureMode FailOpen. */}}
{{- define "llm-d-storage.envoy.anyCluster" -}}
- name: any
  type: STRICT_DNS
  dns_lookup_family: V4_PREFERRED
  connect_timeout: 5s
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
  load_assignment:
    cluster_name: any
    endpoints:
      - lb_endpoints:
          - endpoint:
              address:
                socket_address:
                  address: {{ include "llm-d-storage.names.modelserver" . }}.{{ .Release.Namespace }}.svc
                  port_value: 8000
{{- end -}}

{{/* How much may be in flight is the model servers' business; Envoy's defaults stop at 1024. */}}
{{- define "llm-d-storage.envoy.noLimits" -}}
circuit_breakers:
  thresholds:
    - {max_connections: 65536, max_pending_requests: 65536, max_requests: 65536}
{{- end -}}
