{{/*
Envoy in front of the picker (router.mode standalone), in two steps, since what the picker's filter refuses no route's
retry sees:

- router, where clients come in. Asks the second step again as long as no answer has begun and it says that a try was in
  vain: no picker, or none that leads yet; no model server to be had; one that went before it answered. A drain of
  nodes, a rollout and the first seconds after an install cost a client time, not an error.
- picking, inside Envoy. Each request is shown to the picker (ext_proc, the whole body streamed both ways), which names
  the model server in a header; Envoy connects to exactly that address. A new try is picked anew.

- No timeout on a request or on a silent stream: a long prefill sends nothing for minutes, and is not an error.
- The picker serves TLS with a certificate it made itself, so there is nothing to verify it against.
- A client could name any address in that header itself, so it is removed before the picker is asked.
*/}}
{{- define "llm-d-storage.envoy.config" -}}
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: 15000}
bootstrap_extensions:
  - name: envoy.bootstrap.internal_listener
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener
static_resources:
  listeners:
    - name: router
      address:
        socket_address: {address: 0.0.0.0, port_value: 8080}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                {{- include "llm-d-storage.envoy.router" . | nindent 16 }}
    - name: picking
      internal_listener: {}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                {{- include "llm-d-storage.envoy.picking" . | nindent 16 }}
  clusters:
    {{- include "llm-d-storage.envoy.pickingCluster" . | nindent 4 }}
    {{- include "llm-d-storage.envoy.pickedCluster" . | nindent 4 }}
    {{- include "llm-d-storage.envoy.pickerCluster" . | nindent 4 }}
    {{- if eq .Values.failureMode "FailOpen" }}
    {{- include "llm-d-storage.envoy.anyCluster" . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* How the second step tells the first that another try may help. */}}
{{- define "llm-d-storage.envoy.inVain" -}}x-llm-d-storage-in-vain{{- end -}}

{{- define "llm-d-storage.envoy.router" -}}
"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
stat_prefix: router
use_remote_address: true
normalize_path: true
server_header_transformation: PASS_THROUGH
stream_idle_timeout: 0s
request_timeout: 0s
{{- with .Values.envoy.drainSeconds }}
# An Envoy that is going gets no new connections, and those it has end between two answers, each before the pod does.
common_http_protocol_options:
  max_connection_duration: {{ max 1 (div (int64 .) 4) }}s
http1_safe_max_connection_duration: true
{{- end }}
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
  response_headers_to_remove: [{{ include "llm-d-storage.envoy.inVain" . }}]
  virtual_hosts:
    - name: router
      domains: ["*"]
      include_request_attempt_count: true
      # What is kept of a request for another try. A larger one gets one try.
      request_body_buffer_limit: {{ mul 16 1024 1024 }}
      routes:
        - match: {prefix: /}
          route:
            cluster: picking
            timeout: 0s
            idle_timeout: 0s
            retry_policy:
              retry_on: retriable-headers
              retriable_headers:
                - {name: {{ include "llm-d-storage.envoy.inVain" . }}, present_match: true}
              # {{ int64 .Values.envoy.retries }} tries, half a second apart on average once they have slowed down.
              num_retries: {{ int64 .Values.envoy.retries }}
              retry_back_off: {base_interval: 0.1s, max_interval: 1s}
http_filters:
  - name: envoy.filters.http.router
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
      suppress_envoy_headers: true
{{- end -}}

{{- define "llm-d-storage.envoy.picking" -}}
{{- $failOpen := eq .Values.failureMode "FailOpen" -}}
"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
stat_prefix: picking
server_header_transformation: PASS_THROUGH
stream_idle_timeout: 0s
request_timeout: 0s
# Only what Envoy itself answers comes by here: an error of vLLM's is the client's.
local_reply_config:
  mappers:
    # The connection ended under the request. It may have been the request itself, so that one more server gets it, not all.
    - filter:
        and_filter:
          filters:
            - response_flag_filter: {flags: [UC, UR]}
            - header_filter: {header: {name: x-envoy-attempt-count, string_match: {exact: "1"}, invert_match: true}}
      status_code: 503
    - filter:
        status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: picking.in_vain.min_status}}}
      headers_to_add:
        - header: {key: {{ include "llm-d-storage.envoy.inVain" . }}, value: "true"}
route_config:
  name: picking
  virtual_hosts:
    - name: picking
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
        {{- if include "llm-d-storage.epp.seesAnswers" . }}
        response_header_mode: SEND
        response_body_mode: FULL_DUPLEX_STREAMED
        response_trailer_mode: SEND
        {{- else }}
        # Answers do not go by the picker: else all that are in flight would end with it.
        response_header_mode: SKIP
        response_body_mode: NONE
        response_trailer_mode: SKIP
        {{- end }}
  - name: envoy.filters.http.router
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
      suppress_envoy_headers: true
{{- end -}}

{{/* The second step. */}}
{{- define "llm-d-storage.envoy.pickingCluster" -}}
- name: picking
  type: STATIC
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
  load_assignment:
    cluster_name: picking
    endpoints:
      - lb_endpoints:
          - endpoint:
              address:
                envoy_internal_address: {server_listener_name: picking}
{{- end -}}

{{/* The model server that the picker named. */}}
{{- define "llm-d-storage.envoy.pickedCluster" -}}
- name: picked
  type: ORIGINAL_DST
  lb_policy: CLUSTER_PROVIDED
  connect_timeout: 5s
  original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
  {{- with include "llm-d-storage.envoy.modelserverTls" . | trim }}{{ . | nindent 2 }}{{ end }}
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
{{- end -}}

{{- define "llm-d-storage.envoy.pickerCluster" -}}
- name: picker
  type: STRICT_DNS
  dns_lookup_family: V4_PREFERRED
  dns_refresh_rate: 2s
  connect_timeout: 5s
  # Of several pickers the one that leads says so to a health check, and a single one that it has seen the pool. None that
  # does is known before a body is on the way: only so can FailOpen let a POST through. Threshold 0: never try one against
  # better knowledge. That knowledge refuses requests (FailClose) or passes the picker by (FailOpen): one check that a busy
  # node was late for is not enough of it.
  # Until the first request Envoy would look once a minute only, and miss a picker that came a second after it.
  common_lb_config: {healthy_panic_threshold: {value: 0}}
  health_checks:
    - timeout: 1s
      interval: 2s
      no_traffic_interval: 2s
      unhealthy_interval: 1s
      unhealthy_threshold: {{ eq .Values.failureMode "FailOpen" | ternary 2 3 }}
      healthy_threshold: 1
      grpc_health_check: {service_name: readiness}
      transport_socket_match_criteria: {plaintext: true}
  {{- include "llm-d-storage.envoy.noLimits" . | nindent 2 }}
  # Picks are asked for with TLS; the health port has none.
  transport_socket_matches:
    - name: health
      match: {plaintext: true}
      transport_socket:
        name: envoy.transport_sockets.raw_buffer
        typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}
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
                  address: {{ include "llm-d-storage.names.pickers" . }}.{{ .Release.Namespace }}.svc
                  port_value: 9002
              health_check_config: {port_value: 9003}
{{- end -}}

{{/* Any ready model server, for failureMode FailOpen. */}}
{{- define "llm-d-storage.envoy.anyCluster" -}}
- name: any
  type: STRICT_DNS
  dns_lookup_family: V4_PREFERRED
  connect_timeout: 5s
  {{- with include "llm-d-storage.envoy.modelserverTls" . | trim }}{{ . | nindent 2 }}{{ end }}
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

{{/* TLS to the model servers, verified by the one name in their certificates; may be nothing. */}}
{{- define "llm-d-storage.envoy.modelserverTls" -}}
{{- if .Values.global.modelserverTls.secretName }}
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: {{ include "llm-d-storage.tls.serverName" . }}
    common_tls_context:
      validation_context:
        trusted_ca: {filename: {{ include "llm-d-storage.trust.files" . | fromJsonArray | first | default "/etc/ssl/certs/ca-certificates.crt" }}}
        match_typed_subject_alt_names:
          - {san_type: DNS, matcher: {exact: {{ include "llm-d-storage.tls.serverName" . }}}}
{{- end }}
{{- end -}}

{{/* How much may be in flight is the model servers' business; Envoy's defaults stop at 1024. */}}
{{- define "llm-d-storage.envoy.noLimits" -}}
circuit_breakers:
  thresholds:
    - {max_connections: 65536, max_pending_requests: 65536, max_requests: 65536, max_retries: 65536}
{{- end -}}
