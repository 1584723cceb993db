-- Settles a chunk: upserts its rows by sku and moves the import on, or does neither.
with ctx as materialized (
  -- The lock makes two streams of one import take turns; the row that moved on meanwhile no longer matches, and
  -- the whole statement then writes nothing and returns no row: reopen to learn next_row.
  select set_config('stead.request', $1, true), stead.now() as now
  from stead.imports i
  where i.tenant_id = $2::uuid and i.subject = $3::text and i.import_id = $4::uuid and i.next_row <= $5::bigint
  for no key update
), r as (
  select u.id, u.sku, u.display_name, u.description, u.category, u.price_currency, u.price_minor, u.cost_currency,
    u.cost_minor, u.quantity, u.attributes, u.language_code,
    array(select t.tag from jsonb_array_elements_text(u.tags) with ordinality as t (tag, place) order by t.place) as tags
  from unnest($8::uuid[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::text[],
      $16::bigint[], $17::bigint[], $18::jsonb[], $19::jsonb[], $20::text[])
    as u (id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
      quantity, tags, attributes, language_code)
), w as (
  insert into stead.products as p (
    tenant_id, id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
    quantity, tags, attributes, language_code, creator, updater, create_time, update_time)
  select $2::uuid, r.id, r.sku, r.display_name, r.description, r.category, r.price_currency, r.price_minor,
    r.cost_currency, r.cost_minor, r.quantity, r.tags, r.attributes, r.language_code, $3::text, $3::text,
    ctx.now, ctx.now
  from ctx, r
  order by r.sku collate "C"                    -- one order of locks for everybody: no deadlock between imports
  on conflict (tenant_id, sku) where delete_time is null do update set
    display_name = excluded.display_name, description = excluded.description, category = excluded.category,
    price_currency = excluded.price_currency, price_minor = excluded.price_minor,
    cost_currency = case when $21::boolean then excluded.cost_currency else p.cost_currency end,
    cost_minor = case when $21::boolean then excluded.cost_minor else p.cost_minor end,
    quantity = excluded.quantity, tags = excluded.tags, attributes = excluded.attributes,
    language_code = excluded.language_code, revision = p.revision + 1, updater = excluded.updater,
    update_time = greatest(excluded.update_time, p.update_time)
  where (p.display_name, p.description, p.category, p.price_currency, p.price_minor, p.cost_currency, p.cost_minor,
      p.quantity, p.tags, p.attributes, p.language_code)
    is distinct from (excluded.display_name, excluded.description, excluded.category, excluded.price_currency,
      excluded.price_minor,
      case when $21::boolean then excluded.cost_currency else p.cost_currency end,
      case when $21::boolean then excluded.cost_minor else p.cost_minor end,
      excluded.quantity, excluded.tags, excluded.attributes, excluded.language_code)
  returning p.revision                          -- 1 on a new row, more on one that stood
), c as (
  select count(*) filter (where w.revision = 1) as created, count(*) as written from w
)
update stead.imports i set
  next_row  = $6::bigint,
  created   = i.created + c.created,
  updated   = i.updated + c.written - c.created,
  unchanged = i.unchanged + cardinality($8::uuid[]) - c.written,
  failed    = i.failed + $7::bigint,
  update_time = ctx.now
from ctx, c
where i.tenant_id = $2::uuid and i.subject = $3::text and i.import_id = $4::uuid
returning i.next_row, i.created, i.updated, i.unchanged, i.failed
