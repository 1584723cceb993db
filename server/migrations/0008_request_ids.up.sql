-- The first answer to each request id, kept for 24 hours by the write's own statement, so that a retried write
-- happens once. Not journalled: the change that it accompanies is.

create table stead.request_ids (
  tenant_id uuid not null,          -- without a foreign key: it would lock the tenant's row on every write
  subject text collate "C" not null
    constraint request_ids_subject_check check (char_length(subject) between 1 and 200),
  method text collate "C" not null
    constraint request_ids_method_check check (char_length(method) between 1 and 200),
  request_id uuid not null,
  request_hash bytea not null
    constraint request_ids_request_hash_check check (octet_length(request_hash) = 32),
  response jsonb not null
    constraint request_ids_response_check check (octet_length(response::text) <= 1048576),
  create_time timestamptz not null default stead.now(),
  -- One plain table: partitioned by day, the key would hold the day and take the same id again after midnight.
  constraint request_ids_pkey primary key (tenant_id, subject, method, request_id)
);

create index request_ids_create_time_idx on stead.request_ids (create_time);

alter table stead.request_ids enable row level security;
alter table stead.request_ids force row level security;
create policy tenant on stead.request_ids to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy platform_see on stead.request_ids for select to stead_platform
  using (tenant_id = stead.platform_tenant());
create policy platform_create on stead.request_ids for insert to stead_platform
  with check (tenant_id = stead.platform_tenant());
create policy backup on stead.request_ids for select to stead_backup using (true);

grant select, insert on stead.request_ids to stead_app, stead_platform;
grant select on stead.request_ids to stead_backup;
