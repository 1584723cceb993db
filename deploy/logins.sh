#!/bin/sh
# Runs once, after roles.sql, when the database is made: makes the role that deploys and gives the login roles their passwords.
set -eu
sql() { psql -X -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" "$@"; }

# It takes stead_owner by SET ROLE and inherits nothing.
sql -c 'create role stead_deploy login noinherit' -c 'grant stead_owner to stead_deploy'
for role in stead_app stead_platform stead_deploy; do
  # psql reads the file itself and quotes what it read: the password stands on no command line.
  sql <<SQL
\\set password \`cat /run/secrets/$role.password\`
alter role $role password :'password';
SQL
done
