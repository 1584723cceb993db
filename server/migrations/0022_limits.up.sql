-- What a tenant may use: limits of its own over those of its plan, and how much it stores, counted by every write.

-- Null: the plan's.
alter table stead.tenants
  add column limit_rate_per_second integer
    constraint tenants_limit_rate_per_second_check check (limit_rate_per_second between 1 and 1000000),
  add column limit_burst integer
    constraint tenants_limit_burst_check check (limit_burst between 1 and 10000000),
  add column limit_calls_in_flight integer
    constraint tenants_limit_calls_in_flight_check check (limit_calls_in_flight between 1 and 100000),
  add column limit_rows bigint
    constraint tenants_limit_rows_check check (limit_rows between 0 and 1000000000000),
  add column limit_bytes bigint
    constraint tenants_limit_bytes_check check (limit_bytes between 0 and 1000000000000000);
grant update (limit_rate_per_second, limit_burst, limit_calls_in_flight, limit_rows, limit_bytes)
  on stead.tenants to stead_platform;

-- What a tenant's live rows come to is the sum of its sixteen shards. A write takes one that nobody else is at, so that the
-- writes of a tenant do not wait for one another; no shard says anything by itself.
create table stead.tenant_usage (
  tenant_id uuid not null
    constraint tenant_usage_tenant_id_fkey references stead.tenants (id) on update cascade on delete cascade,
  shard smallint not null
    constraint tenant_usage_shard_check check (shard between 0 and 15),
  products bigint not null default 0,
  users bigint not null default 0,
  bytes bigint not null default 0,
  constraint tenant_usage_pkey primary key (tenant_id, shard)
) with (fillfactor = 25);

set local role stead_journal;

-- What a row counts for beside being one: its texts, as UTF-8. Of a long text the length is known without reading it.
create function stead_journal.product_bytes(
  sku text, display_name text, description text, category text, tags text[], attributes jsonb
) returns bigint
  language sql stable parallel safe
  return octet_length(sku) + octet_length(display_name) + octet_length(description) + octet_length(category)
    + octet_length(array_to_string(tags, ',')) + octet_length(attributes::text);

create function stead_journal.user_bytes(email text, username text, display_name text, profile jsonb) returns bigint
  language sql stable parallel safe
  return octet_length(email) + coalesce(octet_length(username), 0) + octet_length(display_name)
    + octet_length(profile::text);

-- Every tenant has its shards from the beginning.
create function stead_journal.usage_begins() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_relid <> 'stead.tenants'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  insert into stead.tenant_usage (tenant_id, shard) select new.id, s.shard from generate_series(0, 15) as s (shard);
  return null;
end
$$;

-- Counts what a statement changed of a tenant, and refuses what grows past a quota. The quotas are facts of the call, told by
-- the service, which knows the plans; without facts nothing is refused, and all is counted.
--
-- Far from a quota a write holds one shard until it commits. What the others hold meanwhile is unseen, but no more than
-- fifteen times 1,000 rows and 8 MiB: that much room is wanted. Whoever finds less, or writes more, takes all shards, in one
-- order, and then sees all that there is. Whether to is decided before any is held, or two who both hold one would wait for
-- each other; by then room for as much again is wanted, so that it is still there once the shard is held.
create function stead_journal.use(tenant uuid, more_products bigint, more_users bigint, more_bytes bigint) returns void
  language plpgsql
as $$
declare
  most_rows constant bigint := 1000;
  most_bytes constant bigint := 8 * 1024 * 1024;
  more_rows constant bigint := more_products + more_users;
  facts jsonb;
  quota_rows bigint;
  quota_bytes bigint;
  used_rows bigint;
  used_bytes bigint;
  alone boolean := false;
begin
  if more_rows > 0 or more_bytes > 0 then
    begin
      facts := nullif(current_setting('stead.request', true), '');
      quota_rows := case when more_rows > 0 then (facts ->> 'quota_rows')::bigint end;
      quota_bytes := case when more_bytes > 0 then (facts ->> 'quota_bytes')::bigint end;
    exception when others then
      quota_rows := null;
    end;
  end if;

  if quota_rows is not null or quota_bytes is not null then
    select sum(u.products + u.users), sum(u.bytes) into used_rows, used_bytes
    from stead.tenant_usage u where u.tenant_id = tenant;
    alone := more_rows > most_rows or more_bytes > most_bytes
      or coalesce(used_rows + 32 * most_rows > quota_rows, false)
      or coalesce(used_bytes + 32 * most_bytes > quota_bytes, false);
    if alone then
      perform from stead.tenant_usage u where u.tenant_id = tenant order by u.shard for no key update;
    end if;
  end if;

  update stead.tenant_usage u
  set products = u.products + more_products, users = u.users + more_users, bytes = u.bytes + more_bytes
  where u.tenant_id = tenant and u.shard = (
    select s.shard from stead.tenant_usage s where s.tenant_id = tenant
    order by (s.shard - pg_backend_pid()) & 15 limit 1
    for no key update skip locked);
  if not found then
    update stead.tenant_usage u
    set products = u.products + more_products, users = u.users + more_users, bytes = u.bytes + more_bytes
    where u.tenant_id = tenant and u.shard = pg_backend_pid() & 15;
    if not found then
      raise exception 'tenant % has no shards to count in: restore stead.tenant_usage', tenant;
    end if;
  end if;
  if quota_rows is null and quota_bytes is null then
    return;
  end if;

  select sum(u.products + u.users), sum(u.bytes) into used_rows, used_bytes
  from stead.tenant_usage u where u.tenant_id = tenant;
  if not alone and (coalesce(used_rows + 15 * most_rows > quota_rows, false)
      or coalesce(used_bytes + 15 * most_bytes > quota_bytes, false)) then
    -- Others have filled the room in the moment between. Should one of them come here too, one of the two is refused.
    perform from stead.tenant_usage u where u.tenant_id = tenant order by u.shard for no key update;
    select sum(u.products + u.users), sum(u.bytes) into used_rows, used_bytes
    from stead.tenant_usage u where u.tenant_id = tenant;
  end if;
  if used_rows > quota_rows then
    raise exception 'tenant % would have % rows of %', tenant, used_rows, quota_rows using
      errcode = '23514', schema = 'stead', table = 'tenant_usage', constraint = 'tenant_usage_rows_check',
      detail = format('%s %s of %s', tenant, used_rows - more_rows, quota_rows);
  end if;
  if used_bytes > quota_bytes then
    raise exception 'tenant % would have % bytes of %', tenant, used_bytes, quota_bytes using
      errcode = '23514', schema = 'stead', table = 'tenant_usage', constraint = 'tenant_usage_bytes_check',
      detail = format('%s %s of %s', tenant, used_bytes - more_bytes, quota_bytes);
  end if;
end
$$;

-- Once for a statement, however many rows it wrote, and after every lock that it takes elsewhere; a deleted row counts for
-- nothing from its mark on. Tenants in one order, so that purges that run over several do not wait for each other.
create function stead_journal.use_products() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  change record;
begin
  if tg_relid <> 'stead.products'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if tg_op = 'INSERT' then
    for change in
      select c.tenant_id, count(*) as rows, sum(stead_journal.product_bytes(
        c.sku, c.display_name, c.description, c.category, c.tags, c.attributes))::bigint as bytes
      from come c where c.delete_time is null group by c.tenant_id order by c.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, change.rows, 0, change.bytes);
    end loop;
  elsif tg_op = 'DELETE' then
    for change in
      select g.tenant_id, count(*) as rows, sum(stead_journal.product_bytes(
        g.sku, g.display_name, g.description, g.category, g.tags, g.attributes))::bigint as bytes
      from gone g where g.delete_time is null group by g.tenant_id order by g.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, -change.rows, 0, -change.bytes);
    end loop;
  else
    for change in
      select b.tenant_id, sum(b.rows) as rows, sum(b.bytes)::bigint as bytes
      from (
        select c.tenant_id, 1 as rows, stead_journal.product_bytes(
          c.sku, c.display_name, c.description, c.category, c.tags, c.attributes) as bytes
        from come c where c.delete_time is null
        union all
        select g.tenant_id, -1, -stead_journal.product_bytes(
          g.sku, g.display_name, g.description, g.category, g.tags, g.attributes)
        from gone g where g.delete_time is null
      ) b
      group by b.tenant_id having sum(b.rows) <> 0 or sum(b.bytes) <> 0 order by b.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, change.rows, 0, change.bytes);
    end loop;
  end if;
  return null;
end
$$;

create function stead_journal.use_users() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  change record;
begin
  if tg_relid <> 'stead.users'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if tg_op = 'INSERT' then
    for change in
      select c.tenant_id, count(*) as rows,
        sum(stead_journal.user_bytes(c.email, c.username, c.display_name, c.profile))::bigint as bytes
      from come c where c.delete_time is null group by c.tenant_id order by c.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, 0, change.rows, change.bytes);
    end loop;
  elsif tg_op = 'DELETE' then
    for change in
      select g.tenant_id, count(*) as rows,
        sum(stead_journal.user_bytes(g.email, g.username, g.display_name, g.profile))::bigint as bytes
      from gone g where g.delete_time is null group by g.tenant_id order by g.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, 0, -change.rows, -change.bytes);
    end loop;
  else
    for change in
      select b.tenant_id, sum(b.rows) as rows, sum(b.bytes)::bigint as bytes
      from (
        select c.tenant_id, 1 as rows,
          stead_journal.user_bytes(c.email, c.username, c.display_name, c.profile) as bytes
        from come c where c.delete_time is null
        union all
        select g.tenant_id, -1, -stead_journal.user_bytes(g.email, g.username, g.display_name, g.profile)
        from gone g where g.delete_time is null
      ) b
      group by b.tenant_id having sum(b.rows) <> 0 or sum(b.bytes) <> 0 order by b.tenant_id
    loop
      perform stead_journal.use(change.tenant_id, 0, change.rows, change.bytes);
    end loop;
  end if;
  return null;
end
$$;
grant execute on function stead_journal.usage_begins(), stead_journal.use_products(), stead_journal.use_users(),
  stead_journal.product_bytes(text, text, text, text, text[], jsonb),
  stead_journal.user_bytes(text, text, text, jsonb) to stead_owner;

-- As before, and the limits.
create or replace function stead_journal.tenants() returns trigger
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
    if new.audit_retention_days <> old.audit_retention_days then
      o := o || jsonb_build_object('audit_retention_days', old.audit_retention_days);
      n := n || jsonb_build_object('audit_retention_days', new.audit_retention_days);
    end if;
    if new.limit_rate_per_second is distinct from old.limit_rate_per_second then
      o := o || jsonb_build_object('limit_rate_per_second', old.limit_rate_per_second);
      n := n || jsonb_build_object('limit_rate_per_second', new.limit_rate_per_second);
    end if;
    if new.limit_burst is distinct from old.limit_burst then
      o := o || jsonb_build_object('limit_burst', old.limit_burst);
      n := n || jsonb_build_object('limit_burst', new.limit_burst);
    end if;
    if new.limit_calls_in_flight is distinct from old.limit_calls_in_flight then
      o := o || jsonb_build_object('limit_calls_in_flight', old.limit_calls_in_flight);
      n := n || jsonb_build_object('limit_calls_in_flight', new.limit_calls_in_flight);
    end if;
    if new.limit_rows is distinct from old.limit_rows then
      o := o || jsonb_build_object('limit_rows', old.limit_rows);
      n := n || jsonb_build_object('limit_rows', new.limit_rows);
    end if;
    if new.limit_bytes is distinct from old.limit_bytes then
      o := o || jsonb_build_object('limit_bytes', old.limit_bytes);
      n := n || jsonb_build_object('limit_bytes', new.limit_bytes);
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
    'settings', whole.settings, 'require_etag', whole.require_etag,
    'audit_retention_days', whole.audit_retention_days,
    'limit_rate_per_second', whole.limit_rate_per_second, 'limit_burst', whole.limit_burst,
    'limit_calls_in_flight', whole.limit_calls_in_flight, 'limit_rows', whole.limit_rows,
    'limit_bytes', whole.limit_bytes);
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

set local role stead_owner;

grant select, insert, update on stead.tenant_usage to stead_journal;

create trigger usage_begins after insert on stead.tenants
  for each row execute function stead_journal.usage_begins();
create trigger usage_insert after insert on stead.products referencing new table as come
  for each statement execute function stead_journal.use_products();
create trigger usage_update after update on stead.products referencing old table as gone new table as come
  for each statement execute function stead_journal.use_products();
create trigger usage_delete after delete on stead.products referencing old table as gone
  for each statement execute function stead_journal.use_products();
create trigger usage_insert after insert on stead.users referencing new table as come
  for each statement execute function stead_journal.use_users();
create trigger usage_update after update on stead.users referencing old table as gone new table as come
  for each statement execute function stead_journal.use_users();
create trigger usage_delete after delete on stead.users referencing old table as gone
  for each statement execute function stead_journal.use_users();

-- What there is by now, while row security is not forced yet and the owner may write without ceremony. The triggers' own locks
-- keep every write of the two tables waiting until this step is over.
set local row_security = on;
do $$
declare
  tenant uuid;
begin
  for tenant in select id from stead.tenants loop
    perform set_config('stead.tenant', tenant::text, true);
    insert into stead.tenant_usage (tenant_id, shard, products, users, bytes)
    select tenant, 0, p.rows, u.rows, p.bytes + u.bytes
    from (
      select count(*) as rows, coalesce(sum(stead_journal.product_bytes(
        sku, display_name, description, category, tags, attributes)), 0) as bytes
      from stead.products where tenant_id = tenant and delete_time is null
    ) p, (
      select count(*) as rows, coalesce(sum(stead_journal.user_bytes(email, username, display_name, profile)), 0) as bytes
      from stead.users where tenant_id = tenant and delete_time is null
    ) u;
    insert into stead.tenant_usage (tenant_id, shard) select tenant, s.shard from generate_series(1, 15) as s (shard);
  end loop;
end
$$;
set local row_security = off;

alter table stead.tenant_usage enable row level security;
alter table stead.tenant_usage force row level security;
create policy tenant on stead.tenant_usage for select to stead_app
  using (tenant_id = (select stead.current_tenant()));
-- Counted in any context or none, as the journal is written: a purge goes over many tenants.
create policy counter on stead.tenant_usage to stead_journal using (true) with check (true);
create policy backup on stead.tenant_usage for select to stead_backup using (true);
grant select on stead.tenant_usage to stead_app, stead_backup;
