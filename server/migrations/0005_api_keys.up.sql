-- Keys by which services and people call. Operators' keys live in the platform's reserved tenant.

create table stead.api_keys (
  tenant_id uuid not null
    constraint api_keys_tenant_id_fkey references stead.tenants (id),
  id uuid not null,
  -- Several keys may act as one subject, so that one can be rotated while request ids stay bound.
  subject text collate "C" not null
    constraint api_keys_subject_check check (
      subject ~ '^(users/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|services/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$'),
  display_name text not null default ''
    constraint api_keys_display_name_check check (char_length(display_name) <= 200),
  permissions text[] collate "C" not null default '{}'
    constraint api_keys_permissions_check check (
      cardinality(permissions) <= 100 and array_position(permissions, null) is null
      and octet_length(array_to_string(permissions, ' ')) <= 8192),
  secret_hash bytea not null
    constraint api_keys_secret_hash_check check (octet_length(secret_hash) = 32),
  creator text collate "C" not null
    constraint api_keys_creator_check check (char_length(creator) between 1 and 200),
  revision bigint not null default 1
    constraint api_keys_revision_check check (revision > 0),
  create_time timestamptz not null default stead.now(),
  expire_time timestamptz,
  revoke_time timestamptz,
  constraint api_keys_pkey primary key (tenant_id, id)
) with (fillfactor = 85);

create index api_keys_create_time_idx on stead.api_keys (tenant_id, create_time, id);

alter table stead.api_keys enable row level security;
alter table stead.api_keys force row level security;
create policy tenant on stead.api_keys to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
-- The platform acts inside a tenant as stead_app only; as itself it has its own rows, and needs no context for them.
create policy platform_see on stead.api_keys for select to stead_platform
  using (tenant_id = stead.platform_tenant());
create policy platform_create on stead.api_keys for insert to stead_platform
  with check (tenant_id = stead.platform_tenant());
create policy platform_change on stead.api_keys for update to stead_platform
  using (tenant_id = stead.platform_tenant()) with check (tenant_id = stead.platform_tenant());
create policy backup on stead.api_keys for select to stead_backup using (true);

-- A secret is never replaced: a new key is made and the old one revoked.
grant select, insert on stead.api_keys to stead_app, stead_platform;
grant update (display_name, permissions, expire_time, revoke_time, revision) on stead.api_keys
  to stead_app, stead_platform;
grant select on stead.api_keys to stead_backup;

set local role stead_journal;

-- Of the secret only that it changed, never its hash.
create function stead_journal.api_keys() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.api_keys;
  image jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
begin
  if tg_relid <> 'stead.api_keys'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  -- new.creator is the actor of the entry of creation.
  if tg_op = 'UPDATE' then
    if new.subject <> old.subject then
      o := o || jsonb_build_object('subject', old.subject); n := n || jsonb_build_object('subject', new.subject);
    end if;
    if new.display_name <> old.display_name then
      o := o || jsonb_build_object('display_name', old.display_name);
      n := n || jsonb_build_object('display_name', new.display_name);
    end if;
    if new.permissions <> old.permissions then
      o := o || jsonb_build_object('permissions', old.permissions);
      n := n || jsonb_build_object('permissions', new.permissions);
    end if;
    if new.secret_hash <> old.secret_hash then
      o := o || jsonb_build_object('secret', 'set'); n := n || jsonb_build_object('secret', 'changed');
    end if;
    if new.expire_time is distinct from old.expire_time then
      o := o || jsonb_build_object('expire_time', stead_journal.utc(old.expire_time));
      n := n || jsonb_build_object('expire_time', stead_journal.utc(new.expire_time));
    end if;
    if new.revoke_time is distinct from old.revoke_time then
      o := o || jsonb_build_object('revoke_time', stead_journal.utc(old.revoke_time));
      n := n || jsonb_build_object('revoke_time', stead_journal.utc(new.revoke_time));
    end if;
    if n <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.tenant_id, 'apiKeys', new.id, new.revision, 'update', o, n, null);
    end if;
    return null;
  end if;

  if tg_op = 'DELETE' then
    whole := old;
  else
    whole := new;
  end if;
  image := jsonb_build_object(
    'subject', whole.subject, 'display_name', whole.display_name, 'permissions', whole.permissions,
    'expire_time', stead_journal.utc(whole.expire_time), 'revoke_time', stead_journal.utc(whole.revoke_time));
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'apiKeys', new.id, new.revision, 'create', null, image, null);
  else
    perform stead_journal.write(old.tenant_id, 'apiKeys', old.id, old.revision, 'purge', image, null, null);
  end if;
  return null;
end
$$;
grant execute on function stead_journal.api_keys() to stead_owner;

set local role stead_owner;

create trigger journal after insert or update or delete on stead.api_keys
  for each row execute function stead_journal.api_keys();
