-- How long the journal is kept: by whole months for everybody, and shorter by age for a tenant that says so. What goes leaves
-- an entry that says how much went and up to when, written by the database itself.

-- 0: as long as the platform keeps the journal.
alter table stead.tenants add column audit_retention_days integer not null default 0
  constraint tenants_audit_retention_days_check
  check (audit_retention_days = 0 or audit_retention_days between 30 and 3650);
create index tenants_audit_retention_days_idx on stead.tenants (id) where audit_retention_days > 0;
grant update (audit_retention_days) on stead.tenants to stead_platform;

-- Before when the context's tenant wants its entries gone; null if it wants nothing of the kind. To the day, so that one
-- day's worth goes at a time and leaves one entry, not a few rows every hour.
set local row_security = on;
create function stead.audit_kept_since() returns timestamptz
  language sql stable parallel safe
begin atomic
  select (date_trunc('day', stead.now() at time zone 'utc') - make_interval(days => t.audit_retention_days))
    at time zone 'utc'
  from stead.tenants t
  where t.id = stead.current_tenant() and t.audit_retention_days >= 30;
end;
set local row_security = off;
grant execute on function stead.audit_kept_since() to stead_platform;

-- What a job can remove, whatever its statement says: entries of the tenant whose context it is in, past that tenant's own
-- retention, and never one of the last 30 days. It sees their keys and nothing of what they say.
create policy purge_see on stead.journal for select to stead_platform using (
  tenant_id = (select stead.current_tenant()) and create_time < (select stead.audit_kept_since())
  and create_time < (select stead.now()) - interval '30 days');
create policy purge on stead.journal for delete to stead_platform using (
  tenant_id = (select stead.current_tenant()) and create_time < (select stead.audit_kept_since())
  and create_time < (select stead.now()) - interval '30 days');
drop policy platform_see on stead.journal;
revoke select on stead.journal from stead_platform;
grant select (tenant_id, create_time, id), delete on stead.journal to stead_platform;

grant execute on function stead.platform_tenant() to stead_journal;
set local role stead_journal;

-- Whoever removes entries, and be it by hand, leaves one that says so, in the same statement.
create function stead_journal.entries_removed() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_relid <> 'stead.journal'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  perform stead_journal.write(g.tenant_id, 'auditEntries', null, null, 'purge', null,
    jsonb_build_object('entries', g.entries, 'until', stead_journal.utc(g.until)), null)
  from (select tenant_id, count(*) as entries, max(create_time) as until from gone group by tenant_id) g;
  return null;
end
$$;
grant execute on function stead_journal.entries_removed() to stead_owner;

-- The same for a month of everybody's, in the platform's own journal. How many rows it had would take reading them.
create function stead_journal.month_removed(month text, until timestamptz) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform stead_journal.write(stead.platform_tenant(), 'auditEntries', null, null, 'purge', null,
    jsonb_build_object('month', month, 'until', stead_journal.utc(until)), null);
end
$$;
grant execute on function stead_journal.month_removed(text, timestamptz) to stead_owner;

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
    'audit_retention_days', whole.audit_retention_days);
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

create trigger entries_removed after delete on stead.journal referencing old table as gone
  for each statement execute function stead_journal.entries_removed();

-- Makes the months that are missing, this one and the given number ahead, and says how many it made. One that somebody has
-- detached is attached again with what it holds. What cannot be mended is left, with a warning, and holds up no other.
-- Each is built apart and then attached, which waits for no reader of the journal; `create … partition of` would.
-- There is no default partition: it would block the making of its own months and every detach.
create or replace function stead.maintain_journal(months_ahead integer default 12) returns integer
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set client_min_messages = warning
as $$
declare
  first_month date := date_trunc('month', stead.now() at time zone 'utc');
  month date;
  name text;
  is_pending boolean;
  made integer := 0;
begin
  if months_ahead not between 1 and 120 then
    raise exception 'months_ahead is %: give 1 to 120', months_ahead using errcode = '22023';
  end if;
  -- Several servers call this at start and hourly; one works, the rest then find nothing to do.
  perform pg_advisory_xact_lock(hashtextextended('stead.maintain_journal', 0));
  for ahead in 0 .. months_ahead loop
    month := first_month + make_interval(months => ahead);
    name := 'journal_' || to_char(month, 'YYYY_MM');
    select i.inhdetachpending into is_pending
    from pg_inherits i
    where i.inhparent = 'stead.journal'::regclass and i.inhrelid = to_regclass('stead.' || name);
    continue when found and not is_pending;
    begin
      if found then
        execute format('alter table stead.journal detach partition stead.%I finalize', name);
      elsif to_regclass('stead.' || name) is null then
        execute format('create table stead.%I (like stead.journal including defaults including constraints)', name);
      end if;
      execute format('alter table stead.%I enable row level security', name);
      execute format('alter table stead.%I force row level security', name);
      -- With the grant but without the policy a month would be dumped empty, and without a word.
      execute format('drop policy if exists backup on stead.%I', name);
      execute format('create policy backup on stead.%I for select to stead_backup using (true)', name);
      execute format('grant select on stead.%I to stead_backup', name);
      execute format('alter table stead.journal attach partition stead.%I for values from (%L) to (%L)', name,
        month::timestamp at time zone 'utc', (month + interval '1 month')::timestamp at time zone 'utc');
      made := made + 1;
    exception when others then
      raise warning 'stead.% is no month of the journal and cannot be made one: %', name, sqlerrm;
    end;
  end loop;
  return made;
end
$$;

-- Takes one step towards a journal of this month and so many whole ones before it, and says which; no row when there is
-- nothing to do, or another server is at it. A month is emptied, then detached, then dropped, each in a statement of its own
-- that is over at once: whatever is broken off is gone on with. Emptied first, because what is detached or dropped while
-- it is full keeps the locks for as long as its files take to go.
-- Emptying waits for whoever reads the month, detaching for whoever uses the journal at all, and everybody else waits behind
-- it: so it waits 25 ms and gives up, as 'busy', to be asked again.
-- Three months are kept whatever is asked. A month that somebody detached by hand, with rows, is nobody's to drop but theirs.
create function stead.retire_journal(keep_months integer) returns table (month text, step text)
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' set lock_timeout = '25ms'
as $$
declare
  kept_since timestamptz;
  due record;
begin
  if keep_months is null or keep_months not between 3 and 1200 then
    raise exception 'keep_months is %: give 3 to 1200, or do not retire', keep_months using errcode = '22023';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('stead.maintain_journal', 0)) then
    return;
  end if;
  kept_since := (date_trunc('month', stead.now() at time zone 'utc') - make_interval(months => keep_months))
    at time zone 'utc';
  -- Of an attached month its bounds decide and not its name.
  select c.relname, i.inhrelid is not null as is_attached, i.inhdetachpending as is_pending,
    pg_relation_size(c.oid) > 0 as has_rows, b.until
  into due
  from pg_class c
  left join pg_inherits i on i.inhrelid = c.oid and i.inhparent = 'stead.journal'::regclass
  cross join lateral (
    select substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([^'']+)''\)')::timestamptz as until) b
  where c.relnamespace = 'stead'::regnamespace and c.relkind = 'r' and c.relname ~ '^journal_[0-9]{4}_(0[1-9]|1[0-2])$'
    and c.relname < 'journal_' || to_char(kept_since, 'YYYY_MM')
    and case when i.inhrelid is null then pg_relation_size(c.oid) = 0 else b.until <= kept_since end
  order by c.relname
  limit 1;
  if not found then
    return;
  end if;
  month := replace(substr(due.relname, 9), '_', '-');
  begin
    if not due.is_attached then
      execute format('drop table stead.%I', due.relname);
      step := 'dropped';
    elsif due.is_pending then
      execute format('alter table stead.journal detach partition stead.%I finalize', due.relname);
      step := 'detached';
    elsif due.has_rows then
      execute format('truncate stead.%I', due.relname);
      perform stead_journal.month_removed(month, due.until);
      step := 'emptied';
    else
      execute format('alter table stead.journal detach partition stead.%I', due.relname);
      step := 'detached';
    end if;
  exception when lock_not_available then
    step := 'busy';
  end;
  return next;
end
$$;
grant execute on function stead.retire_journal(integer) to stead_platform;
