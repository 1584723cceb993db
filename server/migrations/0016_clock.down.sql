-- As 0001 has it.
create or replace function stead.now() returns timestamptz
  language sql volatile parallel safe
  return coalesce(nullif(current_setting('stead.clock', true), '')::timestamptz, clock_timestamp());
