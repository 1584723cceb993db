#!/usr/bin/env bash
# Renews server/.sqlx, the checked form of every SQL statement, so that builds need no database; with --check it only compares.
# Makes a private PostgreSQL, applies deploy/roles.sql and the migrations, and lets the compiler ask it about each statement.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=server/.sqlx

postgres=$(dirname "$(readlink -f "$(.ci/prepare --postgres-bin)/postgres")")
psql=$postgres/psql
[ -x "$psql" ] || psql=psql
# A short path: a Unix socket's may have about 100 characters.
dir=$(mktemp -d /tmp/stead-sqlx.XXXXXX)

# PostgreSQL refuses to run as root.
# shellcheck disable=SC2016 # the inner shell expands them
as_postgres() {
  if [ "$(id -u)" != 0 ]; then (cd "$dir" && "$@")
  elif command -v runuser >/dev/null; then (cd "$dir" && runuser -u "$user" -- "$@")
  else (cd "$dir" && su -s /bin/sh "$user" -c 'exec "$0" "$@"' -- "$@"); fi
}
user=postgres
id "$user" >/dev/null 2>&1 || user=nobody
[ "$(id -u)" != 0 ] || chown "$user" "$dir"

end() {
  as_postgres "$postgres/pg_ctl" -D "$dir/data" -m immediate -s stop 2>/dev/null || true
  rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

as_postgres "$postgres/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale -N >/dev/null
as_postgres "$postgres/pg_ctl" -D "$dir/data" -s -w -l "$dir/log" -o "-k $dir -c listen_addresses='' -c fsync=off -c max_connections=40" start ||
  { cat "$dir/log" >&2; exit 1; }

# The settings that the migration runner works under, and the table that it makes first; its columns are sqlx's.
sql() { PGOPTIONS="--client-min-messages=warning ${as:-}" "$psql" -X -q -v ON_ERROR_STOP=1 -h "$dir" -U postgres "$@" >/dev/null; }
sql -d postgres -c 'create database stead'
sql -d stead --single-transaction -f - <deploy/roles.sql
as='-c role=stead_owner -c search_path=stead -c row_security=off'
sql -d stead -c 'create table _sqlx_migrations (version bigint primary key, description text not null, installed_on timestamptz not null default now(),
  success boolean not null, checksum bytea not null, execution_time bigint not null)'
for migration in server/migrations/*.up.sql; do
  whole=--single-transaction
  if head -1 "$migration" | grep -q '^-- no-transaction'; then whole=; fi
  sql -d stead ${whole:+"$whole"} -f - <"$migration"
done

# A check shares what clippy compiles for the whole workspace; to renew must work while other packages are broken.
packages=(-p stead-server)
[ "${1:-}" != --check ] || packages=(--workspace)
fresh=$dir/queries
mkdir "$fresh"
# An unchanged source is not expanded again, and nothing would be asked.
touch server/src/lib.rs server/src/main.rs
DATABASE_URL="postgres://postgres@localhost/stead?host=$dir" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" \
  cargo check -q "${packages[@]}" --all-targets

if [ "${1:-}" = --check ]; then
  diff -rq "$kept" "$fresh" >&2 || { echo "sqlx: $kept is not what the statements and migrations say now: run \`make sqlx\` and commit it." >&2; exit 1; }
  echo "sqlx: $kept is current: $(find "$kept" -name 'query-*.json' | wc -l) statements"
else
  mkdir -p "$kept"
  find "$kept" -name 'query-*.json' -delete
  cp "$fresh"/* "$kept"/
  echo "sqlx: wrote $(find "$kept" -name 'query-*.json' | wc -l) statements to $kept"
fi
