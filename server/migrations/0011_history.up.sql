-- History: what a product was at each of its revisions, read from the journal with bounded work however many there are.

-- Every 64th change of a product keeps the whole row, so that no revision lies farther than that from a whole one.
alter table stead.journal add column image jsonb;
-- The row's own update_time: the entry's time is that of the trigger, a moment later.
alter table stead.journal add column update_time timestamptz;

-- An entry by its revision: times of entries may repeat or step back with the clock, revisions do not.
-- Built here where that takes no time. A month that has grown large is left to its operator, for building its index
-- here would hold up every write; until then its histories are read by journal_resource_idx, only more slowly.
create index journal_revision_idx on only stead.journal (tenant_id, resource_id, revision);
do $$
declare
  month regclass;
  name text;
begin
  for month, name in
    select c.oid::regclass, c.relname || '_revision_idx'
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'stead.journal'::regclass order by c.relname
  loop
    if pg_relation_size(month) <= 64 * 1024 * 1024 then
      execute format('create index %I on %s (tenant_id, resource_id, revision)', name, month);
      execute format('alter index stead.journal_revision_idx attach partition stead.%I', name);
    else
      raise warning '% is large: run, outside a transaction, as stead_owner: create index concurrently % on % (tenant_id, '
        'resource_id, revision); alter index stead.journal_revision_idx attach partition stead.%;', month, name, month, name;
    end if;
  end loop;
end
$$;

set local role stead_journal;

create function stead_journal.write(
  tenant uuid, resource text, id uuid, revision bigint, act text, old_values jsonb, new_values jsonb, personal jsonb,
  image jsonb, update_time timestamptz
) returns void
  language plpgsql
as $$
declare
  facts jsonb := nullif(current_setting('stead.request', true), '');
  at timestamptz := stead.now();
  -- What the platform purges nobody may read any more: of it nothing is kept but that it went.
  forgotten boolean := act = 'purge' and session_user = 'stead_platform';
begin
  insert into stead.journal (
    id, tenant_id, create_time, resource_type, resource_id, revision, action, old_values, new_values, personal,
    actor, method, request_id, trace_id, peer_address, user_agent, reason, image, update_time)
  values (
    stead.uuid7(at), tenant, at, resource, id, revision, act, case when not forgotten then old_values end, new_values,
    case when not forgotten then personal end,
    left(coalesce(facts ->> 'actor', session_user), 200), left(facts ->> 'method', 200),
    left(facts ->> 'request_id', 64), left(facts ->> 'trace_id', 64), left(facts ->> 'peer_address', 100),
    left(facts ->> 'user_agent', 500), left(facts ->> 'reason', 200), image, update_time);
end
$$;

create or replace function stead_journal.write(
  tenant uuid, resource text, id uuid, revision bigint, act text, old_values jsonb, new_values jsonb, personal jsonb
) returns void
  language plpgsql
as $$
begin
  perform stead_journal.write(tenant, resource, id, revision, act, old_values, new_values, personal, null, null);
end
$$;

-- Everything of a product that a client may set.
create function stead_journal.image(whole stead.products) returns jsonb
  language sql stable
  return jsonb_build_object(
    'sku', whole.sku, 'display_name', whole.display_name, 'description', whole.description,
    'category', whole.category, 'price_currency', whole.price_currency, 'price_minor', whole.price_minor,
    'cost_currency', whole.cost_currency, 'cost_minor', whole.cost_minor, 'quantity', whole.quantity,
    'tags', whole.tags, 'attributes', whole.attributes);

create or replace function stead_journal.products() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  o jsonb := '{}';
  n jsonb := '{}';
begin
  if tg_relid <> 'stead.products'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  -- new.creator and new.updater are the actors of the entries themselves.
  if tg_op = 'UPDATE' and (old.delete_time is null) = (new.delete_time is null) then
    if new.sku <> old.sku then
      o := o || jsonb_build_object('sku', old.sku); n := n || jsonb_build_object('sku', new.sku);
    end if;
    if new.display_name <> old.display_name then
      o := o || jsonb_build_object('display_name', old.display_name);
      n := n || jsonb_build_object('display_name', new.display_name);
    end if;
    if new.description <> old.description then
      o := o || jsonb_build_object('description', old.description);
      n := n || jsonb_build_object('description', new.description);
    end if;
    if new.category <> old.category then
      o := o || jsonb_build_object('category', old.category); n := n || jsonb_build_object('category', new.category);
    end if;
    -- An amount without its currency says nothing: the two are kept together.
    if (new.price_currency, new.price_minor) is distinct from (old.price_currency, old.price_minor) then
      o := o || jsonb_build_object('price_currency', old.price_currency, 'price_minor', old.price_minor);
      n := n || jsonb_build_object('price_currency', new.price_currency, 'price_minor', new.price_minor);
    end if;
    if (new.cost_currency, new.cost_minor) is distinct from (old.cost_currency, old.cost_minor) then
      o := o || jsonb_build_object('cost_currency', old.cost_currency, 'cost_minor', old.cost_minor);
      n := n || jsonb_build_object('cost_currency', new.cost_currency, 'cost_minor', new.cost_minor);
    end if;
    if new.quantity <> old.quantity then
      o := o || jsonb_build_object('quantity', old.quantity); n := n || jsonb_build_object('quantity', new.quantity);
    end if;
    if new.tags <> old.tags then
      o := o || jsonb_build_object('tags', old.tags); n := n || jsonb_build_object('tags', new.tags);
    end if;
    if new.attributes <> old.attributes then
      o := o || jsonb_build_object('attributes', old.attributes);
      n := n || jsonb_build_object('attributes', new.attributes);
    end if;
    if n <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'update', o, n, null,
        case when new.revision % 64 = 0 then stead_journal.image(new) end, new.update_time);
    end if;
    return null;
  end if;

  -- A row that appears or goes is kept whole: as it was before a delete, as it is after anything else.
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'create', null,
      stead_journal.image(new), null, null, new.update_time);
  elsif tg_op = 'DELETE' then
    -- What was marked deleted has its image in the entry of that day.
    perform stead_journal.write(old.tenant_id, 'products', old.id, old.revision, 'purge',
      case when old.delete_time is null then stead_journal.image(old) end, null, null, null, null);
  elsif new.delete_time is not null then
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'delete', stead_journal.image(old),
      null, null, null, new.update_time);
  else
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'undelete', null,
      stead_journal.image(new), null, null, new.update_time);
  end if;
  return null;
end
$$;

set local role stead_owner;
