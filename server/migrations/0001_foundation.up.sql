-- What every table stands on: the tenant of the moment, the time, ids.

-- Whose rows a statement may touch. A transaction-local setting reads back as '' once its transaction is over,
-- hence nullif. STABLE and without a SET clause, so that it inlines; an IMMUTABLE one would be folded into a
-- prepared statement and serve one tenant's rows to the next.
create function stead.current_tenant() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('stead.tenant', true), '')::uuid;

-- The one source of stored times. Tests set stead.clock to stand still or to travel; nothing else ever does.
create function stead.now() returns timestamptz
  language sql volatile parallel safe
  return coalesce(nullif(current_setting('stead.clock', true), '')::timestamptz, clock_timestamp());

-- UUIDv7 for rows that the database itself makes: milliseconds in the first 48 bits, then the version, then chance.
-- Rounded down, because a journal entry's month is read from its id.
create function stead.uuid7(at timestamptz) returns uuid
  language sql volatile parallel safe
  return encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        placing substring(int8send(floor(date_part('epoch', at) * 1000)::bigint) from 3) from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid;

-- Operators' keys, request ids and journal entries need a tenant to live in: one reserved row, made in 0003.
create function stead.platform_tenant() returns uuid
  language sql immutable parallel safe
  return '00000000-0000-7000-8000-000000000000'::uuid;

-- A CHECK cannot hold a sub-select. PL/pgSQL, because it keeps its plans between statements.
create function stead.tags_valid(tags text[]) returns boolean
  language plpgsql immutable strict parallel safe
as $$
declare
  tag text;
begin
  if cardinality(tags) > 50 or array_ndims(tags) > 1 then
    return false;
  end if;
  foreach tag in array tags loop
    if tag is null or char_length(tag) not between 1 and 64 then
      return false;
    end if;
  end loop;
  return true;
end
$$;

-- A Struct of the API: an object of at most 32 KiB as text, at most 16 objects or lists deep, itself included.
-- The text is measured because pg_column_size would judge the compressed value.
create function stead.struct_valid(value jsonb) returns boolean
  language plpgsql immutable strict parallel safe
as $$
begin
  return jsonb_typeof(value) = 'object'
    and octet_length(value::text) <= 32768
    and not jsonb_path_exists(value, 'strict $.**{16} ? (@.type() == "object" || @.type() == "array")');
end
$$;

-- The oldest migration that a server must know to work on this schema; a migration that takes something away
-- raises it by replacing this function, and older servers then refuse to serve.
create function stead.min_server() returns bigint
  language sql immutable parallel safe
  return 1;

grant execute on function
  stead.current_tenant(), stead.now(), stead.uuid7(timestamptz), stead.platform_tenant(),
  stead.tags_valid(text[]), stead.struct_valid(jsonb), stead.min_server()
  to stead_app, stead_platform;
grant execute on function stead.current_tenant(), stead.now(), stead.uuid7(timestamptz) to stead_journal;
grant execute on function stead.current_tenant() to stead_search;

-- The runner's own bookkeeping, made before the first migration: servers compare it with what they know.
grant select on stead._sqlx_migrations to stead_app, stead_platform;
