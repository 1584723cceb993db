-- The function knows the ids and nothing that is shown: the products are read under the caller's own policy.
with found as materialized (
  select ids, scores, resume_time, resume_currency, resume_minor, resume_score, resume_id, total, capped, facets, corrected
  from stead_search.find_products(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
),
-- What is marked: any of the words and phrases that were searched, as in the language of the query or as they stand. Signs
-- are spaces, as they are to stead_search.plain, one for one.
signs (every) as (
  values ('[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u206f\u3000-\u303f]')
),
wanted as materialized (
  select websearch_to_tsquery(stead_search.configuration($6), words) || websearch_to_tsquery('simple', words) as query
  from (
    select string_agg('"' || regexp_replace(stead_search.fold(term), every, ' ', 'g') || '"', ' or ') as words
    from signs, found, unnest(coalesce(corrected, $2), $4::boolean[]) as asked (term, is_excluded)
    where $21::boolean and not is_excluded
  ) as typed
),
-- What is long in a row is read only when the row is sent, which ends before an answer's bytes do.
page as (
  select
    id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity, tags,
    attributes, language_code, revision, creator, updater, create_time, update_time, score, nth, weight,
    count(*) over () as hits, sum(weight) over (order by nth rows unbounded preceding) as total_weight
  from (
    select
      p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor, p.cost_currency, p.cost_minor,
      p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater, p.create_time, p.update_time,
      hit.score, hit.nth,
      octet_length(p.description) + octet_length(concat(p.sku, p.display_name, p.category, p.tags, p.attributes)) as weight
    from found, unnest(found.ids, found.scores) with ordinality as hit (id, score, nth)
    join stead.products as p on p.tenant_id = $1 and p.id = hit.id and p.delete_time is null
  ) as hits
)
select
  found.resume_time as "resume_time?", found.resume_currency as "resume_currency?", found.resume_minor as "resume_minor?",
  found.resume_score as "resume_score?", found.resume_id as "resume_id?", found.total as "total!", found.capped as "capped!",
  case when coalesce(page.nth, 1) = 1 then found.facets end as "facets?", found.corrected as "corrected?",
  page.hits as "hits?", page.score as "score?",
  ts_headline(texts.language, texts.name, wanted.query, texts.marks) as "marked_name?",
  ts_headline('simple', texts.name, wanted.query, texts.marks) as "marked_words?",
  ts_headline(texts.language, texts.description, wanted.query, texts.marks) as "marked_description?",
  page.id as "id?", page.sku as "sku?", page.display_name as "display_name?", page.description as "description?",
  page.category as "category?", page.price_currency as "price_currency?", page.price_minor as "price_minor?",
  page.cost_currency as "cost_currency?", page.cost_minor as "cost_minor?", page.quantity as "quantity?",
  page.tags as "tags?", page.attributes as "attributes?", page.language_code as "language_code?",
  page.revision as "revision?", page.creator as "creator?", page.updater as "updater?",
  page.create_time as "create_time?", page.update_time as "update_time?"
from found
left join page on page.total_weight - page.weight <= $22
left join wanted on $21
left join lateral (
  select
    stead_search.configuration(page.language_code) as language,
    regexp_replace(stead_search.fold(translate(page.display_name, E'\uE000\uE001', '')), every, ' ', 'g') as name,
    regexp_replace(stead_search.fold(left(translate(page.description, E'\uE000\uE001', ''), 20000)), every, ' ', 'g')
      as description,
    E'HighlightAll=true, StartSel=\uE000, StopSel=\uE001' as marks
  from signs
) as texts on $21
order by page.nth
