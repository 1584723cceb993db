-- The roles, schemas and extensions of one Stead database.
--
-- An administrator runs this once in each database, and again whenever in doubt: what already stands is left
-- alone, so an operator's own tuning survives. It is plain SQL without psql commands, fit for any driver in one
-- batch. A superuser may run it, and so may a managed host's administrator who has CREATEROLE and may create
-- schemas and extensions in the database.
--
-- Roles belong to the whole cluster and migrations run per database, possibly several at once; that is why roles
-- are made here and migrations only grant.
--
-- After it: give the login roles a way in (a password, a certificate, an entry in pg_hba.conf), and make the role
-- that deploys a member of the owner:  grant stead_owner to my_deployer;

do $roles$
declare
  wanted record;
  attempt integer := 0;
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'database % has encoding %: Stead counts characters in UTF8; create the database with encoding UTF8',
      current_database(), current_setting('server_encoding');
  end if;

  -- Two databases of one cluster may run this at the same time and meet in the shared catalogues. The loser's
  -- work is undone and looked at again, by which time it usually finds nothing left to do.
  loop
    attempt := attempt + 1;
    begin
      -- NOINHERIT everywhere: row security applies a policy to whoever inherits its role, so a member must take
      -- the role on purpose, by SET ROLE, to come under it.
      for wanted in
        select * from (values
          ('stead_owner',    'nologin'),  -- owns schema and tables; migrations take this role
          ('stead_journal',  'nologin'),  -- owns the functions that write the journal
          ('stead_search',   'nologin'),  -- owns the functions that search products
          ('stead_app',      'login'),    -- the service, always inside one tenant
          ('stead_platform', 'login'),    -- tenants' life cycle, purge, upkeep of the journal
          ('stead_backup',   'login')     -- reads everything, for pg_dump --enable-row-security
        ) as v (name, login)
        where not exists (select from pg_catalog.pg_roles r where r.rolname = v.name)
      loop
        execute format('create role %I %s noinherit', wanted.name, wanted.login);
      end loop;

      -- The owner makes the definer functions in the name of their roles.
      for wanted in
        select v.name from (values ('stead_journal'), ('stead_search')) as v (name)
        where not exists (
          select from pg_catalog.pg_auth_members m
          where m.roleid = v.name::regrole and m.member = 'stead_owner'::regrole)
      loop
        execute format('grant %I to stead_owner', wanted.name);
      end loop;

      -- A superuser may take any role; another administrator needs to be a member of those it acts for below.
      for wanted in
        select v.name from (values ('stead_owner'), ('stead_journal'), ('stead_search')) as v (name)
        where not pg_has_role(current_user, v.name,
          case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end)
      loop
        execute format('grant %I to %I', wanted.name, current_user);
      end loop;

      -- Only where a role has no value of its own. pg_dump lifts such limits itself, so backup needs none.
      -- The service stops its statements by itself when their calls are over. These bounds are for when it cannot:
      -- the times lie beyond STEAD_MAXIMUM_DEADLINE, and a connection whose other end is gone is noticed while a
      -- statement runs or waits for a lock.
      for wanted in
        select * from (values
          ('stead_app',      'statement_timeout',                   '90s'),
          ('stead_app',      'lock_timeout',                        '75s'),
          ('stead_app',      'client_connection_check_interval',    '2s'),
          ('stead_app',      'idle_in_transaction_session_timeout', '15s'),
          ('stead_app',      'jit',                                 'off'),  -- costs more than short statements take
          ('stead_platform', 'statement_timeout',                   '90s'),
          ('stead_platform', 'lock_timeout',                        '75s'),
          ('stead_platform', 'client_connection_check_interval',    '2s'),
          ('stead_platform', 'idle_in_transaction_session_timeout', '15s'),
          ('stead_platform', 'jit',                                 'off')
        ) as v (name, setting, value)
        where not exists (
          select from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) as c (entry)
          where s.setrole = v.name::regrole and s.setdatabase = 0 and split_part(c.entry, '=', 1) = v.setting)
      loop
        execute format('alter role %I set %I = %L', wanted.name, wanted.setting, wanted.value);
      end loop;
      exit;
    exception when duplicate_object or unique_violation or internal_error or deadlock_detected then
      -- internal_error is how PostgreSQL reports "tuple concurrently updated".
      if attempt >= 50 then
        raise;
      end if;
      perform pg_sleep(0.02 * least(attempt, 10));
    end;
  end loop;

  -- A hardened database takes CONNECT from PUBLIC.
  for wanted in
    select v.name from (values ('stead_app'), ('stead_platform'), ('stead_backup')) as v (name)
    where not has_database_privilege(v.name, current_database(), 'connect')
  loop
    execute format('grant connect on database %I to %I', current_database(), wanted.name);
  end loop;
end
$roles$;

-- Each definer role has a schema of its own: a restore by somebody who is no superuser sets a function's owner
-- again, and that takes CREATE on the function's schema, which a role has without a grant only on its own.
do $schemas$
declare
  wanted record;
  caller text := current_setting('role');
begin
  for wanted in
    select * from (values
      ('stead', 'stead_owner'), ('stead_journal', 'stead_journal'), ('stead_search', 'stead_search')
    ) as v (name, owner)
    where not exists (select from pg_catalog.pg_namespace n where n.nspname = v.name)
  loop
    execute format('create schema %I authorization %I', wanted.name, wanted.owner);
  end loop;

  -- PUBLIC may execute every new function by default, and that default is global: revoked IN SCHEMA it stays.
  -- A trigger function left executable can be put on a temporary table and made to forge journal entries.
  for wanted in
    select v.name from (values ('stead_owner'), ('stead_journal'), ('stead_search')) as v (name)
    where not exists (
      select from pg_catalog.pg_default_acl d
      where d.defaclrole = v.name::regrole and d.defaclnamespace = 0 and d.defaclobjtype = 'f')
  loop
    perform set_config('role', wanted.name, true);
    execute 'alter default privileges revoke execute on functions from public';
    perform set_config('role', caller, true);
  end loop;

  perform set_config('role', 'stead_owner', true);
  grant usage on schema stead to stead_app, stead_platform, stead_backup, stead_journal, stead_search;
  -- Whatever is added later can be read by a backup; migrations add the policy that shows it the rows.
  alter default privileges in schema stead grant select on tables to stead_backup;
  alter default privileges in schema stead grant select on sequences to stead_backup;
  perform set_config('role', 'stead_journal', true);
  grant usage on schema stead_journal to stead_owner, stead_app, stead_platform, stead_backup;
  perform set_config('role', 'stead_search', true);
  grant usage on schema stead_search to stead_owner, stead_app, stead_platform, stead_backup;
  perform set_config('role', caller, true);
end
$schemas$;

-- Extensions stay the administrator's; this one is trusted, so CREATE on the database is enough.
do $extensions$
begin
  if to_regnamespace('stead_ext') is null then
    create schema stead_ext;
  end if;
  if not exists (select from pg_catalog.pg_extension where extname = 'fuzzystrmatch') then
    create extension fuzzystrmatch schema stead_ext;
  end if;
  if not has_schema_privilege('stead_search', 'stead_ext', 'usage') then
    grant usage on schema stead_ext to stead_owner, stead_app, stead_platform, stead_backup, stead_search;
  end if;
end
$extensions$;
