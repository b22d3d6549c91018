{{- define "bellboard.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "bellboard.instance" -}}
{{- .Values.settings.INSTANCE | default (include "bellboard.name" .) }}
{{- end }}

{{- define "bellboard.account" -}}
{{- .Values.serviceAccount.name | default (include "bellboard.name" .) }}
{{- end }}

{{- /* The labels by which policies select every pod of the release. */}}
{{- define "bellboard.selector" -}}
app.kubernetes.io/name: bellboard
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* The labels of the daemon's pods alone, of which the Service and the budget know no others. */}}
{{- define "bellboard.daemon" -}}
{{ include "bellboard.selector" . }}
app.kubernetes.io/component: daemon
{{- end }}

{{- /* One variable. YAML's numbers come as floats: toJson writes 1000000, where quote writes 1e+06. */}}
{{- define "bellboard.variable" -}}
{{- if not (kindIs "invalid" .value) }}
  {{ .name }}: {{ kindIs "string" .value | ternary .value (toJson .value) | quote }}
{{- end }}
{{- end }}

{{- define "bellboard.metadata" -}}
labels:
  app.kubernetes.io/name: bellboard
  app.kubernetes.io/instance: {{ .Release.Name | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* A pod with the settings: of the daemon, the doctor or the cleanup. root, args, and of the daemon more. */}}
{{- define "bellboard.pod" -}}
{{- $ := .root -}}
{{- $name := include "bellboard.name" $ -}}
serviceAccountName: {{ include "bellboard.account" $ }}
automountServiceAccountToken: true
# Without this, Kubernetes adds variables that look like settings.
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext: {{- toYaml $.Values.podSecurityContext | nindent 2 }}
containers:
- name: bellboard
  image: {{ $.Values.image.repository }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}
  imagePullPolicy: {{ $.Values.image.pullPolicy }}
  args: {{ toJson .args }}
  envFrom:
  - configMapRef: {name: {{ $name }}}
  {{- range $team, $_ := $.Values.teams }}
  - configMapRef: {name: {{ $name }}-team-{{ $team }}}
  {{- end }}
  env:
  - {name: BELLBOARD_JENKINS_TOKEN_FILE, value: /run/secrets/jenkins/{{ $.Values.jenkinsToken.key }}}
  {{- if $.Values.jenkinsCA.configMap }}
  - {name: BELLBOARD_JENKINS_CA_FILE, value: /etc/bellboard/ca/{{ $.Values.jenkinsCA.key }}}
  {{- end }}
  {{- $memory := dig "limits" "memory" "" $.Values.resources | toString }}
  {{- range $unit, $mebibytes := dict "Mi" 1 "Gi" 1024 }}
  {{- if hasSuffix $unit $memory }}
  # A tenth below the limit: Go collects garbage before Kubernetes ends the process.
  - {name: GOMEMLIMIT, value: {{ mulf (trimSuffix $unit $memory | float64) $mebibytes 0.9 | int }}MiB}
  {{- end }}
  {{- end }}
  {{- with $.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .more }}
  {{- . | nindent 2 }}
  {{- end }}
  resources: {{- toYaml $.Values.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  volumeMounts:
  # Whole directories: a subPath keeps the old token after a rotation.
  - {name: jenkins-token, mountPath: /run/secrets/jenkins, readOnly: true}
  {{- if $.Values.jenkinsCA.configMap }}
  - {name: jenkins-ca, mountPath: /etc/bellboard/ca, readOnly: true}
  {{- end }}
  {{- with $.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
- name: jenkins-token
  secret: {secretName: {{ $.Values.jenkinsToken.secret }}, defaultMode: 0440}
{{- with $.Values.jenkinsCA.configMap }}
- name: jenkins-ca
  configMap: {name: {{ . }}}
{{- end }}
{{- with $.Values.extraVolumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}
