#!/bin/sh
# Makes deploy/secrets for compose.yaml: passwords, the connection URLs that hold them, and the key that seals tokens.
# Refuses to replace what is there: the database and every sealed token depend on it.
set -eu
cd "$(dirname "$0")"
if [ -e secrets ]; then
  echo "deploy/secrets exists already; move it away first if you mean to start over with a new database." >&2
  exit 1
fi
umask 077
mkdir secrets
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
for role in postgres stead_app stead_platform stead_deploy redis; do random >"secrets/$role.password"; done
url() { printf 'postgres://%s:%s@postgres:5432/stead' "$1" "$(cat "secrets/$1.password")"; }
url stead_app >secrets/app.url
url stead_platform >secrets/platform.url
url stead_deploy >secrets/owner.url
printf 'redis://:%s@redis:6379/0' "$(cat secrets/redis.password)" >secrets/redis.url
# A cache: nothing is kept on disk, and what was used longest ago goes when the memory is full.
cat >secrets/redis.conf <<CONF
requirepass $(cat secrets/redis.password)
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
CONF
printf 'k1:%s' "$(head -c 32 /dev/urandom | base64 | tr -d '\n')" >secrets/secret_keys
# Compose hands each file over with its own mode, and the containers' users differ; the folder stays closed.
chmod 444 secrets/*
echo "made deploy/secrets: keep it out of backups that others read, and keep a copy where you keep secrets."
