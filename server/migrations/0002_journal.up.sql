-- The journal: one row per change of a tenant's data, written by triggers that the service cannot reach.

-- Never shown: its gaps would tell one tenant how much the others write. It orders the rows of one transaction.
create sequence stead.journal_sequence as bigint cache 32;
grant usage on sequence stead.journal_sequence to stead_journal;

create table stead.journal (
  id uuid not null,                                            -- UUIDv7 of create_time: names the month to look in
  tenant_id uuid not null,                                     -- without a foreign key: entries outlive their tenant
  xid xid8 not null default pg_current_xact_id(),
  sequence bigint not null default nextval('stead.journal_sequence'),
  create_time timestamptz not null,
  resource_type text collate "C" not null
    constraint journal_resource_type_check check (resource_type ~ '^[a-z][A-Za-z]{0,62}$'),
  resource_id uuid,
  revision bigint,
  action text collate "C" not null
    constraint journal_action_check
    check (action in ('create', 'update', 'delete', 'undelete', 'purge', 'access', 'login_failed')),
  old_values jsonb,
  new_values jsonb,
  personal jsonb,                                              -- {"old": …, "new": …}: apart, so that erasure is one column
  actor text collate "C" not null,
  method text,
  request_id text collate "C",
  trace_id text,
  peer_address text,
  user_agent text,
  reason text,
  db_role text not null default session_user,
  -- Led by the tenant and ordered as listings read it; a partitioned key must hold the partition key.
  constraint journal_pkey primary key (tenant_id, create_time, id)
) partition by range (create_time);

-- The history of one thing.
create index journal_resource_idx on stead.journal (tenant_id, resource_id, create_time, id);

alter table stead.journal enable row level security;
alter table stead.journal force row level security;
-- The writer passes with any context or none: purge, upkeep and psql must leave their mark too.
create policy writer on stead.journal for insert to stead_journal with check (true);
create policy tenant on stead.journal for select to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant()));
create policy platform_see on stead.journal for select to stead_platform
  using (tenant_id = stead.platform_tenant());
create policy backup on stead.journal for select to stead_backup using (true);

grant insert on stead.journal to stead_journal;
grant select on stead.journal to stead_app, stead_platform, stead_backup;

-- Makes the months that are missing, this one and the given number ahead, and says how many it made.
-- Each is built apart and then attached, which waits for no reader of the journal; `create … partition of` would.
-- There is no default partition: it would block the making of its own months and every detach.
create function stead.maintain_journal(months_ahead integer default 12) returns integer
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
grant execute on function stead.maintain_journal(integer) to stead_platform;

select stead.maintain_journal();

set local role stead_journal;

-- One entry. Who asked, and for what, comes from the transaction-local setting stead.request, a JSON text set by
-- the write's own statement; without it the database role stands as the actor. Long facts are cut rather than
-- refused: a strange user agent must not fail a write.
create function stead_journal.write(
  tenant uuid, resource text, id uuid, revision bigint, act text, old_values jsonb, new_values jsonb, personal jsonb
) returns void
  language plpgsql
as $$
declare
  facts jsonb := nullif(current_setting('stead.request', true), '');
  at timestamptz := stead.now();
begin
  insert into stead.journal (
    id, tenant_id, create_time, resource_type, resource_id, revision, action, old_values, new_values, personal,
    actor, method, request_id, trace_id, peer_address, user_agent, reason)
  values (
    stead.uuid7(at), tenant, at, resource, id, revision, act, old_values, new_values, personal,
    left(coalesce(facts ->> 'actor', session_user), 200), left(facts ->> 'method', 200),
    left(facts ->> 'request_id', 64), left(facts ->> 'trace_id', 64), left(facts ->> 'peer_address', 100),
    left(facts ->> 'user_agent', 500), left(facts ->> 'reason', 200));
end
$$;

-- A definer trigger function may only serve its own table: on another one it would write what that table's owner says.
create function stead_journal.refuse(relation regclass) returns void
  language plpgsql
as $$
begin
  raise exception 'a journal function was called for %, which is not its table', relation using errcode = '42501';
end
$$;

-- Times in the journal are UTC whatever the session's time zone.
create function stead_journal.utc(at timestamptz) returns jsonb
  language sql stable
  return to_jsonb(to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));

-- Reads that must be recorded: platform access inside a tenant, reading the journal, failed logins.
-- The tenant is the context's, so that nobody writes into another tenant's journal.
create function stead_journal.journal_access(action text, type text, id uuid) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if stead.current_tenant() is null then
    raise exception 'journal_access needs a tenant context: set stead.tenant first' using errcode = 'SD002';
  end if;
  if action is null or action not in ('access', 'login_failed') then
    raise exception 'journal_access records access and login_failed, not %', action using errcode = '22023';
  end if;
  perform stead_journal.write(stead.current_tenant(), type, id, null, action, null, null, null);
end
$$;
grant execute on function stead_journal.journal_access(text, text, uuid) to stead_app, stead_platform;

set local role stead_owner;
