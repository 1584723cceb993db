-- The language that a product's texts are in, so that search knows its words in their forms.

-- The constant is kept beside the table: no row is written.
alter table stead.products add column language_code text collate "C" not null default 'en';
-- Not valid yet: to look at every row takes long under this step's lock, and those that stand have the default.
alter table stead.products add constraint products_language_code_check check (
  language_code in (
    'ar', 'ca', 'da', 'de', 'el', 'en', 'es', 'eu', 'fi', 'fr', 'ga', 'hi', 'hu', 'hy', 'id', 'it', 'lt', 'ne', 'nl',
    'no', 'pt', 'ro', 'ru', 'sr', 'sv', 'ta', 'tr', 'und', 'yi')) not valid;
grant update (language_code) on stead.products to stead_app;

set local role stead_journal;

-- An image that does not have the language is of before it was kept, when every product was taken for English.
create or replace function stead_journal.image(whole stead.products) returns jsonb
  language sql stable
  return jsonb_build_object(
    'sku', whole.sku, 'display_name', whole.display_name, 'description', whole.description,
    'category', whole.category, 'price_currency', whole.price_currency, 'price_minor', whole.price_minor,
    'cost_currency', whole.cost_currency, 'cost_minor', whole.cost_minor, 'quantity', whole.quantity,
    'tags', whole.tags, 'attributes', whole.attributes, 'language_code', whole.language_code);

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
    if new.language_code <> old.language_code then
      o := o || jsonb_build_object('language_code', old.language_code);
      n := n || jsonb_build_object('language_code', new.language_code);
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
