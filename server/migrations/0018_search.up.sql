-- Search: words of products, kept by a trigger in the transaction of every write, and the functions that look in them.
--
-- Under row security no index serves `@@`, which is not leakproof: every row of a tenant would be read. So the words stand
-- in a table that stead_search alone may read, which no policy holds back, and its functions refuse whoever is not in the
-- context of the tenant that they are asked about. They hand out ids, scores and counts; the rows themselves are read by the
-- caller, under the caller's own policy.

-- Beside the products and not a column of theirs: a change of price moves a product to another place in its table, and would
-- enter each of its words in the index anew.
create table stead.product_search (
  tenant_id uuid not null,
  product_id uuid not null,
  -- Each lexeme begins with a mark of the tenant and the product's shard, and of its kind. A tenant's words stand together in
  -- the index, so how many others have the same word costs a search nothing; and of a word that very many products have,
  -- a search reads as many shards as it takes to have enough.
  terms tsvector not null,
  name_key text collate "C" not null,
  sku_key text collate "C" not null,
  name_words integer not null,
  category text collate "C" not null,
  tags text[] collate "C" not null,
  price_currency text collate "C",
  price_minor bigint,
  create_time timestamptz not null,
  constraint product_search_pkey primary key (tenant_id, product_id)
) with (fillfactor = 85);

-- A pending list would be read by every search, whoever filled it.
create index product_search_terms_idx on stead.product_search using gin (terms) with (fastupdate = off);
-- What is typed whole, and how names and skus begin.
create index product_search_name_idx on stead.product_search (tenant_id, name_key, product_id);
create index product_search_sku_idx on stead.product_search (tenant_id, sku_key, product_id);

-- How a tenant spells: the words of its names, to correct a slip of the keyboard by. Not unique, so that no write waits for
-- another that brings the same word.
create table stead.product_words (
  tenant_id uuid not null
    constraint product_words_tenant_id_fkey references stead.tenants (id) on delete cascade,
  word text collate "C" not null
);
create index product_words_word_idx on stead.product_words (tenant_id, word);

alter table stead.product_search enable row level security;
alter table stead.product_search force row level security;
alter table stead.product_words enable row level security;
alter table stead.product_words force row level security;
create policy tenant on stead.product_search to stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy tenant on stead.product_words to stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.product_search for select to stead_backup using (true);
create policy backup on stead.product_words for select to stead_backup using (true);
create policy search on stead.product_search to stead_search using (true) with check (true);
create policy search on stead.product_words to stead_search using (true) with check (true);

grant select on stead.product_search, stead.product_words to stead_backup;
grant select, insert, update, delete on stead.product_search to stead_search;
grant select, insert, delete on stead.product_words to stead_search;

set local role stead_search;

-- Most functions are in PL/pgSQL because it keeps its plans; of SQL that cannot be inlined a new one is made for each call.

-- The tenant's part of a lexeme, 24 bits of chance, and one of 16 shards. Two tenants may share a mark, so what an index finds
-- is always compared with the tenant itself.
create function stead_search.mark(tenant uuid, shard integer) returns text
  language sql immutable strict parallel safe
  return encode(substring(uuid_send(tenant) from 14), 'base64') || to_hex(shard);

create function stead_search.shard(product uuid) returns integer
  language sql immutable strict parallel safe
  return get_byte(uuid_send(product), 15) & 15;

-- Without case, and Latin letters without accents: what is typed in a hurry is the same word. Signs that nobody sees are none.
create function stead_search.fold(written text) returns text
  language plpgsql immutable strict parallel safe
as $$
begin
  return case
    when octet_length(written) = char_length(written) then lower(written)
    else lower(normalize(
      regexp_replace(
        regexp_replace(normalize(written, nfkd), '([A-Za-z])[\u0300-\u036f]+', '\1', 'g'),
        '[\u00ad\u200b-\u200f\u2060\ufeff]', '', 'g'),
      nfc))
  end;
end
$$;

-- The words of a folded text, with a space for whatever else there is: then the parser takes nothing for a path or an address,
-- and a lexeme is letters and digits alone. A word of 255 characters or more is none, and would be too long for an entry.
create function stead_search.plain(folded text) returns text
  language plpgsql immutable strict parallel safe
as $$
begin
  return regexp_replace(
    case when folded ~ '\S{255}' then regexp_replace(folded, '\S{255,}', ' ', 'g') else folded end,
    '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00bf\u2000-\u206f\u3000-\u303f]+', ' ', 'g');
end
$$;

-- Words that have signs in them, as they are written: codes, versions, names such as C++.
create function stead_search.signed(folded text) returns setof text
  language plpgsql immutable strict parallel safe rows 4
as $$
begin
  return query
  select distinct w
    from regexp_split_to_table(folded, '[\s,;()\[\]"]+') as word, rtrim(word, '.:!?''') as w
    where char_length(w) between 2 and 100 and w ~ '[a-z0-9]' and w ~ '[\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e]'
    limit 40;
end
$$;

-- Constants, because the text of a configuration is no immutable name of one.
create function stead_search.configuration(language_code text) returns regconfig
  language sql immutable parallel safe
  return case language_code
    when 'ar' then 'pg_catalog.arabic'::regconfig when 'hy' then 'pg_catalog.armenian'::regconfig
    when 'eu' then 'pg_catalog.basque'::regconfig when 'ca' then 'pg_catalog.catalan'::regconfig
    when 'da' then 'pg_catalog.danish'::regconfig when 'nl' then 'pg_catalog.dutch'::regconfig
    when 'en' then 'pg_catalog.english'::regconfig when 'fi' then 'pg_catalog.finnish'::regconfig
    when 'fr' then 'pg_catalog.french'::regconfig when 'de' then 'pg_catalog.german'::regconfig
    when 'el' then 'pg_catalog.greek'::regconfig when 'hi' then 'pg_catalog.hindi'::regconfig
    when 'hu' then 'pg_catalog.hungarian'::regconfig when 'id' then 'pg_catalog.indonesian'::regconfig
    when 'ga' then 'pg_catalog.irish'::regconfig when 'it' then 'pg_catalog.italian'::regconfig
    when 'lt' then 'pg_catalog.lithuanian'::regconfig when 'ne' then 'pg_catalog.nepali'::regconfig
    when 'no' then 'pg_catalog.norwegian'::regconfig when 'pt' then 'pg_catalog.portuguese'::regconfig
    when 'ro' then 'pg_catalog.romanian'::regconfig when 'ru' then 'pg_catalog.russian'::regconfig
    when 'sr' then 'pg_catalog.serbian'::regconfig when 'es' then 'pg_catalog.spanish'::regconfig
    when 'sv' then 'pg_catalog.swedish'::regconfig when 'ta' then 'pg_catalog.tamil'::regconfig
    when 'tr' then 'pg_catalog.turkish'::regconfig when 'yi' then 'pg_catalog.yiddish'::regconfig
    else 'pg_catalog.simple'::regconfig
  end;

-- The lexemes of a vector behind a mark. The text of a vector is `'a':1 'b':2`, and no lexeme of plain text has a space.
create function stead_search.marked(mark text, vector tsvector) returns tsvector
  language plpgsql immutable strict parallel safe
as $$
begin
  return case when vector = ''::tsvector then vector
    else (('''' || mark) || substr(replace(vector::text, ' ''', ' ''' || mark), 2))::tsvector end;
end
$$;

-- What a product is found by. The kinds of lexemes: w words, n words of the name and the sku, c categories, t tags.
-- Names, skus and tags stand there as they are written as well as by the rules of their language, so that codes and parts
-- are found whatever the language is.
create function stead_search.terms(
  tenant uuid, product uuid, sku text, display_name text, description text, category text, tags text[], language_code text
) returns tsvector
  language plpgsql immutable parallel safe
as $$
declare
  mark text := stead_search.mark(tenant, stead_search.shard(product));
  language regconfig := stead_search.configuration(language_code);
  folded text := stead_search.fold(display_name);
  name text := stead_search.plain(folded);
  code text := stead_search.fold(sku);
  labels text := stead_search.plain(replace(category, '/', ' ') || ' ' || stead_search.fold(array_to_string(tags, ' ')));
  names tsvector := to_tsvector('pg_catalog.simple', name) || to_tsvector(language, name)
    || to_tsvector('pg_catalog.simple', stead_search.plain(code));
  others tsvector := setweight(to_tsvector('pg_catalog.simple', labels), 'B')
    || setweight(to_tsvector(language, labels), 'B')
    || setweight(to_tsvector(language, stead_search.plain(stead_search.fold(description))), 'C');
  whole text[];
  part text;
  path text;
begin
  whole := array(
    select mark || kind || w
    from (select code as w union select w from stead_search.signed(folded) as w) as words, unnest(array['n', 'w']) as kind);
  foreach part in array string_to_array(category, '/') loop
    path := coalesce(path || '/', '') || part;
    whole := whole || (mark || 'c' || path);
  end loop;
  return stead_search.marked(mark || 'w', setweight(names, 'A') || others)
    || stead_search.marked(mark || 'n', strip(names))
    || array_to_tsvector(whole || array(select mark || 't' || t from unnest(tags) as t));
end
$$;

-- The words of a name that slips are corrected by.
create function stead_search.spelt(written text) returns setof text
  language plpgsql immutable strict parallel safe rows 8
as $$
begin
  return query
  select distinct w from regexp_split_to_table(written, '[^[:alpha:]]+') as w where char_length(w) between 4 and 24 limit 40;
end
$$;

create function stead_search.enter(product stead.products) returns void
  language plpgsql
as $$
declare
  name text := stead_search.fold(product.display_name);
  code text := stead_search.fold(product.sku);
begin
  insert into stead.product_search as s (tenant_id, product_id, terms, name_key, sku_key, name_words, category, tags,
    price_currency, price_minor, create_time)
  values (product.tenant_id, product.id,
    stead_search.terms(product.tenant_id, product.id, product.sku, product.display_name, product.description,
      product.category, product.tags, product.language_code),
    left(name, 200), left(code, 100), greatest(1, cardinality(string_to_array(trim(stead_search.plain(name)), ' '))),
    product.category, product.tags, product.price_currency, product.price_minor, product.create_time)
  on conflict (tenant_id, product_id) do update set
    terms = excluded.terms, name_key = excluded.name_key, sku_key = excluded.sku_key, name_words = excluded.name_words,
    category = excluded.category, tags = excluded.tags, price_currency = excluded.price_currency,
    price_minor = excluded.price_minor, create_time = excluded.create_time;
  insert into stead.product_words (tenant_id, word)
  select product.tenant_id, w
  from stead_search.spelt(name || ' ' || code) as w
  -- With a limit it stays a look-up of each word: joined, a plan made while there were few would read them all.
  where (select true from stead.product_words k where k.tenant_id = product.tenant_id and k.word = w limit 1) is null;
end
$$;

-- Only what is searched by is compared: stock changes often, and nobody searches for it.
create function stead_search.products() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  -- A plan made while a table was empty would read it whole when it is not.
  set enable_seqscan = off
as $$
begin
  if tg_relid <> 'stead.products'::regclass then
    raise exception 'a search function was called for %, which is not its table', tg_relid::regclass using errcode = '42501';
  end if;
  if tg_op = 'DELETE' then
    delete from stead.product_search s where s.tenant_id = old.tenant_id and s.product_id = old.id;
  elsif new.delete_time is not null then
    if tg_op = 'UPDATE' then
      delete from stead.product_search s where s.tenant_id = new.tenant_id and s.product_id = new.id;
    end if;
  elsif tg_op = 'INSERT' or old.delete_time is not null
      or (old.sku, old.display_name, old.description, old.category, old.tags, old.language_code, old.create_time)
        is distinct from
        (new.sku, new.display_name, new.description, new.category, new.tags, new.language_code, new.create_time) then
    perform stead_search.enter(new);
  else
    update stead.product_search s set price_currency = new.price_currency, price_minor = new.price_minor
    where s.tenant_id = new.tenant_id and s.product_id = new.id;
  end if;
  return null;
end
$$;

-- The words of one term as a text of a tsquery: as they are written, or by the rules of the language; those of a phrase, or of
-- a word with signs in it, one behind the other. Null: it has no word, or one that the language passes over.
create function stead_search.term_query(prefix text, language regconfig, term text, is_phrase boolean, is_strict boolean)
  returns text
  language plpgsql immutable parallel safe
as $$
declare
  folded text := stead_search.fold(term);
  forms text[] := '{}';
  vector tsvector;
  form text;
begin
  foreach vector in array array[
    to_tsvector('pg_catalog.simple', stead_search.plain(folded)), to_tsvector(language, stead_search.plain(folded))
  ] loop
    select string_agg(
        case when nth = 1 then '' when is_phrase then format(' <%s> ', place - before) else ' & ' end
          || '''' || prefix || lexeme || '''', '' order by nth)
    into form
    from (
      select lexeme, place, lag(place) over (order by place) as before, row_number() over (order by place) as nth
      from unnest(vector) as v (lexeme, places, weights), unnest(v.places) as place
    ) as ordered;
    if form is null and is_strict then
      return null;
    end if;
    if form is not null and not form = any (forms) then
      forms := forms || form;
    end if;
  end loop;
  if folded ~ '[^[:alnum:]\s]' and folded !~ '\s' and char_length(folded) <= 100 then
    forms := forms || ('''' || prefix || replace(replace(folded, '\', '\\'), '''', '''''') || '''');
  end if;
  return '(' || nullif(array_to_string(forms, ' | '), '') || ')';
end
$$;

-- A query without marks, chr(1) in their place, as one for each shard.
create function stead_search.sharded(tenant uuid, unmarked text) returns tsquery[]
  language plpgsql immutable strict parallel safe
as $$
begin
  return (
    select array_agg(replace(unmarked, chr(1), stead_search.mark(tenant, shard))::tsquery order by shard)
    from generate_series(0, 15) as shard);
end
$$;

-- The query on lexemes of a kind; null when it has no word at all. On names a phrase is mere words, since they are kept there
-- without their places, and what is excluded is left out.
create function stead_search.query(
  kind text, language regconfig, terms text[], excluded boolean[], branches integer[], is_positive boolean
) returns text
  language plpgsql immutable parallel safe
as $$
declare
  written text;
begin
  with asked as (
    select nth, term, is_excluded, branch,
      stead_search.term_query(chr(1) || kind, language, term, kind = 'w', not is_excluded) as form
    from unnest(terms, excluded, branches) with ordinality as a (term, is_excluded, branch, nth)
  ), whole as (
    -- A branch of nothing but words that the language passes over is searched as it is written.
    select a.nth, a.branch, a.is_excluded, case
        when a.form is null
          and not exists (select from asked o where o.branch = a.branch and not o.is_excluded and o.form is not null)
        then stead_search.term_query(chr(1) || kind, language, a.term, kind = 'w', false)
        else a.form end as form
    from asked a
  ), joined as (
    select branch, string_agg(case when is_excluded then '!' else '' end || form, ' & ' order by is_excluded, nth) as form
    from whole
    where form is not null and not (is_positive and is_excluded)
    group by branch
    having bool_or(not is_excluded)
  )
  select string_agg('(' || form || ')', ' | ' order by branch) into written from joined;
  return written;
end
$$;

-- The letters of a word in order.
create function stead_search.letters(word text) returns text
  language plpgsql immutable strict parallel safe
as $$
begin
  return (
    select string_agg(c, '' order by c) from unnest(string_to_array(word, null)) as c);
end
$$;

-- How many slips two words are apart, 3 for more than two: a letter too many, too few, another, or two in each other's place.
-- Levenshtein counts those two twice, but the letters in order are then the same.
create function stead_search.distance(one text, other text) returns integer
  language plpgsql immutable strict parallel safe
as $$
begin
  return case stead_ext.levenshtein_less_equal(one, other, 4)
    when 0 then 0
    when 1 then 1
    when 2 then case when stead_search.letters(one) = stead_search.letters(other) then 1 else 2 end
    when 3 then case
      when stead_ext.levenshtein_less_equal(stead_search.letters(one), stead_search.letters(other), 1) <= 1 then 2 else 3 end
    when 4 then case when stead_search.letters(one) = stead_search.letters(other) then 2 else 3 end
    else 3
  end;
end
$$;

-- The same for the category and the tags that a product must have; null for none.
create function stead_search.filter(in_category text, with_tags text[]) returns text
  language plpgsql immutable parallel safe
as $$
begin
  return (
    select string_agg('''' || chr(1) || replace(replace(f.has, '\', '\\'), '''', '''''') || '''', ' & ')
    from (
      select 'c' || in_category as has where in_category <> ''
      union all
      select 't' || t from unnest(with_tags) as t
    ) as f);
end
$$;

-- What may have been meant by words that stand in no product of the tenant: the nearest of its own words with the same first
-- letter, or with the second one of what was typed; of two as near, the more frequent, where a sku counts four times, and so
-- does a word that is no shorter, since letters are left out more often than put in. Null when there is none for any.
create function stead_search.corrected(
  tenant uuid, language regconfig, terms text[], phrases boolean[], excluded boolean[]
) returns text[]
  language plpgsql stable
as $$
declare
  prefix constant text := chr(1) || 'w';
  result text[] := terms;
  typed text;
  form text;
  near text;
begin
  for at in 1 .. cardinality(terms) loop
    typed := stead_search.fold(terms[at]);
    continue when excluded[at] or phrases[at] or char_length(typed) not between 4 and 24 or typed !~ '^[[:alpha:]]+$';
    form := stead_search.term_query(prefix, language, typed, true, false);
    continue when form is null or exists (
      select from unnest(stead_search.sharded(tenant, form)) as q (form), stead.product_search s
      where s.terms @@ q.form and (s.tenant_id = tenant) is true);
    with alike as (
      select distinct k.word
      from unnest(array[left(typed, 1), substr(typed, 2, 1)]) as i (initial), lateral (
        select p.word from stead.product_words p
        where p.tenant_id = tenant and p.word >= i.initial and p.word < i.initial || chr(1114111)
        order by p.word limit 20000
      ) as k
      where char_length(k.word) between char_length(typed) - 2 and char_length(typed) + 2
    ), nearest as materialized (
      select word, stead_search.distance(word, typed) as away from alike order by away, word limit 20
    ), counted as (
      select word, away, (
        select count(*) from (
          select from unnest(stead_search.sharded(tenant, '''' || prefix || n.word || '''')) as q (form), stead.product_search s
          where s.terms @@ q.form and (s.tenant_id = tenant) is true limit 200
        ) as using_it) as used,
        exists (select from stead.product_search s where s.tenant_id = tenant and s.sku_key = n.word) as is_sku
      from nearest n
      where away <= case when char_length(typed) < 6 then 1 else 2 end
    )
    select word into near from counted where used > 0
    order by away, left(word, 1) <> left(typed, 1), used
      * case when is_sku then 4 else 1 end
      * case when char_length(word) >= char_length(typed) then 4 else 1 end desc, word
    limit 1;
    if near is not null then
      result[at] := near;
    end if;
  end loop;
  return case when result <> terms then result end;
end
$$;

-- How well a product matches: whole names and skus first, then those with every word in the name, the shorter names before
-- the longer ones, and by how often, how near to each other and in which fields the words occur.
create function stead_search.score(
  terms tsvector, name_key text, sku_key text, name_words integer, typed text, names tsquery, ranked tsquery, word_count integer
) returns double precision
  language sql immutable parallel safe
  return case when sku_key = typed then 100 when name_key = typed then 50 else 0 end
    + case when terms @@ names then 10 + 10 * least(1, word_count::double precision / name_words) else 0 end
    + case when starts_with(name_key, typed) then 4 else 0 end
    + case when starts_with(sku_key, typed)
        then 8 * char_length(typed)::double precision / char_length(sku_key) else 0 end
    + 0.5 / char_length(sku_key)
    + 10 * ts_rank_cd('{0, 0.1, 0.4, 1}', terms, ranked, 32)::double precision;

-- Ranges of prices go from 1 to 2, 5, 10, 20, 50 and so on.
create function stead_search.range_start(minor bigint) returns bigint
  language sql immutable strict parallel safe
  return case when minor = 0 then 0
    else rpad('1', char_length(minor::text), '0')::bigint
      * case when left(minor::text, 1) >= '5' then 5 when left(minor::text, 1) >= '2' then 2 else 1 end end;

create function stead_search.range_end(start bigint) returns bigint
  language sql immutable strict parallel safe
  return case when start = 0 then 1 when start > 4000000000000000000 then null
    when left(start::text, 1) = '2' then start / 2 * 5 else start * 2 end;

-- Walks along an order and takes what matches, from behind a place, until the page is full or 10,000 were looked at, and
-- says where to go on; nowhere at the end.
create function stead_search.walk(
  tenant uuid, words tsquery[], currency text, minimum bigint, maximum bigint, sort text, descending boolean,
  after_time timestamptz, after_currency text, after_minor bigint, after_id uuid, page_size integer,
  out ids uuid[], out resume_time timestamptz, out resume_currency text, out resume_minor bigint, out resume_id uuid
)
  language plpgsql stable
as $$
declare
  bound constant integer := 10000;
  -- Word for word what the indexes of lists are made of.
  columns constant text[] := case sort
    when 'create_time' then array['p.create_time']
    else array['case when p.price_currency is null then '''' else p.price_currency end',
      'case when p.price_minor is null then -1 else p.price_minor end'] end || array['p.id'];
  statement constant text := format(
    'select p.id, p.create_time, p.price_currency, p.price_minor from stead.products p
     where p.tenant_id = $1 and p.delete_time is null and ($6 is null or (%s) %s (%s, $6)) order by %s limit $2',
    array_to_string(columns, ', '), case when descending then '<' else '>' end,
    case sort when 'create_time' then '$3' else '$4, $5' end,
    array_to_string(columns, case when descending then ' desc, ' else ', ' end) || case when descending then ' desc' else '' end);
  looked record;
  count integer := 0;
begin
  ids := '{}';
  for looked in execute statement using tenant, bound, after_time, after_currency, after_minor, after_id loop
    count := count + 1;
    resume_time := looked.create_time;
    resume_currency := coalesce(looked.price_currency, '');
    resume_minor := coalesce(looked.price_minor, -1);
    resume_id := looked.id;
    if (currency is null or looked.price_currency = currency)
        and (minimum is null or looked.price_minor >= minimum) and (maximum is null or looked.price_minor <= maximum)
        and exists (select from stead.product_search s
          where s.tenant_id = tenant and s.product_id = looked.id and s.terms @@ words[1 + stead_search.shard(looked.id)]) then
      ids := ids || looked.id;
      if cardinality(ids) = page_size then
        return;
      end if;
    end if;
  end loop;
  if count < bound then
    resume_time := null; resume_currency := null; resume_minor := null; resume_id := null;
  end if;
end
$$;

-- Finds products: the ids and scores of a page, where to go on, how many match, and counts of values among them.
--
-- Of many that match, 2,000 are looked at, those with every word in the name first. Another order than relevance is then
-- walked along, since the first by that order may be anywhere.
create function stead_search.find_products(
  tenant uuid, terms text[], phrases boolean[], excluded boolean[], branches integer[], language_code text,
  in_category text, with_tags text[], currency text, minimum bigint, maximum bigint, sort text, descending boolean,
  after_score double precision, after_time timestamptz, after_currency text, after_minor bigint, after_id uuid,
  page_size integer, count_facets text[],
  out ids uuid[], out scores double precision[],
  out resume_score double precision, out resume_time timestamptz, out resume_currency text, out resume_minor bigint,
  out resume_id uuid, out total bigint, out capped boolean, out facets jsonb, out corrected text[]
)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set work_mem = '32MB'
as $$
declare
  cap constant integer := 2000;
  language constant regconfig := stead_search.configuration(language_code);
  searched text[] := terms;
  typed text;
  written text;
  filter text;
  words tsquery[];
  names tsquery[];
  ranked tsquery[];
begin
  if tenant is distinct from stead.current_tenant() then
    raise exception 'a search needs the context of the tenant that it names' using errcode = '42501';
  end if;
  filter := coalesce(' & ' || stead_search.filter(in_category, with_tags), '');
  for attempt in 1 .. 2 loop
    written := '(' || stead_search.query('w', language, searched, excluded, branches, false) || ')';
    words := stead_search.sharded(tenant, written || filter);
    written := '(' || stead_search.query('n', language, searched, excluded, branches, true) || ')';
    names := stead_search.sharded(tenant, written || filter);
    ranked := stead_search.sharded(tenant, stead_search.query('w', language, searched, excluded, branches, true));
    typed := stead_search.fold(array_to_string(array(
      select a.term from unnest(searched, excluded) with ordinality as a (term, is_excluded, nth) where not is_excluded order by nth), ' '));
    -- Shard by shard until there are enough. `is true` keeps the tenant from choosing the index: the words alone find rows.
    with named as materialized (
      select s.product_id, s.terms, s.name_key, s.sku_key, s.name_words, s.category, s.tags, s.price_currency, s.price_minor,
        s.create_time
      from unnest(names, words) as q (names, words), stead.product_search s
      where s.terms @@ q.names and (s.terms @@ q.words) is true and (s.tenant_id = tenant) is true
        and (currency is null or s.price_currency = currency)
        and (minimum is null or s.price_minor >= minimum) and (maximum is null or s.price_minor <= maximum)
      limit cap + 1
    ), others as materialized (
      select s.product_id, s.terms, s.name_key, s.sku_key, s.name_words, s.category, s.tags, s.price_currency, s.price_minor,
        s.create_time
      from unnest(names, words) as q (names, words), stead.product_search s
      where s.terms @@ q.words and not s.terms @@ q.names and (s.tenant_id = tenant) is true
        and (currency is null or s.price_currency = currency)
        and (minimum is null or s.price_minor >= minimum) and (maximum is null or s.price_minor <= maximum)
      limit (select cap + 1 - count(*) from named)
    ), whole as materialized (
      select s.product_id, s.terms, s.name_key, s.sku_key, s.name_words, s.category, s.tags, s.price_currency, s.price_minor,
        s.create_time
      from (
        select n.product_id from stead.product_search n where n.tenant_id = tenant and n.name_key = typed
        union
        select c.product_id from stead.product_search c where c.tenant_id = tenant and c.sku_key = typed
        limit cap
      ) as i
      join stead.product_search s on s.tenant_id = tenant and s.product_id = i.product_id
      where s.terms @@ words[1 + stead_search.shard(s.product_id)]
        and (currency is null or s.price_currency = currency)
        and (minimum is null or s.price_minor >= minimum) and (maximum is null or s.price_minor <= maximum)
        and not exists (select from named o where o.product_id = s.product_id)
        and not exists (select from others o where o.product_id = s.product_id)
    ), looked as materialized (
      select f.product_id, f.category, f.tags, f.price_currency, f.price_minor, f.create_time,
        coalesce(f.price_currency, '') as currency_key, coalesce(f.price_minor, -1) as minor_key,
        stead_search.score(f.terms, f.name_key, f.sku_key, f.name_words, typed,
          names[1 + stead_search.shard(f.product_id)], ranked[1 + stead_search.shard(f.product_id)], cardinality(searched)) as score
      from (select * from named union all select * from others union all select * from whole) as f
    ), placed as (
      select product_id, score, create_time, currency_key, minor_key, row_number() over (order by
        case when sort = 'relevance' then -score end,
        case when sort = 'create_time' and descending then create_time end desc,
        case when sort = 'create_time' and not descending then create_time end,
        case when sort = 'price' and descending then currency_key end desc,
        case when sort = 'price' and descending then minor_key end desc,
        case when sort = 'price' and not descending then currency_key end,
        case when sort = 'price' and not descending then minor_key end,
        case when descending and sort <> 'relevance' then product_id end desc,
        product_id) as place
      from looked
      where after_id is null or case
        when sort = 'relevance' then (-score, product_id) > (-after_score, after_id)
        when sort = 'create_time' and descending then (create_time, product_id) < (after_time, after_id)
        when sort = 'create_time' then (create_time, product_id) > (after_time, after_id)
        when descending then (currency_key, minor_key, product_id) < (after_currency, after_minor, after_id)
        else (currency_key, minor_key, product_id) > (after_currency, after_minor, after_id)
      end
    ), page as materialized (
      select product_id, score, create_time, currency_key, minor_key, place from placed where place <= page_size + 1
    )
    select
      array(select product_id from page where place <= page_size order by place),
      array(select score from page where place <= page_size order by place),
      (select count(*) from looked), e.score, e.create_time, e.currency_key, e.minor_key, e.product_id,
      (select jsonb_object_agg(f.field, coalesce(f.buckets, '[]')) from (
        select 'category' as field, (
          select jsonb_agg(jsonb_build_object('value', b.value, 'count', b.used) order by b.used desc, b.value)
          from (select l.category as value, count(*) as used from looked l where l.category <> ''
            group by l.category order by 2 desc, 1 limit 20) as b) as buckets
        where 'category' = any (count_facets)
        union all
        select 'tags', (
          select jsonb_agg(jsonb_build_object('value', b.value, 'count', b.used) order by b.used desc, b.value)
          from (select t as value, count(*) as used from looked l, unnest(l.tags) as t
            group by t order by 2 desc, 1 limit 20) as b)
        where 'tags' = any (count_facets)
        union all
        select 'price', (
          select jsonb_agg(jsonb_build_object('currency', b.currency, 'minimum', b.low,
            'maximum', stead_search.range_end(b.low), 'count', b.used) order by b.currency, b.low)
          from (select l.price_currency as currency, stead_search.range_start(l.price_minor) as low, count(*) as used
            from looked l where l.price_minor is not null group by 1, 2 order by 3 desc, 1, 2 limit 20) as b)
        where 'price' = any (count_facets)
      ) as f)
    into ids, scores, total, resume_score, resume_time, resume_currency, resume_minor, resume_id, facets
    from (select) as one left join page e on e.place = page_size and exists (select from page where place > page_size);
    exit when total > 0 or attempt = 2;
    corrected := stead_search.corrected(tenant, language, terms, phrases, excluded);
    exit when corrected is null;
    searched := corrected;
  end loop;
  if total = 0 then
    corrected := null;
  end if;
  capped := total > cap;
  if capped then
    total := cap;
    if sort <> 'relevance' then
      select w.ids, null, w.resume_time, w.resume_currency, w.resume_minor, w.resume_id
      into ids, resume_score, resume_time, resume_currency, resume_minor, resume_id
      from stead_search.walk(tenant, words, currency, minimum, maximum, sort, descending,
        after_time, after_currency, after_minor, after_id, page_size) as w;
      scores := array(
        select stead_search.score(s.terms, s.name_key, s.sku_key, s.name_words, typed,
          names[1 + stead_search.shard(s.product_id)], ranked[1 + stead_search.shard(s.product_id)], cardinality(searched))
        from unnest(ids) with ordinality as i (id, nth)
        join stead.product_search s on s.tenant_id = tenant and s.product_id = i.id
        order by i.nth);
    end if;
  end if;
end
$$;

-- What somebody may be typing: at most so many products whose sku or name begins so, and then those whose name has the words
-- before and a word that begins as the last one does; alone, three letters of it at
-- least, since fewer begin too many.
create function stead_search.suggest_products(tenant uuid, prefix text, page_size integer, out ids uuid[])
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
as $$
declare
  typed constant text := stead_search.fold(ltrim(prefix));
  words text;
begin
  if tenant is distinct from stead.current_tenant() then
    raise exception 'a search needs the context of the tenant that it names' using errcode = '42501';
  end if;
  select string_agg('''' || chr(1) || 'n' || w || '''' || case when nth = max_nth then ':*' else '' end, ' & ' order by nth)
  into words
  from (select w, nth, max(nth) over () as max_nth
    from regexp_split_to_table(stead_search.plain(left(typed, 100)), ' ') with ordinality as t (w, nth) where w <> '') as t
  having max(char_length(w)) filter (where nth = max_nth) >= case when max(nth) = min(nth) then 3 else 1 end;
  ids := array(
    select product_id from (
      (select s.product_id, 0 as kind, s.sku_key as key from stead.product_search s
        where s.tenant_id = tenant and typed <> '' and s.sku_key >= typed and s.sku_key < typed || chr(1114111)
        order by s.sku_key limit 200)
      union all
      (select s.product_id, 1, s.name_key from stead.product_search s
        where s.tenant_id = tenant and typed <> '' and s.name_key >= typed and s.name_key < typed || chr(1114111)
        order by s.name_key limit 200)
      union all
      (select s.product_id, 2, s.name_key
        from unnest(stead_search.sharded(tenant, words)) as q (words), stead.product_search s
        where s.terms @@ q.words and (s.tenant_id = tenant) is true limit 200)
    ) as found
    group by product_id
    order by min(kind), min(char_length(key)), min(key), product_id
    limit page_size);
end
$$;

-- Forgets words that no name of the tenant has any more, as far as a sample of them shows; how many went. A word that a write
-- of the same moment brings back may go too: then slips of it are not corrected until it is written again.
create function stead_search.forget_words() returns bigint
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  gone bigint;
begin
  with sample as materialized (
    select w.ctid as place, w.tenant_id, w.word from stead.product_words w tablesample system (5) limit 500
  )
  delete from stead.product_words w using sample d
  where w.ctid = d.place and w.tenant_id = d.tenant_id and w.word = d.word and not exists (
    select from unnest(stead_search.sharded(d.tenant_id, '''' || chr(1) || 'n' || d.word || '''')) as q (word),
      stead.product_search s
    where s.terms @@ q.word and (s.tenant_id = d.tenant_id) is true);
  get diagnostics gone = row_count;
  return gone;
end
$$;

grant execute on function
  stead_search.find_products(uuid, text[], boolean[], boolean[], integer[], text, text, text[], text, bigint, bigint, text,
    boolean, double precision, timestamptz, text, bigint, uuid, integer, text[]),
  stead_search.suggest_products(uuid, text, integer), stead_search.configuration(text), stead_search.fold(text)
  to stead_app;
grant execute on function stead_search.forget_words() to stead_platform;
grant execute on function stead_search.products() to stead_owner;

-- What there is by now, all of it in this step: nothing has been released that could have written much.
set local row_security = on;
select count(stead_search.enter(p)) from stead.products p where p.delete_time is null;
set local row_security = off;

set local role stead_owner;

create trigger search_insert after insert or delete on stead.products
  for each row execute function stead_search.products();
create trigger search_update after update on stead.products
  for each row
  when ((old.sku, old.display_name, old.description, old.category, old.tags, old.language_code, old.price_currency,
      old.price_minor, old.create_time, old.delete_time)
    is distinct from
    (new.sku, new.display_name, new.description, new.category, new.tags, new.language_code, new.price_currency,
      new.price_minor, new.create_time, new.delete_time))
  execute function stead_search.products();
