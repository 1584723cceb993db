-- Tenants. The one table whose rows are not inside a tenant but are one.

create table stead.tenants (
  id uuid not null,
  slug text collate "C" not null
    constraint tenants_slug_check check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  display_name text not null
    constraint tenants_display_name_check check (char_length(display_name) between 1 and 200),
  plan text collate "C" not null default 'standard'
    constraint tenants_plan_check check (plan ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  state text collate "C" not null default 'active'
    constraint tenants_state_check check (state in ('active', 'suspended')),
  settings jsonb not null default '{}'
    constraint tenants_settings_check check (stead.struct_valid(settings)),
  require_etag boolean not null default false,
  revision bigint not null default 1
    constraint tenants_revision_check check (revision > 0),
  create_time timestamptz not null default stead.now(),
  update_time timestamptz not null default stead.now(),
  delete_time timestamptz,
  constraint tenants_pkey primary key (id),
  -- The reserved row can be neither renamed, suspended nor deleted, by nobody at all.
  constraint tenants_platform_check check (
    id <> stead.platform_tenant() or (slug = 'platform' and state = 'active' and delete_time is null))
) with (fillfactor = 85);

-- Partial, although it could be whole: an update of a column in a full unique index waits for every insert that
-- holds a foreign key's lock on the tenant.
create unique index tenants_slug_key on stead.tenants (slug) where delete_time is null;
create index tenants_create_time_idx on stead.tenants (create_time, id);
create index tenants_slug_idx on stead.tenants (slug, id);

-- Before row security is forced, while the owner may still write without ceremony.
insert into stead.tenants (id, slug, display_name) values (stead.platform_tenant(), 'platform', 'Platform');

alter table stead.tenants enable row level security;
alter table stead.tenants force row level security;
create policy tenant on stead.tenants for select to stead_app
  using (id = (select stead.current_tenant()));
-- The platform sees every tenant but its own, and needs no context for it.
create policy platform_see on stead.tenants for select to stead_platform
  using (id <> stead.platform_tenant());
create policy platform_create on stead.tenants for insert to stead_platform
  with check (id <> stead.platform_tenant());
create policy platform_change on stead.tenants for update to stead_platform
  using (id <> stead.platform_tenant()) with check (id <> stead.platform_tenant());
-- The owner finds tenants (find_tenant, a backfill's loop) and changes the one whose context it is in.
create policy owner_see on stead.tenants for select to stead_owner using (true);
create policy owner_change on stead.tenants for update to stead_owner
  using (id = (select stead.current_tenant())) with check (id = (select stead.current_tenant()));
create policy backup on stead.tenants for select to stead_backup using (true);

grant select on stead.tenants to stead_app, stead_platform, stead_backup;
grant insert on stead.tenants to stead_platform;
grant update (slug, display_name, plan, state, settings, require_etag, revision, update_time, delete_time)
  on stead.tenants to stead_platform;

-- Login and look-up know a slug and no tenant yet: the only way past the fence, and it gives an id and a state.
-- The runner switches row security off to turn silent policies into errors; checking this body meets one.
set local row_security = on;
create function stead.find_tenant(slug text) returns table (id uuid, state text)
  language sql stable security definer parallel safe
begin atomic
  select t.id, t.state
  from stead.tenants t
  where t.slug = find_tenant.slug and t.delete_time is null and t.id <> stead.platform_tenant();
end;
set local row_security = off;
grant execute on function stead.find_tenant(text) to stead_app, stead_platform;

set local role stead_journal;

create function stead_journal.tenants() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.tenants;
  image jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
begin
  if tg_relid <> 'stead.tenants'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  if tg_op = 'UPDATE' and (old.delete_time is null) = (new.delete_time is null) then
    if new.slug <> old.slug then
      o := o || jsonb_build_object('slug', old.slug); n := n || jsonb_build_object('slug', new.slug);
    end if;
    if new.display_name <> old.display_name then
      o := o || jsonb_build_object('display_name', old.display_name);
      n := n || jsonb_build_object('display_name', new.display_name);
    end if;
    if new.plan <> old.plan then
      o := o || jsonb_build_object('plan', old.plan); n := n || jsonb_build_object('plan', new.plan);
    end if;
    if new.state <> old.state then
      o := o || jsonb_build_object('state', old.state); n := n || jsonb_build_object('state', new.state);
    end if;
    if new.settings <> old.settings then
      o := o || jsonb_build_object('settings', old.settings); n := n || jsonb_build_object('settings', new.settings);
    end if;
    if new.require_etag <> old.require_etag then
      o := o || jsonb_build_object('require_etag', old.require_etag);
      n := n || jsonb_build_object('require_etag', new.require_etag);
    end if;
    if n <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.id, 'tenants', new.id, new.revision, 'update', o, n, null);
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
    'slug', whole.slug, 'display_name', whole.display_name, 'plan', whole.plan, 'state', whole.state,
    'settings', whole.settings, 'require_etag', whole.require_etag);
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.id, 'tenants', new.id, new.revision, 'create', null, image, null);
  elsif tg_op = 'DELETE' then
    -- What was marked deleted has its image in the entry of that day.
    perform stead_journal.write(old.id, 'tenants', old.id, old.revision, 'purge',
      case when old.delete_time is null then image end, null, null);
  elsif new.delete_time is not null then
    perform stead_journal.write(new.id, 'tenants', new.id, new.revision, 'delete', image, null, null);
  else
    perform stead_journal.write(new.id, 'tenants', new.id, new.revision, 'undelete', null, image, null);
  end if;
  return null;
end
$$;
grant execute on function stead_journal.tenants() to stead_owner;

set local role stead_owner;

create trigger journal after insert or update or delete on stead.tenants
  for each row execute function stead_journal.tenants();
