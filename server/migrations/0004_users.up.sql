-- People of a tenant, and apart from them what proves who they are.

create table stead.users (
  tenant_id uuid not null
    constraint users_tenant_id_fkey references stead.tenants (id),
  id uuid not null,
  email text not null
    constraint users_email_check check (char_length(email) between 1 and 254),
  -- Normal forms made by the service: an index on lower(email) serves nobody under row security, since lower()
  -- is not leakproof. They may be longer than what they were made of.
  email_key text collate "C" not null
    constraint users_email_key_check check (char_length(email_key) between 1 and 1000),
  username text
    constraint users_username_check check (char_length(username) between 1 and 64),
  username_key text collate "C"
    constraint users_username_key_check check (char_length(username_key) between 1 and 300),
  display_name text not null default ''
    constraint users_display_name_check check (char_length(display_name) <= 200),
  roles text[] collate "C" not null default '{}'
    constraint users_roles_check
    check (roles <@ array['owner', 'admin', 'editor', 'viewer'] and cardinality(roles) <= 4),
  profile jsonb not null default '{}'
    constraint users_profile_check check (stead.struct_valid(profile)),
  state text collate "C" not null default 'active'
    constraint users_state_check check (state in ('active', 'disabled')),
  last_login_time timestamptz,
  revision bigint not null default 1
    constraint users_revision_check check (revision > 0),
  create_time timestamptz not null default stead.now(),
  update_time timestamptz not null default stead.now(),
  delete_time timestamptz,
  constraint users_pkey primary key (tenant_id, id),
  constraint users_username_pair_check check ((username is null) = (username_key is null))
) with (fillfactor = 85);

create unique index users_email_key on stead.users (tenant_id, email_key) where delete_time is null;
create unique index users_username_key on stead.users (tenant_id, username_key) where delete_time is null;
create index users_create_time_idx on stead.users (tenant_id, create_time, id);
create index users_email_idx on stead.users (tenant_id, email_key, id);
-- The last owner stays: whoever takes an owner away locks these rows first.
create index users_owner_idx on stead.users (tenant_id, id)
  where 'owner' = any (roles) and state = 'active' and delete_time is null;

create table stead.user_credentials (
  tenant_id uuid not null,
  user_id uuid not null,
  password_hash text collate "C" not null
    constraint user_credentials_password_hash_check
    check (password_hash like '$argon2id$%' and octet_length(password_hash) <= 512),
  update_time timestamptz not null default stead.now(),
  constraint user_credentials_pkey primary key (tenant_id, user_id),
  constraint user_credentials_user_id_fkey foreign key (tenant_id, user_id)
    references stead.users (tenant_id, id) on delete cascade
) with (fillfactor = 85);

alter table stead.users enable row level security;
alter table stead.users force row level security;
create policy tenant on stead.users to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.users for select to stead_backup using (true);

alter table stead.user_credentials enable row level security;
alter table stead.user_credentials force row level security;
create policy tenant on stead.user_credentials to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.user_credentials for select to stead_backup using (true);

-- No delete: deleting is a mark, and rows go only by purge.
grant select, insert on stead.users to stead_app;
grant update (email, email_key, username, username_key, display_name, roles, profile, state, last_login_time,
  revision, update_time, delete_time) on stead.users to stead_app;
grant select, insert on stead.user_credentials to stead_app;
grant update (password_hash, update_time) on stead.user_credentials to stead_app;
grant select on stead.users, stead.user_credentials to stead_backup;

set local role stead_journal;

-- What tells who somebody is goes into `personal`, apart from the rest.
create function stead_journal.users() returns trigger
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

  -- new.email_key and new.username_key follow from email and username.
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
    if new.last_login_time is distinct from old.last_login_time then
      o := o || jsonb_build_object('last_login_time', stead_journal.utc(old.last_login_time));
      n := n || jsonb_build_object('last_login_time', stead_journal.utc(new.last_login_time));
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

-- That a password was set, changed or taken away, never what it or its hash is. Filed under its user.
create function stead_journal.user_credentials() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_relid <> 'stead.user_credentials'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'users', new.user_id, null, 'update',
      '{"password": null}', '{"password": "set"}', null);
  elsif tg_op = 'DELETE' then
    perform stead_journal.write(old.tenant_id, 'users', old.user_id, null, 'update',
      '{"password": "set"}', '{"password": null}', null);
  elsif new.password_hash <> old.password_hash then
    perform stead_journal.write(new.tenant_id, 'users', new.user_id, null, 'update',
      '{"password": "set"}', '{"password": "changed"}', null);
  end if;
  return null;
end
$$;
grant execute on function stead_journal.users(), stead_journal.user_credentials() to stead_owner;

set local role stead_owner;

create trigger journal after insert or update or delete on stead.users
  for each row execute function stead_journal.users();
create trigger journal after insert or update or delete on stead.user_credentials
  for each row execute function stead_journal.user_credentials();
