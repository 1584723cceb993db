-- What servers tell each other through PostgreSQL when Redis cannot be told: a number that is raised, and dropped with it what
-- any of them keeps of answers. A sequence, because raising it waits for nobody. It begins anywhere, so that what another
-- database left in the same Redis is not taken for this one's.
do $$
begin
  execute format('create sequence stead.cache_epoch start with %s', floor(random() * 1000000000)::bigint + 1);
end
$$;
grant select, usage on sequence stead.cache_epoch to stead_app;
