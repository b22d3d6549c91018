#!/bin/sh
# Starts sshd for an agent that Jenkins calls. The script copies the mounted keys to where sshd reads them,
# since sshd rejects keys that others may read. Sessions get the container's variables, as with the script of
# the image itself.

install -d -m 700 -o jenkins -g jenkins /home/jenkins/.ssh
install -m 600 -o jenkins -g jenkins "$1/authorized_keys" /home/jenkins/.ssh/authorized_keys
install -m 600 "$1/host_key" /etc/ssh/bellboard_host_key
mkdir -p /run/sshd
env | grep '^[A-Za-z][A-Za-z0-9]*_[A-Za-z0-9_]*=' >> /etc/environment || :
exec /usr/sbin/sshd -D -e -h /etc/ssh/bellboard_host_key
