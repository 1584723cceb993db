-- How far each import has come. Moved on by the statement that writes the rows, so that a reopened import neither
-- repeats nor skips one. Not journalled: the products that it writes are.

create table stead.imports (
  tenant_id uuid not null
    constraint imports_tenant_id_fkey references stead.tenants (id),
  -- Part of the key: whoever else brings the same id has an import of their own.
  subject text collate "C" not null
    constraint imports_subject_check check (char_length(subject) between 1 and 200),
  import_id uuid not null,
  next_row bigint not null default 0
    constraint imports_next_row_check check (next_row >= 0),
  created bigint not null default 0
    constraint imports_created_check check (created >= 0),
  updated bigint not null default 0
    constraint imports_updated_check check (updated >= 0),
  unchanged bigint not null default 0
    constraint imports_unchanged_check check (unchanged >= 0),
  failed bigint not null default 0
    constraint imports_failed_check check (failed >= 0),
  create_time timestamptz not null default stead.now(),
  update_time timestamptz not null default stead.now(),
  constraint imports_pkey primary key (tenant_id, subject, import_id)
) with (fillfactor = 85);

alter table stead.imports enable row level security;
alter table stead.imports force row level security;
create policy tenant on stead.imports to stead_app, stead_owner
  using (tenant_id = (select stead.current_tenant())) with check (tenant_id = (select stead.current_tenant()));
create policy backup on stead.imports for select to stead_backup using (true);

grant select, insert on stead.imports to stead_app;
grant update (next_row, created, updated, unchanged, failed, update_time) on stead.imports to stead_app;
grant select on stead.imports to stead_backup;
