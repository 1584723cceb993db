-- Products.

create table stead.products (
  tenant_id uuid not null
    constraint products_tenant_id_fkey references stead.tenants (id),
  id uuid not null,
  sku text collate "C" not null
    constraint products_sku_check check (char_length(sku) between 1 and 100),
  display_name text collate "C" not null
    constraint products_display_name_check check (char_length(display_name) between 1 and 200),
  -- In bytes: of a long text the length is known without reading it, the number of its characters is not.
  description text not null default ''
    constraint products_description_check check (octet_length(description) <= 102400),
  category text collate "C" not null default ''
    constraint products_category_check check (
      char_length(category) <= 200 and (category = '' or category ~ '^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*$')),
  -- Money is minor units of its currency: numeric comparisons are not leakproof, so no index would serve them.
  price_currency text collate "C"
    constraint products_price_currency_check check (price_currency ~ '^[A-Z]{3}$'),
  price_minor bigint
    constraint products_price_minor_check check (price_minor >= 0),
  cost_currency text collate "C"
    constraint products_cost_currency_check check (cost_currency ~ '^[A-Z]{3}$'),
  cost_minor bigint
    constraint products_cost_minor_check check (cost_minor >= 0),
  quantity bigint not null default 0
    constraint products_quantity_check check (quantity >= 0),
  tags text[] collate "C" not null default '{}'
    constraint products_tags_check check (stead.tags_valid(tags)),
  attributes jsonb not null default '{}'
    constraint products_attributes_check check (stead.struct_valid(attributes)),
  revision bigint not null default 1
    constraint products_revision_check check (revision > 0),
  -- Subjects' names without a foreign key: a service or an operator may create, and users are purged.
  creator text collate "C" not null
    constraint products_creator_check check (char_length(creator) between 1 and 200),
  updater text collate "C" not null
    constraint products_updater_check check (char_length(updater) between 1 and 200),
  create_time timestamptz not null default stead.now(),
  update_time timestamptz not null default stead.now(),
  delete_time timestamptz,
  constraint products_pkey primary key (tenant_id, id),
  constraint products_price_pair_check check ((price_currency is null) = (price_minor is null)),
  constraint products_cost_pair_check check ((cost_currency is null) = (cost_minor is null))
) with (fillfactor = 85);

-- A deleted product's sku may be used again; undeleting then meets this key.
create unique index products_sku_key on stead.products (tenant_id, sku) where delete_time is null;
-- One for each order of a list, the id last; nothing here changes on every update, so most updates stay in page.
create index products_create_time_idx on stead.products (tenant_id, create_time, id);
create index products_sku_idx on stead.products (tenant_id, sku, id);
create index products_display_name_idx on stead.products (tenant_id, display_name, id);

alter table stead.products enable row level security;
alter table stead.products force row level security;
create policy tenant on stead.products to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.products for select to stead_backup using (true);
-- The search functions name the tenant themselves, and hand out ids that the caller's own policy must still pass.
create policy search on stead.products for select to stead_search using (true);

-- No delete: deleting is a mark, and rows go only by purge.
grant select, insert on stead.products to stead_app;
grant update (sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
  quantity, tags, attributes, revision, updater, update_time, delete_time) on stead.products to stead_app;
grant select on stead.products to stead_backup, stead_search;

set local role stead_journal;

create function stead_journal.products() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.products;
  image jsonb;
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
      perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'update', o, n, null);
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
    'sku', whole.sku, 'display_name', whole.display_name, 'description', whole.description,
    'category', whole.category, 'price_currency', whole.price_currency, 'price_minor', whole.price_minor,
    'cost_currency', whole.cost_currency, 'cost_minor', whole.cost_minor, 'quantity', whole.quantity,
    'tags', whole.tags, 'attributes', whole.attributes);
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'create', null, image, null);
  elsif tg_op = 'DELETE' then
    -- What was marked deleted has its image in the entry of that day.
    perform stead_journal.write(old.tenant_id, 'products', old.id, old.revision, 'purge',
      case when old.delete_time is null then image end, null, null);
  elsif new.delete_time is not null then
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'delete', image, null, null);
  else
    perform stead_journal.write(new.tenant_id, 'products', new.id, new.revision, 'undelete', null, image, null);
  end if;
  return null;
end
$$;
grant execute on function stead_journal.products() to stead_owner;

set local role stead_owner;

create trigger journal after insert or update or delete on stead.products
  for each row execute function stead_journal.products();
