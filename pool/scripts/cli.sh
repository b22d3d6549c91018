#!/bin/sh
# Copies Docker's client and its plugins (buildx, compose) for the agent.

cp /usr/local/bin/docker /opt/docker/docker
mkdir -p /opt/docker/cli-plugins
cp -r /usr/local/libexec/docker/cli-plugins/. /opt/docker/cli-plugins/
