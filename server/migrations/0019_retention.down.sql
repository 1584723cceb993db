-- Loses no row but what tenants said of their retention; entries that say what went stay.

drop function stead.retire_journal(integer);

-- As 0002 has it.
create or replace function stead.maintain_journal(months_ahead integer default 12) returns integer
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  first_month date := date_trunc('month', stead.now() at time zone 'utc');
  month date;
  name text;
  made integer := 0;
begin
  if months_ahead not between 1 and 120 then
    raise exception 'months_ahead is %: give 1 to 120', months_ahead using errcode = '22023';
  end if;
  -- Several servers call this at start and daily; one works, the rest then find nothing to do.
  perform pg_advisory_xact_lock(hashtextextended('stead.maintain_journal', 0));
  for ahead in 0 .. months_ahead loop
    month := first_month + make_interval(months => ahead);
    name := 'journal_' || to_char(month, 'YYYY_MM');
    continue when exists (
      select from pg_inherits
      where inhparent = 'stead.journal'::regclass and inhrelid = to_regclass('stead.' || name));
    execute format('create table stead.%I (like stead.journal including defaults including constraints)', name);
    execute format('alter table stead.%I enable row level security', name);
    execute format('alter table stead.%I force row level security', name);
    -- With the grant but without the policy a month would be dumped empty, and without a word.
    execute format('create policy backup on stead.%I for select to stead_backup using (true)', name);
    execute format('grant select on stead.%I to stead_backup', name);
    execute format('alter table stead.journal attach partition stead.%I for values from (%L) to (%L)', name,
      month::timestamp at time zone 'utc', (month + interval '1 month')::timestamp at time zone 'utc');
    made := made + 1;
  end loop;
  return made;
end
$$;

drop trigger entries_removed on stead.journal;
drop policy purge on stead.journal;
drop policy purge_see on stead.journal;
revoke select (tenant_id, create_time, id), delete on stead.journal from stead_platform;
grant select on stead.journal to stead_platform;
create policy platform_see on stead.journal for select to stead_platform
  using (tenant_id = stead.platform_tenant());

set local role stead_journal;
drop function stead_journal.entries_removed();
drop function stead_journal.month_removed(text, timestamptz);

-- As 0003 has it.
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

set local role stead_owner;
revoke execute on function stead.platform_tenant() from stead_journal;
drop function stead.audit_kept_since();
alter table stead.tenants drop column audit_retention_days;
