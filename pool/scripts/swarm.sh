#!/bin/sh
# Starts a Swarm client. Jenkins itself has the client that fits its plugin; a Jenkins that is
# away for a while is waited for. Nothing is put into this script: what differs comes as
# arguments and as an environment variable.

jar=/home/jenkins/.jenkins/swarm-client.jar
until curl --fail --silent --show-error --location --connect-timeout 10 --max-time 120 --output "$jar.part" "$SWARM_CLIENT_URL"; do
  sleep 10
done
mv "$jar.part" "$jar"
exec java -jar "$jar" "$@"
