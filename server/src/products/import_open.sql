insert into stead.imports (tenant_id, subject, import_id, next_row) values ($1, $2, $3, 1)
on conflict (tenant_id, subject, import_id) do update set next_row = stead.imports.next_row
returning next_row, created, updated, unchanged, failed
