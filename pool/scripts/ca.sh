#!/bin/sh
# Makes two files of the certificates in a ConfigMap (the folder $1, the name $3) and of those that the agent's
# image trusts, in the folder $2: a trust store for every JVM, and a bundle in PEM for all other programs. The
# image's JVM has keytool, and its trust store has the usual password. Each run of keytool takes half a second,
# and a ConfigMap may have a company's whole bundle. So the script adds only certificates that are new.

fail() {
  echo "bellboard: $*" >&2
  exit 1
}

certificates() { # one in a line
  inside='' cr="$(printf '\r')"
  while read -r line || [ -n "$line" ]; do
    line="${line%"$cr"}"
    case "$line" in
    "-----BEGIN CERTIFICATE-----") text='' inside=yes ;;
    "-----END CERTIFICATE-----")
      [ -z "$inside" ] || echo "$text"
      inside=''
      ;;
    *) [ -z "$inside" ] || text="$text$line" ;;
    esac
  done
}

keytool="$(command -v "${JAVA_HOME:+$JAVA_HOME/bin/}keytool")" || fail "the agent's image has no keytool, which adds authorities to its JVM"
keytool="$(readlink -f "$keytool")"
cat "${keytool%/bin/keytool}/lib/security/cacerts" >"$2/truststore"
"$keytool" -list -rfc -keystore "$2/truststore" -storepass changeit >"$2/jvm.pem"
known="$(certificates <"$2/jvm.pem")"

found=''
: >"$2/given.pem"
for file in "$1"/*; do
  key="${file##*/}" number=0
  certificates <"$file" >"$2/given"
  while read -r one; do
    found=yes number="$((number + 1))"
    case "$known" in *"$one"*) continue ;; esac
    known="$known $one"
    printf '%s\n' "-----BEGIN CERTIFICATE-----" "$one" "-----END CERTIFICATE-----" |
      "$keytool" -importcert -noprompt -alias "bellboard-$key-$number" -keystore "$2/truststore" -storepass changeit ||
      fail "the JVM cannot read certificate $number under the key $key of the ConfigMap $3 (AGENT_CA_CONFIGMAP)"
  done <"$2/given"
  { cat "$file" && echo; } >>"$2/given.pem" # the last line may have no end
done
[ -n "$found" ] || fail "the ConfigMap $3 (AGENT_CA_CONFIGMAP) has no certificate in PEM (-----BEGIN CERTIFICATE-----)"

bundle="$2/jvm.pem"
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
  if [ -s "$file" ]; then
    bundle="$file"
    break
  fi
done
cat "$bundle" "$2/given.pem" >"$2/bundle.pem"
