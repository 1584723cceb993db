-- Sessions: what a user calls with who signed in by password.

create table stead.sessions (
  tenant_id uuid not null,
  id uuid not null,
  user_id uuid not null,
  secret_hash bytea not null
    constraint sessions_secret_hash_check check (octet_length(secret_hash) = 32),
  -- Where the sign-in came from: its address, and what counts as one and the same place (of IPv6 the /64).
  peer_address text collate "C"
    constraint sessions_peer_address_check check (char_length(peer_address) <= 100),
  peer_network text collate "C"
    constraint sessions_peer_network_check check (char_length(peer_network) <= 100),
  user_agent text not null default ''
    constraint sessions_user_agent_check check (char_length(user_agent) <= 500),
  revision bigint not null default 1
    constraint sessions_revision_check check (revision > 0),
  create_time timestamptz not null default stead.now(),
  -- Moved by each extension, never past the other.
  expire_time timestamptz not null,
  absolute_expire_time timestamptz not null,
  revoke_time timestamptz,
  constraint sessions_pkey primary key (tenant_id, id),
  constraint sessions_user_id_fkey foreign key (tenant_id, user_id)
    references stead.users (tenant_id, id) on delete cascade,
  constraint sessions_expire_time_check check (expire_time <= absolute_expire_time),
  -- Operators have keys; the reserved tenant has no slug to sign in by.
  constraint sessions_tenant_id_check check (tenant_id <> stead.platform_tenant())
) with (fillfactor = 85);

create index sessions_create_time_idx on stead.sessions (tenant_id, create_time, id);
create index sessions_user_idx on stead.sessions (tenant_id, user_id, create_time, id);
-- Whether a user has signed in from a place before.
create index sessions_network_idx on stead.sessions (tenant_id, user_id, peer_network, create_time);
-- What is over, for the purge.
create index sessions_expire_time_idx on stead.sessions (expire_time);

alter table stead.sessions enable row level security;
alter table stead.sessions force row level security;
create policy tenant on stead.sessions to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.sessions for select to stead_backup using (true);
-- A doomed tenant's sessions go with its users, by the foreign key.
create policy purge_see on stead.sessions for select to stead_platform
  using (expire_time < (select stead.now()) - interval '30 days');
create policy purge on stead.sessions for delete to stead_platform
  using (expire_time < (select stead.now()) - interval '30 days');

-- A secret is never replaced, and where a session came from never changes.
grant select, insert on stead.sessions to stead_app;
grant update (expire_time, revoke_time, revision) on stead.sessions to stead_app;
grant select (tenant_id, id, expire_time), delete on stead.sessions to stead_platform;
grant select on stead.sessions to stead_backup;

-- A password that is set or taken away ends the sessions that the one before it opened. A trigger, because it looks only
-- after the user's row is locked: a sign-in that held that lock before has its session by then, and loses it too. The same
-- password hashed anew keeps its update_time, and ends nothing.
create function stead.end_sessions() returns trigger
  language plpgsql
as $$
begin
  update stead.sessions s set revoke_time = new.update_time, revision = s.revision + 1
  where s.tenant_id = new.tenant_id and s.user_id = new.user_id and s.revoke_time is null
    and s.expire_time > new.update_time;
  return null;
end
$$;
create trigger end_sessions after update on stead.user_credentials
  for each row when (new.update_time <> old.update_time) execute function stead.end_sessions();

set local role stead_journal;

-- Who somebody is shows in where and with what they sign in, so that goes into `personal`.
create function stead_journal.sessions() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.sessions;
  image jsonb;
  person jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
begin
  if tg_relid <> 'stead.sessions'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  -- new.secret_hash, new.peer_address and new.user_agent never change; new.peer_network follows from the address.
  if tg_op = 'UPDATE' then
    if new.expire_time <> old.expire_time then
      o := o || jsonb_build_object('expire_time', stead_journal.utc(old.expire_time));
      n := n || jsonb_build_object('expire_time', stead_journal.utc(new.expire_time));
    end if;
    if new.absolute_expire_time <> old.absolute_expire_time then
      o := o || jsonb_build_object('absolute_expire_time', stead_journal.utc(old.absolute_expire_time));
      n := n || jsonb_build_object('absolute_expire_time', stead_journal.utc(new.absolute_expire_time));
    end if;
    if new.revoke_time is distinct from old.revoke_time then
      o := o || jsonb_build_object('revoke_time', stead_journal.utc(old.revoke_time));
      n := n || jsonb_build_object('revoke_time', stead_journal.utc(new.revoke_time));
    end if;
    if n <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.tenant_id, 'sessions', new.id, new.revision, 'update', o, n, null);
    end if;
    return null;
  end if;

  if tg_op = 'DELETE' then
    whole := old;
  else
    whole := new;
  end if;
  image := jsonb_build_object(
    'user', 'users/' || whole.user_id, 'expire_time', stead_journal.utc(whole.expire_time),
    'absolute_expire_time', stead_journal.utc(whole.absolute_expire_time),
    'revoke_time', stead_journal.utc(whole.revoke_time));
  person := jsonb_build_object('peer_address', whole.peer_address, 'user_agent', whole.user_agent);
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'sessions', new.id, new.revision, 'create', null, image,
      jsonb_build_object('new', person));
  else
    perform stead_journal.write(old.tenant_id, 'sessions', old.id, old.revision, 'purge', image, null,
      jsonb_build_object('old', person));
  end if;
  return null;
end
$$;
grant execute on function stead_journal.sessions() to stead_owner;

-- As before, but that a sign-in is told once, by the session that it made.
create or replace function stead_journal.users() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.users;
  image jsonb;
  person jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
  po jsonb := '{}';
  pn jsonb := '{}';
begin
  if tg_relid <> 'stead.users'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  -- new.email_key and new.username_key follow from email and username; new.last_login_time is the time of the newest
  -- session's entry.
  if tg_op = 'UPDATE' and (old.delete_time is null) = (new.delete_time is null) then
    if new.email <> old.email then
      po := po || jsonb_build_object('email', old.email); pn := pn || jsonb_build_object('email', new.email);
    end if;
    if new.username is distinct from old.username then
      po := po || jsonb_build_object('username', old.username);
      pn := pn || jsonb_build_object('username', new.username);
    end if;
    if new.display_name <> old.display_name then
      po := po || jsonb_build_object('display_name', old.display_name);
      pn := pn || jsonb_build_object('display_name', new.display_name);
    end if;
    if new.profile <> old.profile then
      po := po || jsonb_build_object('profile', old.profile); pn := pn || jsonb_build_object('profile', new.profile);
    end if;
    if new.roles <> old.roles then
      o := o || jsonb_build_object('roles', old.roles); n := n || jsonb_build_object('roles', new.roles);
    end if;
    if new.state <> old.state then
      o := o || jsonb_build_object('state', old.state); n := n || jsonb_build_object('state', new.state);
    end if;
    if n <> '{}' or pn <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.tenant_id, 'users', new.id, new.revision, 'update', o, n,
        case when pn <> '{}' then jsonb_build_object('old', po, 'new', pn) end);
    end if;
    return null;
  end if;

  -- A row that appears or goes is kept whole: as it was before a delete, as it is after anything else.
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and new.delete_time is not null then
    whole := old;
  else
    whole := new;
  end if;
  image := jsonb_build_object(
    'roles', whole.roles, 'state', whole.state, 'last_login_time', stead_journal.utc(whole.last_login_time));
  person := jsonb_build_object(
    'email', whole.email, 'username', whole.username, 'display_name', whole.display_name, 'profile', whole.profile);
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'users', new.id, new.revision, 'create', null, image,
      jsonb_build_object('new', person));
  elsif tg_op = 'DELETE' then
    -- What was marked deleted has its image in the entry of that day.
    if old.delete_time is null then
      perform stead_journal.write(old.tenant_id, 'users', old.id, old.revision, 'purge', image, null,
        jsonb_build_object('old', person));
    else
      perform stead_journal.write(old.tenant_id, 'users', old.id, old.revision, 'purge', null, null, null);
    end if;
  elsif new.delete_time is not null then
    perform stead_journal.write(new.tenant_id, 'users', new.id, new.revision, 'delete', image, null,
      jsonb_build_object('old', person));
  else
    perform stead_journal.write(new.tenant_id, 'users', new.id, new.revision, 'undelete', null, image,
      jsonb_build_object('new', person));
  end if;
  return null;
end
$$;

-- That a password was set, changed, hashed anew or taken away, never what it or its hash is. Filed under its user.
create or replace function stead_journal.user_credentials() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before text := case when tg_op <> 'INSERT' then old.password_hash end;
  after text := case when tg_op <> 'DELETE' then new.password_hash end;
begin
  if tg_relid <> 'stead.user_credentials'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if after is distinct from before then
    perform stead_journal.write(coalesce(new.tenant_id, old.tenant_id), 'users', coalesce(new.user_id, old.user_id),
      null, 'update',
      jsonb_build_object('password', case when before is not null then 'set' end),
      jsonb_build_object('password', case
        when after is null then null
        when before is null then 'set'
        when new.update_time = old.update_time then 'rehashed'
        else 'changed' end), null);
  end if;
  return null;
end
$$;

set local role stead_owner;

create trigger journal after insert or update or delete on stead.sessions
  for each row execute function stead_journal.sessions();
