-- What somebody changes by hand, past the service: nobody names himself in the journal, facts that cannot be read cost no
-- write, columns that the service never changes are told as well, and no table is emptied at a stroke.

set local role stead_journal;

-- As before, but that only the service's roles say who acts: they verified it. Anybody else acts as the role that logged
-- in, whatever role it has taken since; it may give a reason. Facts that cannot be read are none: the change is told all
-- the same, by its role.
create or replace function stead_journal.write(
  tenant uuid, resource text, id uuid, revision bigint, act text, old_values jsonb, new_values jsonb, personal jsonb,
  image jsonb, update_time timestamptz
) returns void
  language plpgsql
as $$
declare
  said text := nullif(current_setting('stead.request', true), '');
  facts jsonb;
  at timestamptz := stead.now();
  -- What the platform purges nobody may read any more: of it nothing is kept but that it went.
  forgotten boolean := act = 'purge' and session_user = 'stead_platform';
begin
  begin
    facts := said;
  exception when others then
    facts := null;
  end;
  insert into stead.journal (
    id, tenant_id, create_time, resource_type, resource_id, revision, action, old_values, new_values, personal,
    actor, method, request_id, trace_id, peer_address, user_agent, reason, image, update_time)
  values (
    stead.uuid7(at), tenant, at, resource, id, revision, act, case when not forgotten then old_values end, new_values,
    case when not forgotten then personal end,
    left(coalesce(
      case when session_user in ('stead_app', 'stead_platform') then nullif(facts ->> 'actor', '') end,
      'roles/' || session_user), 200),  -- as it is shown, so that it can be asked for
    left(facts ->> 'method', 200),
    left(facts ->> 'request_id', 64), left(facts ->> 'trace_id', 64), left(facts ->> 'peer_address', 100),
    left(facts ->> 'user_agent', 500), left(facts ->> 'reason', 200), image, update_time);
end
$$;

-- A change of columns that the service never changes, or never apart from the others. Called with the resource's type and
-- those columns; what else the same statement changed has an entry of its own.
create function stead_journal.by_hand() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb := to_jsonb(old);
  after jsonb := to_jsonb(new);
  name text;
  change jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
  po jsonb := '{}';
  pn jsonb := '{}';
  place uuid[];
begin
  if not tg_relid = any (array['stead.tenants', 'stead.users', 'stead.user_credentials', 'stead.sessions',
      'stead.api_keys', 'stead.products']::regclass[]) then
    perform stead_journal.refuse(tg_relid);
  end if;

  foreach name in array tg_argv[1:] loop
    continue when before -> name is not distinct from after -> name
      -- That a row is deleted or no longer is told by its own entry, that its keys follow their words goes without saying.
      or name = 'delete_time' and (before ->> name is null or after ->> name is null)
      or name = 'email_key' and before -> 'email' <> after -> 'email'
      or name = 'username_key' and before -> 'username' <> after -> 'username';
    case
      when name = 'secret_hash' then
        change := '{"name": "secret", "old": "set", "new": "changed"}';
      when name = 'user_id' then
        change := jsonb_build_object(
          'name', 'user', 'old', 'users/' || (before ->> name), 'new', 'users/' || (after ->> name));
      when name like '%\_time' then
        change := jsonb_build_object('name', name, 'old', stead_journal.utc((before ->> name)::timestamptz),
          'new', stead_journal.utc((after ->> name)::timestamptz));
      else
        change := jsonb_build_object('name', name, 'old', before -> name, 'new', after -> name);
    end case;
    if name in ('email_key', 'username_key', 'peer_address', 'peer_network', 'user_agent') then
      po := po || jsonb_build_object(change ->> 'name', change -> 'old');
      pn := pn || jsonb_build_object(change ->> 'name', change -> 'new');
    else
      o := o || jsonb_build_object(change ->> 'name', change -> 'old');
      n := n || jsonb_build_object(change ->> 'name', change -> 'new');
    end if;
  end loop;

  -- What is moved to another name or tenant is told where it was, and where it is.
  for place in
    select distinct array[coalesce(v ->> 'tenant_id', v ->> 'id'), coalesce(v ->> 'id', v ->> 'user_id')]::uuid[]
    from (values (before), (after)) as r (v)
    where n <> '{}' or pn <> '{}'
  loop
    perform stead_journal.write(place[1], tg_argv[0], place[2], null, 'update', o, n,
      case when pn <> '{}' then jsonb_build_object('old', po, 'new', pn) end);
  end loop;
  return null;
end
$$;

-- Emptying a table would be a change of every row without an entry for any.
create function stead_journal.emptied() returns trigger
  language plpgsql
as $$
begin
  raise exception '%.% is not emptied at a stroke: delete its rows, so that each is in the journal',
    tg_table_schema, tg_table_name using errcode = '42501';
end
$$;

grant execute on function stead_journal.by_hand(), stead_journal.emptied() to stead_owner;

set local role stead_owner;

-- `update of`: a statement that does not name these columns, and so almost every one of the service, pays nothing.
create trigger journal_by_hand after update of id, create_time, delete_time on stead.tenants
  for each row execute function stead_journal.by_hand('tenants', 'id', 'create_time', 'delete_time');
create trigger journal_by_hand
  after update of tenant_id, id, email_key, username_key, create_time, delete_time on stead.users
  for each row execute function stead_journal.by_hand(
    'users', 'tenant_id', 'id', 'email_key', 'username_key', 'create_time', 'delete_time');
create trigger journal_by_hand after update of tenant_id, user_id on stead.user_credentials
  for each row execute function stead_journal.by_hand('users', 'tenant_id', 'user_id');
create trigger journal_by_hand
  after update of tenant_id, id, user_id, secret_hash, peer_address, peer_network, user_agent, create_time
  on stead.sessions
  for each row execute function stead_journal.by_hand('sessions',
    'tenant_id', 'id', 'user_id', 'secret_hash', 'peer_address', 'peer_network', 'user_agent', 'create_time');
create trigger journal_by_hand after update of tenant_id, id, creator, create_time on stead.api_keys
  for each row execute function stead_journal.by_hand('apiKeys', 'tenant_id', 'id', 'creator', 'create_time');
create trigger journal_by_hand after update of tenant_id, id, creator, create_time, delete_time on stead.products
  for each row execute function stead_journal.by_hand(
    'products', 'tenant_id', 'id', 'creator', 'create_time', 'delete_time');

create trigger journal_emptied before truncate on stead.tenants
  for each statement execute function stead_journal.emptied();
create trigger journal_emptied before truncate on stead.users
  for each statement execute function stead_journal.emptied();
create trigger journal_emptied before truncate on stead.user_credentials
  for each statement execute function stead_journal.emptied();
create trigger journal_emptied before truncate on stead.sessions
  for each statement execute function stead_journal.emptied();
create trigger journal_emptied before truncate on stead.api_keys
  for each statement execute function stead_journal.emptied();
create trigger journal_emptied before truncate on stead.products
  for each statement execute function stead_journal.emptied();
-- The journal as a whole; a month that retention takes out is emptied first, by itself.
create trigger journal_emptied before truncate on stead.journal
  for each statement execute function stead_journal.emptied();
